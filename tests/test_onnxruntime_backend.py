"""The stand-in for Triton's C++ ONNX Runtime backend, without a server: rules, options, engines, batches."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnx_graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

ROOT = Path(__file__).resolve().parent.parent


class Error:
    INTERNAL, INVALID_ARG, CANCELLED = 1, 3, 7

    def __init__(self, message, code):
        self.message, self.code = message, code


class Utils(types.ModuleType):
    """What the backend uses of triton_python_backend_utils."""

    TritonError = Error
    Logger = types.SimpleNamespace(log_info=lambda text: None, log_error=lambda text: None)

    class Tensor:
        def __init__(self, name, array):
            self._name, self._array = name, array

        def name(self):
            return self._name

        def as_numpy(self):
            return self._array

    class InferenceResponse:
        def __init__(self, output_tensors=(), error=None):
            self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
            self.error = error


class Request:
    def __init__(self, outputs, cancelled=False, **inputs):
        self._outputs, self._cancelled, self._inputs = outputs, cancelled, inputs

    def inputs(self):
        return [Utils.Tensor(name, array) for name, array in self._inputs.items()]

    def requested_output_names(self):
        return set(self._outputs)

    def is_cancelled(self):
        return self._cancelled


def _backend():
    """The backend as Triton's stub takes it: one file, loaded by its path."""
    replaced = sys.modules.get("triton_python_backend_utils")
    sys.modules["triton_python_backend_utils"] = Utils("triton_python_backend_utils")
    try:
        spec = importlib.util.spec_from_file_location("backend_model", ROOT / "backends" / "onnxruntime" / "model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        if replaced is None:
            del sys.modules["triton_python_backend_utils"]
        else:
            sys.modules["triton_python_backend_utils"] = replaced
    return module


model = _backend()
batches, engines, options, rules = model.batches, model.engines, model.options, model.rules
Graph, Tensor = rules.Graph, rules.Tensor

FP32 = "TYPE_FP32"


def entry(name, dims, type_=FP32, **more):
    return {"name": name, "data_type": type_, "dims": dims, **more}


def config(inputs, outputs, batch=8, **more):
    return {"name": "m", "max_batch_size": batch, "input": inputs, "output": outputs, **more}


def only(problems):
    assert len(problems) == 1, problems
    return problems[0]


IMAGES = Graph({"X": Tensor(FP32, (-1, 3, -1, -1))}, {"Y": Tensor(FP32, (-1, 10))})


# What the C++ backend refuses


def test_a_config_that_equals_its_graph_has_no_problems():
    assert rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), IMAGES) == []


def test_an_input_may_be_narrower_than_the_graph():
    assert rules.problems(config([entry("X", [3, 224, 224])], [entry("Y", [10])]), IMAGES) == []


def test_an_input_may_not_be_wider_than_the_graph():
    problem = only(rules.problems(config([entry("X", [-1, -1, -1])], [entry("Y", [10])]), IMAGES))
    assert "the model expects 4 dimensions (shape [-1,3,-1,-1])" in problem
    assert "complete shape [-1,-1,-1,-1]" in problem
    assert problem.endswith("write dims: [ 3, -1, -1 ]")


