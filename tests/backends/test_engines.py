"""Tests the stand-in for the C++ ONNX Runtime backend: parameters, the server's flags, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto

from tests.made import onnx_graphs
from tests.made.onnxruntime_stub import FP32, ROOT, Tensor, bfloat16, engines, only, options, rules

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
    ],
)
def test_an_unknown_cpu_accelerator_is_refused(accelerator, said):
    assert said in only(_accelerated(accelerator)[1])


@pytest.mark.parametrize(("key", "value"), [("precision", "FP16"), ("presicion", "bf16"), ("num_of_threads", "two")])
def test_parameters_beside_openvino_that_are_not_ours_are_left_alone_aloud(key, value):
    chosen, wrong = _accelerated({"name": "openvino", "parameters": {key: value}})
    assert (chosen.openvino, wrong) == (options.OpenVino("f32", 0), [])
    assert f"openvino's parameter '{key}' = '{value}' is left alone" in only(chosen.left_alone)


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
        "--backend-config=intra_op_thread_count=2",
    ]
    found = options.backend_flags(line)
    assert found.pop("intra_op_thread_count") == "2", "without a backend's name it is for all of them"
    assert found == {"default-max-batch-size": "7", "enable-global-threadpool": "1"}
    assert options.backend_flags(line[-2:], "python") == {"default-max-batch-size": "9", "intra_op_thread_count": "2"}


def _python(program, *arguments):
    """Return what a Python process of its own prints."""
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


@pytest.mark.parametrize("text", ["1", "true", "on", "True"])
def test_a_global_pool_is_switched_on_by_any_word_for_it(text):
    assert _options({}, {"enable-global-threadpool": text})[0].global_pool


def test_a_flag_that_cannot_be_read_is_refused():
    assert "'enable-global-threadpool' must be 0 or 1" in only(_options({}, {"enable-global-threadpool": "so"})[1])
    wrong = []
    options.default_batch({"default-max-batch-size": "many"}, wrong)
    assert "'default-max-batch-size' must be an integer, got 'many'" in only(wrong)
    assert options.default_batch({"default-max-batch-size": "5"}, []) == 5
    assert options.default_batch({}, []) == 4


# Engines


def test_a_graphs_signature_is_read_with_its_defaults(tmp_path):
    graph = engines.signature(onnx_graphs.network(tmp_path / "model.onnx", channels=8))
    assert graph.inputs == {"IMAGE": Tensor("TYPE_UINT8", (-1, -1, -1, 3))}
    assert graph.outputs == {"FEATURES": Tensor("TYPE_FP16", (-1, -1, -1, 8))}
    graph = engines.signature(onnx_graphs.with_default(tmp_path / "default.onnx"))
    assert list(graph.inputs) == ["VALUE"]
    assert graph.defaults == {"OFFSET": Tensor(FP32, (1,))}


def test_a_type_that_configs_cannot_name_is_refused(tmp_path):
    graph = engines.signature(onnx_graphs.identity(tmp_path / "model.onnx", TensorProto.FLOAT8E4M3FN))
    with pytest.raises(rules.ConfigError, match=r"unsupported type tensor\(float8e4m3fn\) of input 'INPUT0'"):
        rules.complete({"name": "m"}, graph)


def test_a_graph_that_gives_a_sequence_is_read_as_what_it_is(tmp_path):
    graph = engines.signature(onnx_graphs.zipmap(tmp_path / "model.onnx"))
    assert graph.outputs["probabilities"].type == "onnx:seq(map(int64,tensor(float)))"
    assert not graph.outputs["probabilities"].is_tensor
    assert graph.outputs["label"].is_tensor


def test_bfloat16_is_computed_as_such(tmp_path):
    """Check one addition: 1 + 2**-7 is a BF16 number, 1 + 2**-8 lies halfway to the next and rounds to even."""
    engine = engines.load(onnx_graphs.identity(tmp_path / "m.onnx", TensorProto.BFLOAT16), options.Options())
    bits = np.array([[0x3F80, 0x3F81, 0xC000]], np.uint16)
    assert engine.run(["OUTPUT0"], {"INPUT0": bits})[0].tolist() == bits.tolist()
    engine = engines.load(onnx_graphs.cast(tmp_path / "c.onnx", TensorProto.BFLOAT16), options.Options())
    values = np.array([[1, 1 + 2**-7, 1 + 2**-8, -2]], np.float32)
    assert engine.run(["Y"], {"X": values})[0].tolist() == [[0x3F80, 0x3F81, 0x3F80, 0xC000]]


def test_bfloat16_crosses_over_to_triton_and_back():
    class Tensor:
        def __init__(self, value):
            self.to_dlpack = value.__dlpack__

    for shape in [(2, 3), (0, 3), ()]:
        bits = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
        np.testing.assert_array_equal(bfloat16.received(Tensor(bfloat16.value(bits))), bits)


COUNTING = """
#include <stdio.h>
#include <stdlib.h>
void *RegisterCustomOps(void *options, const void *base) {
    FILE *file = fopen(getenv("REGISTERED"), "a");
    fputs("x", file);
    fclose(file);
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to build a library of operators with")
def test_operators_are_registered_before_a_graph_is_opened_to_read_it_too(tmp_path, monkeypatch):
    (tmp_path / "ops.c").write_text(COUNTING)
    library = str(tmp_path / "ops.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(tmp_path / "ops.c")], check=True)
    monkeypatch.setenv("REGISTERED", str(tmp_path / "registered"))
    path = onnx_graphs.identity(tmp_path / "model.onnx")
    engines.signature(path, options.op_libraries({"model_operations": {"op_library_filename": [library]}}))
    assert (tmp_path / "registered").read_text() == "x"
    engines.load(path, options.Options(op_libraries=(library,)))
    assert (tmp_path / "registered").read_text() == "xx"
    with pytest.raises(engines.GraphError, match=r"op_library_filename 'none\.so' does not load") as caught:
        engines.signature(tmp_path / "missing.onnx", [str(tmp_path / "none.so")])
    assert str(tmp_path) not in str(caught.value)


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


@pytest.fixture(scope="module")
def by_shape(tmp_path_factory):
    """Return a function that loads a network in OpenVINO with a program per shape, of which it keeps some."""
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    path = onnx_graphs.network(tmp_path_factory.mktemp("graph") / "model.onnx")

    def load(most, precision="bf16"):
        return engines.load(path, options.Options(intra_threads=1, openvino=options.OpenVino(precision, 0, most)))

    return load


def noise(*shape):
    return {"IMAGE": np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3)).astype(np.uint8)}


