"""Tests the stand-in for the C++ ONNX Runtime backend as the stub calls it: batches, types, state, failures."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from sluice import images
from sluice.models import object_detector
from tests.made import onnx_graphs
from tests.made.onnxruntime_stub import (
    FP32,
    ROOT,
    Error,
    Graph,
    Request,
    Tensor,
    Utils,
    batches,
    config,
    engines,
    entry,
    model,
    only,
    options,
    rules,
)

# Batches


class Counting:
    """An engine that records its calls: Y = X * 2, Z = X + 1; a negative element is an error."""

    graph = Graph({"X": Tensor(FP32, (-1, -1))}, {"Y": Tensor(FP32, (-1, -1)), "Z": Tensor(FP32, (-1, -1))})

    def __init__(self):
        self.runs = []

    def run(self, outputs, feeds):
        self.runs.append((list(outputs), feeds["X"].shape))
        if (feeds["X"] < 0).any():
            raise engines.GraphError("a negative element")
        return [{"Y": feeds["X"] * 2, "Z": feeds["X"] + 1}[name] for name in outputs]


TWO = config([entry("X", [-1])], [entry("Y", [-1]), entry("Z", [-1])])


def _item(array, *outputs):
    return batches.Item({"X": np.asarray(array, np.float32)}, outputs or ("Y", "Z"))


def test_requests_of_equal_shape_run_once_and_others_apart():
    engine = Counting()
    answers = batches.Runner(engine, TWO).run([_item([[1, 2]]), _item([[3]]), _item([[4, 5], [6, 7]])])
    assert engine.runs == [(["Y", "Z"], (3, 2)), (["Y", "Z"], (1, 1))]
    assert [answer["Y"].tolist() for answer in answers] == [[[2, 4]], [[6]], [[8, 10], [12, 14]]]


def test_only_what_somebody_asked_for_is_computed_and_each_gets_only_its_own():
    engine = Counting()
    runner = batches.Runner(engine, TWO)
    assert [set(answer) for answer in runner.run([_item([[1]], "Z"), _item([[2]], "Z")])] == [{"Z"}, {"Z"}]
    assert [set(answer) for answer in runner.run([_item([[1]], "Z"), _item([[2]], "Y")])] == [{"Z"}, {"Y"}]
    assert [outputs for outputs, _ in engine.runs] == [["Z"], ["Y", "Z"]]


def test_a_request_that_the_graph_refuses_fails_alone():
    answers = batches.Runner(Counting(), TWO).run([_item([[1]]), _item([[-1]]), _item([[3]])])
    assert answers[1] == batches.Failure("a negative element")
    assert [answers[place]["Y"].item() for place in (0, 2)] == [2, 6]


def test_without_batching_every_request_runs_as_it_is():
    engine = Counting()
    whole = config([entry("X", [-1, -1])], [entry("Y", [-1, -1]), entry("Z", [-1, -1])], batch=0)
    batches.Runner(engine, whole).run([_item([[1, 2]]), _item([[3, 4]])])
    assert [shape for _, shape in engine.runs] == [(1, 2), (1, 2)]


def test_a_single_request_is_passed_on_without_a_copy():
    class Looking(Counting):
        def run(self, outputs, feeds):
            self.seen = feeds["X"]
            return super().run(outputs, feeds)

    engine, item = Looking(), _item([[1, 2]])
    batches.Runner(engine, TWO).run([item])
    assert engine.seen is item.inputs["X"]


def test_an_output_of_another_type_or_batch_than_promised_never_leaves():
    class Lying(Counting):
        def run(self, outputs, feeds):
            return [feeds["X"].sum(axis=0) for _ in outputs]

    failure = only(batches.Runner(Lying(), TWO).run([_item([[1, 2]])]))
    assert failure.message.startswith("the graph gave output 'Y' the shape [2] for a batch of 1, expected as many rows")
    assert not failure.caller

    class Retyped(Counting):
        def run(self, outputs, feeds):
            return [feeds["X"].astype(np.float64) for _ in outputs]

    assert "the type float64, expected TYPE_FP32" in only(batches.Runner(Retyped(), TWO).run([_item([[1, 2]])])).message


@pytest.mark.parametrize(("batch", "dims", "given"), [(0, [1], (2, 3)), (0, [-1, 4], (2, 3)), (8, [4], (1, 2, 3))])
def test_sizes_that_differ_from_the_config_are_passed_on(batch, dims, given):
    class Open(Counting):
        def run(self, outputs, feeds):
            return [np.arange(6, dtype=np.float32).reshape(given) for _ in outputs]

    runner = batches.Runner(Open(), config([entry("X", [-1])], [entry("Y", dims)], batch))
    answer = only(runner.run([_item([[1]], "Y")]))
    np.testing.assert_array_equal(answer["Y"], np.arange(6).reshape(given))


@pytest.mark.parametrize(("dims", "shape"), [([1], (1,)), ([1, 1], (1, 1))])
def test_a_scalar_output_has_the_shape_that_the_config_says(dims, shape):
    class Scalar(Counting):
        def run(self, outputs, feeds):
            return [np.float32(7) * np.ones((), np.float32) for _ in outputs]

    for batch in (0, 8):
        config_ = config([entry("X", [-1])], [entry("Y", dims)], batch)
        assert only(batches.Runner(Scalar(), config_).run([_item([[1]], "Y")]))["Y"].shape == shape


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=8), st.integers(0, 2**31))
def test_merging_never_mixes_callers(shapes, seed):
    rng = np.random.default_rng(seed)
    items = [_item(rng.integers(-1, 50, shape)) for shape in shapes]
    for item, answer in zip(items, batches.Runner(Counting(), TWO).run(items), strict=True):
        if (item.inputs["X"] < 0).any():
            assert isinstance(answer, batches.Failure)
        else:
            np.testing.assert_array_equal(answer["Y"], item.inputs["X"] * 2)
            assert answer["Y"].flags.c_contiguous


RAGGED = {
    "batch_input": [
        {"kind": kind, "target_name": [kind], "data_type": "TYPE_FP32", "source_input": ["X"]}
        for kind in rules.BATCH_INPUTS
    ],
    "batch_output": [{"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["Y"], "source_input": ["X"]}],
}


class Flat(Counting):
    """An engine that records its inputs: Y = X * 2, both flat."""

    graph = Graph({"X": Tensor(FP32, (-1,))}, {"Y": Tensor(FP32, (-1,))})

    def run(self, outputs, feeds):
        self.feeds = {name: array.tolist() for name, array in feeds.items()}
        return [feeds["X"] * 2 for _ in outputs]


def test_ragged_requests_share_a_run_and_get_their_own_part():
    engine = Flat()
    runner = batches.Runner(engine, config([entry("X", [-1], allow_ragged_batch=True)], [entry("Y", [-1])], **RAGGED))
    answers = runner.run([_item([[1, 2, 3]], "Y"), _item([[4]], "Y"), _item([[5, 6], [7, 8]], "Y")])
    assert engine.feeds == {
        "X": [1, 2, 3, 4, 5, 6, 7, 8],
        "BATCH_ELEMENT_COUNT": [3, 1, 4],
        "BATCH_ACCUMULATED_ELEMENT_COUNT": [3, 4, 8],
        "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": [0, 3, 4, 8],
        "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": [0, 0, 0, 0],
        "BATCH_ITEM_SHAPE": [[3], [1], [2], [2]],
        "BATCH_ITEM_SHAPE_FLATTEN": [3, 1, 2, 2],
    }
    assert [answer["Y"].tolist() for answer in answers] == [[[2, 4, 6]], [[8]], [[10, 12], [14, 16]]]


def test_a_flat_output_that_does_not_fit_its_input_is_refused():
    class Short(Flat):
        def run(self, outputs, feeds):
            return [feeds["X"][1:] for _ in outputs]

    ragged = config([entry("X", [-1], allow_ragged_batch=True)], [entry("Y", [-1])], **RAGGED)
    failures = batches.Runner(Short(), ragged).run([_item([[1, 2]], "Y"), _item([[3]], "Y")])
    assert failures[0].message == "output 'Y' has 1 elements, its requests' inputs have 2"


# The model, as the stub calls it


def _loaded(folder, contents, version="1"):
    instance = model.TritonPythonModel()
    instance.initialize(
        {
            "model_config": json.dumps(contents),
            "model_name": "m",
            "model_version": version,
            "model_repository": str(folder),
            "model_instance_name": "m_0",
        }
    )
    return instance


STRINGS = config([entry("INPUT0", [-1], "TYPE_STRING")], [entry("OUTPUT0", [-1], "TYPE_STRING")])


def test_strings_go_through_as_the_text_that_they_are(tmp_path):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, STRINGS)
    words = np.array([[b"plain", "gr\u00fc\u00df".encode(), b""]], object)
    broken = np.array([[b"fine", b"\xff\xfe", b""]], object)
    good, bad = loaded.execute([Request(["OUTPUT0"], INPUT0=words), Request(["OUTPUT0"], INPUT0=broken)])
    assert good.outputs["OUTPUT0"].tolist() == [["plain", "gr\u00fc\u00df", ""]]
    assert bad.error.code == Error.INVALID_ARG
    assert "element 1 of input 'INPUT0' is not UTF-8 text" in bad.error.message


ELEMENTS = {
    "TYPE_BOOL": TensorProto.BOOL,
    "TYPE_UINT8": TensorProto.UINT8,
    "TYPE_UINT16": TensorProto.UINT16,
    "TYPE_UINT32": TensorProto.UINT32,
    "TYPE_UINT64": TensorProto.UINT64,
    "TYPE_INT8": TensorProto.INT8,
    "TYPE_INT16": TensorProto.INT16,
    "TYPE_INT32": TensorProto.INT32,
    "TYPE_INT64": TensorProto.INT64,
    "TYPE_FP16": TensorProto.FLOAT16,
    "TYPE_BF16": TensorProto.BFLOAT16,
    "TYPE_FP32": TensorProto.FLOAT,
    "TYPE_FP64": TensorProto.DOUBLE,
    "TYPE_STRING": TensorProto.STRING,
}


STATEFUL = config(
    [entry("INPUT", [1], "TYPE_INT32")],
    [entry("TOTAL", [-1], "TYPE_INT32")],
    batch=2,
    sequence_batching={
        "state": [{"input_name": "STATE_IN", "output_name": "STATE_OUT", "data_type": "TYPE_INT32", "dims": [-1]}]
    },
)
FIRST, LAST = 1, 2


def _step(value, sequence, flags=0, outputs=("TOTAL",)):
    request = Request(outputs, INPUT=np.array([[value]], np.int32), STATE_IN=np.full((1, 1), 1234, np.int32))
    request.correlation_id, request.flags = lambda: sequence, lambda: flags
    return request


def test_the_state_of_a_sequence_lasts_until_its_end(tmp_path):
    onnx_graphs.running_sum(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, STATEFUL)

    def totals(*requests):
        answers = loaded.execute(list(requests))
        assert all(set(answer.outputs) == {"TOTAL"} for answer in answers)
        return [answer.outputs["TOTAL"].item() for answer in answers]

    assert totals(_step(1, "a", FIRST), _step(10, 7, FIRST)) == [1, 10]
    assert totals(_step(20, 7), _step(2, "a")) == [30, 3]
    assert totals(_step(3, "a", LAST)) == [6]
    assert totals(_step(4, "a")) == [4], "nothing of an ended sequence is kept"
    assert totals(_step(5, 7, FIRST)) == [5], "a sequence that starts again starts from nothing"
    assert totals(_step(1, "b", FIRST), _step(1, "c", FIRST)) == [1, 1]
    assert len(loaded._states._kept) == 2, "no more sequences than there are places"


def test_an_initial_state_of_the_config_is_taken(tmp_path):
    onnx_graphs.running_sum(tmp_path / "1" / "model.onnx")
    state = STATEFUL["sequence_batching"]["state"][0]
    initial = {**state, "initial_state": [{"name": "x", "data_type": "TYPE_INT32", "dims": [1], "zero_data": True}]}
    loaded = _loaded(tmp_path, {**STATEFUL, "sequence_batching": {"state": [initial]}})
    answers = [only(loaded.execute([_step(1, "a", flags)])) for flags in (FIRST, 0, LAST)]
    assert [answer.outputs["TOTAL"].item() for answer in answers] == [1235, 1236, 1237]


def test_a_state_must_be_in_the_graph_with_its_type(tmp_path):
    graph = engines.signature(onnx_graphs.running_sum(tmp_path / "model.onnx"))
    assert rules.problems(STATEFUL, graph) == []
    state = STATEFUL["sequence_batching"]["state"][0]
    absent = {**STATEFUL, "sequence_batching": {"state": [{**state, "output_name": "OTHER"}]}}
    assert "state output 'OTHER' is not in the model" in only(rules.problems(absent, graph))
    retyped = {**STATEFUL, "sequence_batching": {"state": [{**state, "data_type": "TYPE_FP32"}]}}
    assert len(rules.problems(retyped, graph)) == 2
    with pytest.raises(rules.ConfigError, match="adds the inputs 'STATE_IN' itself"):
        rules.complete({**STATEFUL, "input": [], "output": []}, graph)


@pytest.mark.parametrize("type_", ELEMENTS)
def test_every_type_goes_through_merged_and_alone(tmp_path, type_):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx", ELEMENTS[type_])
    loaded = _loaded(tmp_path, config([entry("INPUT0", [-1], type_)], [entry("OUTPUT0", [-1], type_)]))
    if type_ == "TYPE_BF16":  # as bits, which the tests below put into Triton's form
        assert loaded._bfloats == {"INPUT0", "OUTPUT0"}
        loaded._bfloats = set()
    values = np.array([[0, 1, 2], [3, 0, 1]])
    values = values.astype(str).astype(object) if type_ == "TYPE_STRING" else values.astype(batches._NUMPY[type_])
    answers = loaded.execute([Request(["OUTPUT0"], INPUT0=part) for part in (values[:1], values, values[:, :2])])
    for answer, part in zip(answers, (values[:1], values, values[:, :2]), strict=True):
        assert answer.outputs["OUTPUT0"].dtype == values.dtype
        np.testing.assert_array_equal(answer.outputs["OUTPUT0"], part)


def test_sizes_that_the_graph_refuses_are_the_callers_fault(tmp_path):
    onnx_graphs.halves(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, config([entry("X", [-1])], [entry("Y", [-1])]))
    odd, even = np.ones((1, 5), np.float32), np.ones((1, 6), np.float32)
    bad, good = loaded.execute([Request(["Y"], X=odd), Request(["Y"], X=even)])
    assert bad.error.code == Error.INVALID_ARG
    assert bad.error.message.startswith("the graph does not take these inputs (X [1,5]), send others: ")
    assert "/" not in bad.error.message
    assert good.outputs["Y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("text", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 99"])
def test_memory_that_ran_out_is_not_the_callers_fault(text):
    error = engines._refused(RuntimeError(text), {"X": np.zeros((1, 5), np.float32)})
    assert (str(error), error.caller) == (text, False)


def test_a_number_for_the_whole_graph_is_one_requests_own(tmp_path):
    onnx_graphs.scaled(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, config([entry("X", [-1]), entry("SCALE", [1])], [entry("Y", [-1])]))
    ones = np.ones((1, 2), np.float32)
    requests = [Request(["Y"], X=ones, SCALE=np.full((1, 1), scale, np.float32)) for scale in (2, 3)]
    two = Request(["Y"], X=np.ones((2, 2), np.float32), SCALE=np.ones((2, 1), np.float32))
    *good, bad = loaded.execute([*requests, two])
    assert [answer.outputs["Y"].tolist() for answer in good] == [[[2, 2]], [[3, 3]]]
    assert bad.error.code == Error.INVALID_ARG
    assert "input 'SCALE' is one number for the whole graph, got shape [2,1]" in bad.error.message


def test_outcomes_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(Utils.MetricFamily, "values", {})
    flags = {"outcomes-metric": "ours_total", "precision-metric": "ours_precision", "fp32-reason": "so it is"}
    monkeypatch.setattr(options, "server_flags", lambda: flags)
    onnx_graphs.picker(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, config([entry("INDEX", [1], "TYPE_INT64")], [entry("PICKED", [1])]))
    asked = [(1, False), (99, False), (3, True), (4, False)]
    loaded.execute([Request(["PICKED"], gone, INDEX=np.array([[index]])) for index, gone in asked])
    monkeypatch.setattr(loaded._runner, "run", lambda items: 1 / 0)
    loaded.execute([Request(["PICKED"], INDEX=np.array([[1]]))])
    [precision] = [dict(key[1:]) for key in Utils.MetricFamily.values if key[0] == "ours_precision"]
    assert (precision["precision"], precision["reason"]) == ("fp32", "so it is") and "ONNX" in precision["library"]
    counted = {dict(key[1:])["outcome"]: v for key, v in Utils.MetricFamily.values.items() if key[0] == "ours_total"}
    assert counted == {"ok": 2, "invalid": 1, "cancelled": 1, "failed": 1}
    assert {key[0] for key in Utils.MetricFamily.values} == {"ours_total", "ours_precision"}
    assert {(dict(key[1:])["model"], dict(key[1:])["version"]) for key in Utils.MetricFamily.values} == {("m", "1")}


def test_a_cancelled_request_is_not_run(tmp_path):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, STRINGS)
    word = np.array([[b"a"]], object)
    gone, there = loaded.execute([Request(["OUTPUT0"], True, INPUT0=word), Request(["OUTPUT0"], INPUT0=word)])
    assert gone.error.code == Error.CANCELLED
    assert there.outputs["OUTPUT0"].tolist() == [["a"]]


def test_an_unforeseen_error_reaches_nobody_as_a_traceback(tmp_path, monkeypatch):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, STRINGS)
    monkeypatch.setattr(loaded._runner, "run", lambda items: 1 / 0)
    answer = only(loaded.execute([Request(["OUTPUT0"], INPUT0=np.array([[b"a"]], object))]))
    assert answer.error.code == Error.INTERNAL
    assert "division" not in answer.error.message


def test_rank_zero_and_defaults_without_batching(tmp_path):
    onnx_graphs.scalar(tmp_path / "1" / "model.onnx")
    loaded = _loaded(tmp_path, config([entry("VALUE", [1])], [entry("SQUARE", [1])], batch=0))
    answer = only(loaded.execute([Request(["SQUARE"], VALUE=np.array([3], np.float32))]))
    assert answer.outputs["SQUARE"].tolist() == [9]
    onnx_graphs.with_default(tmp_path / "2" / "model.onnx")
    both = [entry("VALUE", [1]), entry("OFFSET", [1], optional=True)]
    loaded = _loaded(tmp_path, config(both, [entry("SUM", [1])], batch=0), "2")
    five = np.array([5], np.float32)
    sums = loaded.execute([Request(["SUM"], VALUE=five), Request(["SUM"], VALUE=five, OFFSET=five)])
    assert [each.outputs["SUM"].tolist() for each in sums] == [[15], [10]]


def test_a_graph_may_be_a_folder_with_its_weights_beside_it(tmp_path):
    onnx_graphs.classifier(tmp_path / "1" / "model.onnx" / "model.onnx", external=True)
    assert len(list((tmp_path / "1" / "model.onnx").iterdir())) == 2
    image = entry("data_0", [3, 8, 8])
    loaded = _loaded(tmp_path, config([image], [entry("fc6_1", [5], reshape={"shape": [5, 1, 1]})]))
    answer = only(loaded.execute([Request(["fc6_1"], data_0=np.ones((2, 3, 8, 8), np.float32))]))
    assert answer.outputs["fc6_1"].shape == (2, 5, 1, 1)


def test_another_file_name_is_taken_and_a_missing_file_is_named(tmp_path):
    onnx_graphs.identity(tmp_path / "3" / "other.onnx")
    assert _loaded(tmp_path, {**STRINGS, "default_model_filename": "other.onnx"}, "3")
    with pytest.raises(rules.ConfigError, match=r"unable to find 'm/3/model\.onnx'; put the graph there"):
        _loaded(tmp_path, STRINGS, "3")


def test_a_failed_load_names_no_path_of_the_server(tmp_path, monkeypatch):
    """Check the whole message: Triton shows the file where the exception was raised and those of its callers."""
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")

    def shown(contents):
        with pytest.raises(rules.ConfigError) as caught:
            _loaded(tmp_path, contents)
        trace = caught.value.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        return str(caught.value), trace.tb_frame.f_code.co_filename

    text, file = shown({**STRINGS, "model_operations": {"op_library_filename": [str(tmp_path / "ops.so")]}})
    assert file == "onnxruntime/model.py"
    assert "op_library_filename 'ops.so' does not load" in text
    assert "/" not in text
    monkeypatch.setattr(engines, "load", lambda *given: (tmp_path / "secret" / "x").read_bytes())
    text, file = shown(STRINGS)
    assert file == "onnxruntime/model.py"
    assert text == "unable to load model 'm': FileNotFoundError in the ONNX Runtime backend; the server's log has it"


def test_a_wrong_config_stops_the_load(tmp_path):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")
    with pytest.raises(rules.ConfigError, match="configuration expects datatype TYPE_INT32 for input 'INPUT0'"):
        _loaded(tmp_path, {**STRINGS, "input": [entry("INPUT0", [-1], "TYPE_INT32")]})
    thread_count = {"intra_op_thread_count": {"string_value": "x"}}
    with pytest.raises(rules.ConfigError) as caught:
        _loaded(tmp_path, {**STRINGS, "parameters": thread_count, "output": [entry("OUT", [-1], "TYPE_STRING")]})
    parameter, output = caught.value.problems
    assert "'intra_op_thread_count' must be an integer" in parameter
    assert "unexpected inference output 'OUT'" in output


def test_the_servers_flags_take_an_accelerator_away():
    accelerators = {"cpu_execution_accelerator": [{"name": "openvino", "parameters": {"precision": "bf16"}}]}
    given = {"name": "a", "optimization": {"execution_accelerators": accelerators}}
    for kept, precision in (("b:c", "bf16"), ("c:a", None)):
        chosen, wrong = options.read(given, {"not-accelerated": kept})
        assert not wrong and (chosen.openvino and chosen.openvino.precision) == precision


def test_the_backend_needs_nothing_of_this_project():
    for path in (ROOT / "backends" / "onnxruntime").glob("*.py"):
        assert "sluice" not in path.read_text()


FAST = sorted(path.parent.parent.name for path in (ROOT / "model_repository").glob("*/configs/cpu-fast.pbtxt"))
# Networks that stay in fp32, each for the reason in its config.pbtxt.
WHOLE = {"digits_curvature", "digits_score", "streets_curvature", "streets_score", "text_encoder"}


# Networks that see images on a few canvases -> how many; the question of the start brings one shape more.
SEEN = {"feature_extractor": len(images.Config().sizes), "mixture_detector": len(object_detector.Config().sizes)}
SEEN["frame_networks"] = SEEN["feature_extractor"]


@pytest.mark.parametrize("name", SEEN)
def test_every_canvas_has_a_program_that_is_kept(name):
    text = (ROOT / "model_repository" / name / "configs" / "cpu-fast.pbtxt").read_text()
    assert f'key: "programs" value: "{SEEN[name] + 1}"' in text


def test_every_network_is_in_bf16_or_says_why_not():
    networks = {path.parent.parent.name for path in (ROOT / "model_repository").glob("*/configs/tensorrt.pbtxt")}
    networks.add("frame_networks")  # joined of three of them, with no engine of its own
    assert set(FAST) | WHOLE == networks and not WHOLE & set(FAST)
    for name in WHOLE:
        assert "bf16" in (ROOT / "model_repository" / name / "config.pbtxt").read_text()


@pytest.mark.parametrize("name", FAST)
def test_the_profile_cpu_fast_differs_from_the_config_in_its_accelerator_only(name):
    pytest.importorskip("tritonclient.grpc", reason="reads config.pbtxt through tritonclient")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    folder = ROOT / "model_repository" / name
    plain, fast = (
        text_format.Parse((folder / file).read_text(), model_config_pb2.ModelConfig())
        for file in ("config.pbtxt", "configs/cpu-fast.pbtxt")
    )
    accelerator = only(fast.optimization.execution_accelerators.cpu_execution_accelerator)
    programs = {} if name == "image_grouper" else {"programs": "6" if name in SEEN else "4"}
    assert (accelerator.name, dict(accelerator.parameters)) == ("openvino", {"precision": "bf16", **programs})
    fast.optimization.Clear()
    plain.optimization.Clear()
    assert fast == plain


def _completed(monkeypatch, folder, contents):
    """Return a config as the stub has it filled in."""
    monkeypatch.setattr(model.pb_utils, "get_model_dir", lambda: str(folder), raising=False)
    given = types.SimpleNamespace(as_dict=lambda: contents)
    assert model.TritonPythonModel.auto_complete_config(given) is given
    return contents


def test_a_config_is_filled_in_with_the_servers_default_for_batches(tmp_path, monkeypatch):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")
    monkeypatch.setattr(options, "server_flags", lambda: {"default-max-batch-size": "5"})
    done = _completed(monkeypatch, tmp_path / "1", {"name": "m"})
    assert (done["max_batch_size"], done["input"]) == (5, [entry("INPUT0", [-1], "TYPE_STRING")])


@pytest.mark.parametrize(
    ("graph", "flags", "said"),
    [
        (onnx_graphs.zipmap, {}, "expected a tensor, also where the config leaves the output out"),
        (onnx_graphs.identity, {"default-max-batch-size": "many"}, "must be an integer, got 'many'"),
        (lambda path: path, {}, "unable to find"),
    ],
)
def test_what_cannot_be_filled_in_names_no_path(tmp_path, monkeypatch, graph, flags, said):
    graph(tmp_path / "1" / "model.onnx")
    monkeypatch.setattr(options, "server_flags", lambda: flags)
    with pytest.raises(rules.ConfigError) as caught:
        _completed(monkeypatch, tmp_path / "1", {"name": "m"})
    assert said in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    trace = caught.value.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_filename == "onnxruntime/model.py"