@pytest.mark.parametrize("dims", [[-1], [11], [10, 1], []])
def test_an_output_must_equal_the_graph_exactly(dims):
    problem = only(rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", dims)]), IMAGES))
    assert "output 'Y': the model expects 2 dimensions (shape [-1,10])" in problem
    assert problem.endswith("write dims: [ 10 ]")


def test_an_output_that_the_graph_leaves_open_must_be_open_in_the_config():
    graph = Graph({"X": Tensor(FP32, (-1, 3))}, {"Y": Tensor(FP32, (-1, -1))})
    assert "shape [-1,-1]" in only(rules.problems(config([entry("X", [3])], [entry("Y", [7])]), graph))


def test_batching_needs_an_open_first_dimension_on_both_sides():
    graph = Graph({"X": Tensor(FP32, (1, 3))}, {"Y": Tensor(FP32, (4, 2))})
    problems = rules.problems(config([entry("X", [3])], [entry("Y", [2])]), graph)
    assert len(problems) == 2
    for problem in problems:
        assert "first dimension must be -1" in problem
        assert "set max_batch_size: 0" in problem
    assert rules.problems(config([entry("X", [1, 3])], [entry("Y", [4, 2])], batch=0), graph) == []


def test_types_must_be_equal():
    problem = only(rules.problems(config([entry("X", [3, -1, -1], "TYPE_UINT8")], [entry("Y", [10])]), IMAGES))
    assert problem == (
        "configuration expects datatype TYPE_UINT8 for input 'X', model provides TYPE_FP32; write data_type: TYPE_FP32"
    )


@pytest.mark.parametrize("type_", ["TYPE_BF16", "TYPE_INVALID"])
def test_a_type_that_the_backend_does_not_know_is_refused(type_):
    problem = only(rules.problems(config([entry("X", [3, -1, -1], type_)], [entry("Y", [10])]), IMAGES))
    assert f"unsupported datatype {type_} for input 'X'" in problem


def test_unknown_names_are_answered_with_the_known_ones():
    problems = rules.problems(config([entry("IN", [3, -1, -1])], [entry("OUT", [10])]), IMAGES)
    assert "unexpected inference input 'IN', allowed inputs are: 'X'; rename or remove it" in problems
    assert "unexpected inference output 'OUT', allowed outputs are: 'Y'; rename or remove it" in problems


def test_a_missing_input_is_named_with_its_type_and_shape():
    graph = Graph({**IMAGES.inputs, "Z": Tensor("TYPE_INT64", (-1, 2))}, IMAGES.outputs)
    problem = only(rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), graph))
    assert problem == "configuration expects 1 inputs, model provides 2; add 'Z' (TYPE_INT64, shape [-1,2])"


def test_outputs_may_be_left_out():
    graph = Graph(IMAGES.inputs, {**IMAGES.outputs, "Z": Tensor(FP32, (-1, 2))})
    assert rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])]), graph) == []


def test_optional_inputs_are_those_with_a_default_and_only_without_batching():
    graph = Graph({"X": Tensor(FP32, (1,))}, {"Y": Tensor(FP32, (1,))}, {"D": Tensor(FP32, (1,))})
    both = [entry("X", [1]), entry("D", [1], optional=True)]
    assert rules.problems(config(both, [entry("Y", [1])], batch=0), graph) == []
    batched = rules.problems(config(both, [entry("Y", [1])]), graph)
    assert any("optional input 'D' is not supported for models that support batching" in each for each in batched)
    required = [entry("X", [1], optional=True)]
    assert "remove 'optional'" in only(rules.problems(config(required, [entry("Y", [1])], batch=0), graph))


def test_one_number_an_item_needs_a_reshape_to_nothing():
    graph = Graph({"X": Tensor(FP32, (-1,))}, {"Y": Tensor(FP32, (-1,))})
    empty = {"shape": []}
    good = config([entry("X", [1], reshape=empty)], [entry("Y", [1], reshape=empty)])
    assert rules.problems(good, graph) == []
    problem = rules.problems(config([entry("X", [1])], [entry("Y", [1], reshape=empty)]), graph)
    assert only(problem).endswith("write dims: [ 1 ] with reshape: { shape: [ ] }")


def test_a_scalar_without_batching_is_written_as_ones():
    graph = Graph({"X": Tensor(FP32, ())}, {"Y": Tensor(FP32, ())})
    assert rules.problems(config([entry("X", [1])], [entry("Y", [1, 1])], batch=0), graph) == []
    assert "write dims: [ 1 ]" in only(rules.problems(config([entry("X", [2])], [entry("Y", [1])], batch=0), graph))


def test_reshape_is_what_the_graph_is_compared_with():
    graph = Graph({"X": Tensor(FP32, (-1, 3))}, {"Y": Tensor(FP32, (-1, 10, 1, 1))})
    reshaped = entry("Y", [10], reshape={"shape": [10, 1, 1]})
    assert rules.problems(config([entry("X", [3])], [reshaped]), graph) == []


def _sequence(kind="CONTROL_SEQUENCE_START", **switch):
    return {"control_input": [{"name": "START", "control": [{"kind": kind, **switch}]}]}