def test_a_program_for_one_shape_agrees_with_that_for_all(by_shape):
    exact, each = by_shape(0, "f32"), by_shape(2, "f32")
    for shape in [(1, 32, 48), (3, 48, 32), (2, 32, 48)]:
        expected, got = (engine.run(["FEATURES"], noise(*shape))[0] for engine in (exact, each))
        assert got.shape == expected.shape
        np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), atol=2e-3)


def test_an_image_has_the_same_bits_whatever_came_before_and_however_it_is_batched(by_shape):
    images = [noise(3, *size) for size in ((32, 48), (48, 32), (64, 64))]
    first = [by_shape(3).run(["FEATURES"], image)[0] for image in images]
    small = by_shape(1)  # so that every shape is compiled anew
    for image, expected in [*zip(images, first, strict=True)][::-1] * 2:
        np.testing.assert_array_equal(small.run(["FEATURES"], image)[0], expected)
        alone = small.run(["FEATURES"], {"IMAGE": image["IMAGE"][1:2]})[0]
        np.testing.assert_array_equal(alone, expected[1:2])


def test_no_more_programs_are_kept_than_asked_for_and_the_last_used_stay(by_shape):
    engine = by_shape(2)
    made, compiled = [], engine._programs._compiled
    engine._programs._compiled = lambda shapes: made.append(shapes["IMAGE"][1:3]) or compiled(shapes)
    a, b, c = (32, 48), (48, 32), (64, 64)
    for size in (a, b, a, c, a, b):
        engine.run(["FEATURES"], noise(2, *size))
        assert len(engine._programs._kept) <= 2
    assert made == [a, b, c, b], "b was used least lately when c came"
    assert "programs: at most 2, each for one shape" in engine.described()


def test_a_size_that_the_graph_does_not_take_is_refused_for_the_caller_and_leaves_the_engine_as_it_was(by_shape):
    engine = by_shape(2)
    expected = engine.run(["FEATURES"], noise(1, 32, 48))[0]
    with pytest.raises(engines.GraphError, match=r"does not take these inputs \(IMAGE \[1,32,48,4\]\), send") as caught:
        engine.run(["FEATURES"], {"IMAGE": np.zeros((1, 32, 48, 4), np.uint8)})
    assert caught.value.caller
    np.testing.assert_array_equal(engine.run(["FEATURES"], noise(1, 32, 48))[0], expected)


@pytest.mark.parametrize("config", [{"max_batch_size": 0}, {"input": [{"name": "X", "allow_ragged_batch": True}]}])
def test_programs_per_shape_need_rows_and_are_left_alone_aloud_without(config):
    asked = [{"name": "openvino", "parameters": {"programs": "4"}}]
    given = {"max_batch_size": 8, "optimization": {"execution_accelerators": {"cpu_execution_accelerator": asked}}}
    assert _options(**given)[0].openvino == options.OpenVino(programs=4)
    chosen, wrong = _options(**{**given, **config})
    assert (chosen.openvino, wrong) == (options.OpenVino(), [])
    assert "cannot be run row by row" in only(chosen.left_alone)


def test_openvino_refuses_strings_with_a_remedy(tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with pytest.raises(engines.GraphError, match="remove the accelerator"):
        engines.load(onnx_graphs.identity(tmp_path / "model.onnx"), options.Options(openvino=options.OpenVino()))