def test_sequence_controls_count_as_inputs_and_must_fit():
    graph = Graph(
        {"X": Tensor("TYPE_INT32", (-1, 1)), "START": Tensor("TYPE_INT32", (-1, 1))},
        {"Y": Tensor("TYPE_INT32", (-1, 1))},
    )
    io = [entry("X", [1], "TYPE_INT32")], [entry("Y", [1], "TYPE_INT32")]
    assert rules.problems(config(*io, sequence_batching=_sequence(int32_false_true=[0, 1])), graph) == []
    wrong = rules.problems(config(*io, sequence_batching=_sequence(fp32_false_true=[0, 1])), graph)
    assert "the model expects TYPE_INT32, the configuration specifies TYPE_FP32" in only(wrong)
    absent = rules.problems(config(*io, sequence_batching=_sequence(int32_false_true=[0, 1])), IMAGES)
    assert any("sequence control 'START', but the model does not provide that input" in each for each in absent)


@pytest.mark.parametrize(
    "more",
    [
        {"batch_input": [{"kind": "BATCH_ELEMENT_COUNT", "target_name": ["X"]}]},
        {"batch_output": [{"target_name": ["Y"]}]},
    ],
)
def test_what_only_the_c_backend_does_is_refused_not_half_done(more):
    problems = rules.problems(config([entry("X", [3, -1, -1])], [entry("Y", [10])], **more), IMAGES)
    assert any("served by the C++ ONNX Runtime backend only" in each for each in problems)


def test_every_problem_is_said_one_line_each_with_the_model():
    wrong = config([entry("X", [4], "TYPE_INT8")], [entry("Y", [3])])
    with pytest.raises(rules.ConfigError) as caught:
        rules.check(wrong, IMAGES)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 == len(caught.value.problems)
    assert all(line.startswith("unable to load model 'm': ") for line in lines)


# What it fills in


def test_an_empty_config_gets_inputs_outputs_and_batches():
    done = rules.complete({"name": "m", "max_batch_size": 0, "input": [], "output": []}, IMAGES)
    assert done["max_batch_size"] == 4
    assert done["dynamic_batching"] == {}
    assert done["input"] == [entry("X", [3, -1, -1])]
    assert done["output"] == [entry("Y", [10])]
    assert rules.problems(done, IMAGES) == []


def test_a_full_config_is_left_alone():
    full = config([entry("X", [3, -1, -1])], [entry("Y", [10])], batch=0)
    assert rules.complete(full, IMAGES) == full


def test_the_servers_default_and_the_configs_own_batch_size_count():
    assert rules.complete({"name": "m"}, IMAGES, default_batch=6)["max_batch_size"] == 6
    assert rules.complete({"name": "m", "max_batch_size": 3}, IMAGES, default_batch=6)["max_batch_size"] == 3
    single = rules.complete({"name": "m"}, IMAGES, default_batch=1)
    assert single["max_batch_size"] == 1
    assert "dynamic_batching" not in single
    assert rules.complete({"name": "m"}, IMAGES, default_batch=0)["input"] == [entry("X", [-1, 3, -1, -1])]


def test_a_graph_without_open_batch_is_filled_in_without_batching():
    graph = Graph({"X": Tensor(FP32, ())}, {"Y": Tensor(FP32, (2, 3))})
    done = rules.complete({"name": "m"}, graph)
    assert rules.batch_limit(done) == 0
    assert done["input"] == [entry("X", [1])]
    assert done["output"] == [entry("Y", [2, 3])]
    assert rules.problems(done, graph) == []
    with pytest.raises(rules.ConfigError, match="does not support batching"):
        rules.complete({"name": "m", "max_batch_size": 8}, graph)


def test_filling_in_does_not_repeat_sequence_controls():
    graph = Graph(
        {"X": Tensor("TYPE_INT32", (-1, 1)), "START": Tensor("TYPE_INT32", (-1, 1))}, {"Y": Tensor(FP32, (-1,))}
    )
    done = rules.complete({"name": "m", "sequence_batching": _sequence(int32_false_true=[0, 1])}, graph)
    assert [each["name"] for each in done["input"]] == ["X"]
    assert "dynamic_batching" not in done
    assert rules.problems(done, graph) == []


dims = st.lists(st.sampled_from([-1, 1, 3, 16]), min_size=0, max_size=4).map(tuple)
tensors = st.dictionaries(
    st.sampled_from(["A", "B", "C"]), st.builds(Tensor, st.sampled_from(sorted(rules.TYPES.values())), dims), min_size=1
)


@given(inputs=tensors, outputs=tensors, batch=st.integers(0, 5))
def test_what_is_filled_in_always_passes_the_check(inputs, outputs, batch):
    graph = Graph(inputs, {f"OUT_{name}": tensor for name, tensor in outputs.items()})
    assert rules.problems(rules.complete({"name": "m"}, graph, batch), graph) == []


# Options


def _options(parameters=None, flags=None, **more):
    texts = {key: {"string_value": value} for key, value in (parameters or {}).items()}
    return options.read({"parameters": texts, **more}, flags or {})


def test_parameters_have_the_names_of_the_c_backend():
    chosen, wrong = _options(
        {
            "intra_op_thread_count": "3",
            "inter_op_thread_count": "2",
            "execution_mode": "1",
            "enable_mem_arena": "0",
            "enable_mem_pattern": "true",
            "memory.enable_memory_arena_shrinkage": "cpu:0",
            "session.use_device_allocator_for_initializers": "1",
            "project.own": "left alone",
        }
    )
    assert wrong == []
    assert (chosen.intra_threads, chosen.inter_threads, chosen.parallel) == (3, 2, True)
    assert (chosen.mem_arena, chosen.mem_pattern) == (False, True)
    assert chosen.run_entries == (("memory.enable_memory_arena_shrinkage", "cpu:0"),)
    assert chosen.session_entries == (("session.use_device_allocator_for_initializers", "1"),)
    assert chosen.openvino is None


@pytest.mark.parametrize(
    ("level", "name"),
    [(None, "ENABLE_ALL"), (0, "ENABLE_ALL"), (-1, "ENABLE_BASIC"), (1, "ENABLE_EXTENDED"), (2, "DISABLE_ALL")],
)
def test_the_graph_level_means_what_it_means_there(level, name):
    graph = {} if level is None else {"graph": {"level": level}}
    assert _options(optimization=graph)[0].graph_level == f"ORT_{name}"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"intra_op_thread_count": "many"}, "'intra_op_thread_count' must be an integer, got 'many'"),
        ({"execution_mode": "2"}, "execution_mode must be 0 (sequential) or 1 (parallel), got 2"),
        ({"enable_mem_arena": "perhaps"}, "'enable_mem_arena' must be 0 or 1, got 'perhaps'"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_refused(parameters, said):
    assert said in only(_options(parameters)[1])


def _accelerated(*entries, where="cpu_execution_accelerator"):
    return _options({"intra_op_thread_count": "1"}, optimization={"execution_accelerators": {where: list(entries)}})


def test_openvino_is_chosen_by_the_config():
    chosen, wrong = _accelerated({"name": "openvino", "parameters": {"precision": "BF16", "num_of_threads": "2"}})
    assert wrong == []
    assert chosen.openvino == options.OpenVino("bf16", 2)
    assert _accelerated({"name": "openvino"})[0].openvino == options.OpenVino("f32", 0)


@pytest.mark.parametrize(
    ("accelerator", "said"),
    [
        ({"name": "openvinos"}, "unknown Execution Accelerator 'openvinos' is requested"),
        ({"name": "openvino", "parameters": {"precision": "int3"}}, "must be fp32 or bf16, got 'int3'"),
        ({"name": "openvino", "parameters": {"presicion": "bf16"}}, "unknown parameter 'presicion' for openvino"),
    ],
)
def test_an_unknown_cpu_accelerator_is_refused(accelerator, said):
    assert said in only(_accelerated(accelerator)[1])


def test_gpu_accelerators_are_ignored_on_a_cpu():
    chosen, wrong = _accelerated({"name": "tensorrt", "parameters": {"a": "b"}}, where="gpu_execution_accelerator")
    assert (chosen.openvino, wrong) == (None, [])


def test_the_servers_flags_are_read_in_both_forms():
    line = [
        "tritonserver",
        "--backend-config=python,shm-region-prefix-name=x",
        "--backend-config=onnxruntime,default-max-batch-size=7",
        "--backend-config",
        "onnxruntime,enable-global-threadpool=1",
        "--backend-config=default-max-batch-size=9",
    ]
    assert options.backend_flags(line) == {"default-max-batch-size": "7", "enable-global-threadpool": "1"}


def _python(program, *arguments):
    """What a Python process of its own prints."""
    line = [sys.executable, "-c", program, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


BACKEND = f"""
import sys, types
package = types.ModuleType("onnxruntime_backend")
package.__path__ = [{str(ROOT / "backends" / "onnxruntime")!r}]
sys.modules["onnxruntime_backend"] = package
"""


def test_the_flags_are_those_of_the_process_that_started_this_one():
    stub = BACKEND + "from onnxruntime_backend import options; print(options.server_flags())"
    server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stub!r}], check=True)"
    assert _python(server, "--backend-config=onnxruntime,default-max-batch-size=6") == "{'default-max-batch-size': '6'}"


def test_a_global_pool_is_one_for_all_sessions_of_a_process(tmp_path):
    path = onnx_graphs.add_subtract(tmp_path / "model.onnx")
    program = f"""{BACKEND}
import psutil
from pathlib import Path
from onnxruntime_backend import engines, options

chosen = options.Options(intra_threads=3, global_pool=True)

def threads(loaded):
    kept.extend(engines.load(Path({str(path)!r}), chosen) for _ in range(loaded))
    return psutil.Process().num_threads()

kept = []
none, one, three = threads(0), threads(1), threads(2)
print(one - none >= 2, three - one)
"""
    assert _python(program) == "True 0"


def test_with_a_global_pool_the_models_own_thread_counts_do_not_count():
    flags = {"enable-global-threadpool": "1", "intra_op_thread_count": "2"}
    chosen, _ = _options({"intra_op_thread_count": "5"}, flags)
    assert (chosen.global_pool, chosen.intra_threads) == (True, 2)


# Engines


def test_a_graphs_signature_is_read_with_its_defaults(tmp_path):
    graph = engines.signature(onnx_graphs.network(tmp_path / "model.onnx", channels=8))
    assert graph.inputs == {"IMAGE": Tensor("TYPE_UINT8", (-1, -1, -1, 3))}
    assert graph.outputs == {"FEATURES": Tensor("TYPE_FP16", (-1, -1, -1, 8))}
    graph = engines.signature(onnx_graphs.with_default(tmp_path / "default.onnx"))
    assert list(graph.inputs) == ["VALUE"]
    assert graph.defaults == {"OFFSET": Tensor(FP32, (1,))}


def test_a_type_that_configs_cannot_name_is_refused(tmp_path):
    graph = engines.signature(onnx_graphs.identity(tmp_path / "model.onnx", TensorProto.BFLOAT16))
    with pytest.raises(rules.ConfigError, match=r"unsupported type tensor\(bfloat16\) of input 'INPUT0'"):
        rules.complete({"name": "m"}, graph)


def test_session_options_reach_onnx_runtime(tmp_path):
    chosen, _ = _options(
        {"intra_op_thread_count": "3", "enable_mem_pattern": "0", "memory.enable_memory_arena_shrinkage": "cpu:0"},
        optimization={"graph": {"level": 2}},
    )
    engine = engines.load(onnx_graphs.add_subtract(tmp_path / "model.onnx"), chosen)
    used = engine._session.get_session_options()
    assert used.intra_op_num_threads == 3
    assert used.enable_mem_pattern is False
    assert used.graph_optimization_level == engines.ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert "intra_op_thread_count=3" in engine.described()
    ones = np.ones((1, 16), np.int32)
    assert (engine.run(["OUTPUT0"], {"INPUT0": ones, "INPUT1": ones})[0] == 2).all()


def test_a_file_that_is_no_graph_is_refused_without_its_path(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(engines.GraphError, match=r"cannot load model\.onnx") as caught:
        engines.load(path, options.Options())
    assert str(tmp_path) not in str(caught.value)


def test_paths_are_taken_out_of_a_librarys_message():
    text = (
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : /onnxruntime_src/core/sequential.cc:6 a/b\n at node '/net/Conv_1'"
    )
    assert engines._cleaned(Exception(text)) == "sequential.cc:6 a/b at node 'Conv_1'"


def test_without_openvino_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(engines.GraphError, match="pip install openvino"):
        engines.load(onnx_graphs.network(tmp_path / "model.onnx"), options.Options(openvino=options.OpenVino()))


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 2e-3), ("bf16", 3e-2)])
def test_openvino_agrees_with_onnx_runtime_over_shapes(tmp_path, precision, tolerance):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    path = onnx_graphs.network(tmp_path / "model.onnx")
    exact = engines.load(path, options.Options(intra_threads=1))
    fast = engines.load(path, options.Options(intra_threads=1, openvino=options.OpenVino(precision)))
    rng = np.random.default_rng(0)
    for shape in [(1, 32, 48, 3), (3, 48, 32, 3), (1, 32, 48, 3)]:
        image = rng.integers(0, 256, shape).astype(np.uint8)
        expected, got = (engine.run(["FEATURES"], {"IMAGE": image})[0] for engine in (exact, fast))
        assert got.dtype == np.float16
        np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), atol=tolerance)
    assert "num_of_threads=1" in fast.described()


def test_openvino_refuses_strings_with_a_remedy(tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with pytest.raises(engines.GraphError, match="remove the accelerator"):
        engines.load(onnx_graphs.identity(tmp_path / "model.onnx"), options.Options(openvino=options.OpenVino()))


# Batches


class Counting:
    """An engine that says what it was asked for: Y = X * 2, Z = X + 1; a negative element is an error."""

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


def test_an_output_that_breaks_the_configs_promise_never_leaves():
    class Lying(Counting):
        def run(self, outputs, feeds):
            return [feeds["X"].sum(axis=0) for _ in outputs]

    failure = only(batches.Runner(Lying(), TWO).run([_item([[1, 2]])]))
    assert failure.message == "the graph gave output 'Y' the shape [2], expected [1,-1]"

    class Retyped(Counting):
        def run(self, outputs, feeds):
            return [feeds["X"].astype(np.float64) for _ in outputs]

    assert "the type float64, expected TYPE_FP32" in only(batches.Runner(Retyped(), TWO).run([_item([[1, 2]])])).message


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
    filled = rules.complete({**STATEFUL, "input": [], "output": []}, graph)
    assert [each["name"] for each in filled["input"]] == ["INPUT"]


@pytest.mark.parametrize("type_", ELEMENTS)
def test_every_type_goes_through_merged_and_alone(tmp_path, type_):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx", ELEMENTS[type_])
    loaded = _loaded(tmp_path, config([entry("INPUT0", [-1], type_)], [entry("OUTPUT0", [-1], type_)]))
    values = np.array([[0, 1, 2], [3, 0, 1]])
    values = values.astype(str).astype(object) if type_ == "TYPE_STRING" else values.astype(batches._NUMPY[type_])
    answers = loaded.execute([Request(["OUTPUT0"], INPUT0=part) for part in (values[:1], values, values[:, :2])])
    for answer, part in zip(answers, (values[:1], values, values[:, :2]), strict=True):
        assert answer.outputs["OUTPUT0"].dtype == values.dtype
        np.testing.assert_array_equal(answer.outputs["OUTPUT0"], part)


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


def test_a_wrong_config_stops_the_load(tmp_path):
    onnx_graphs.identity(tmp_path / "1" / "model.onnx")
    with pytest.raises(rules.ConfigError, match="configuration expects datatype TYPE_INT32 for input 'INPUT0'"):
        _loaded(tmp_path, {**STRINGS, "input": [entry("INPUT0", [-1], "TYPE_INT32")]})
    with pytest.raises(rules.ConfigError, match="must be an integer"):
        _loaded(tmp_path, {**STRINGS, "parameters": {"intra_op_thread_count": {"string_value": "x"}}})


def test_the_backend_needs_nothing_of_this_project():
    for path in (ROOT / "backends" / "onnxruntime").glob("*.py"):
        assert "sluice" not in path.read_text()


def test_the_profile_cpu_fast_differs_from_the_config_in_its_accelerator_only():
    pytest.importorskip("tritonclient.grpc", reason="reads config.pbtxt through tritonclient")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    folder = ROOT / "model_repository" / "feature_extractor"
    plain, fast = (
        text_format.Parse((folder / name).read_text(), model_config_pb2.ModelConfig())
        for name in ("config.pbtxt", "configs/cpu-fast.pbtxt")
    )
    accelerator = only(fast.optimization.execution_accelerators.cpu_execution_accelerator)
    assert (accelerator.name, dict(accelerator.parameters)) == ("openvino", {"precision": "bf16"})
    fast.optimization.Clear()
    plain.optimization.Clear()
    assert fast == plain
