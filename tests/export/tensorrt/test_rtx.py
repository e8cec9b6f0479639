"""NVIDIA's own parser and compiler judge the graphs, and engines are written whole or not at all."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import time

import onnx
import pytest
from onnx import TensorProto, helper

from export.__main__ import main
from export.entry import ROOT, ExportError
from export.registry import NETWORKS, find
from export.tensorrt import rtx
from export.tensorrt.graph import float_products, prepared
from sluice.server import sidecar

HERE = importlib.util.find_spec("tensorrt_rtx_bindings") and importlib.util.find_spec("tensorrt_rtx_libs")
NVIDIA = pytest.mark.skipif(not HERE, reason=f"NVIDIA's parser and compiler are not installed; {rtx.INSTALL}")
OURS = [name for name, network in NETWORKS.items() if not network.model]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The smallest network, with its graph in a folder of the test."""
    ours = find("frame_upscaler_clean")
    network = dataclasses.replace(ours, root=tmp_path)
    network.onnx.parent.mkdir(parents=True)
    network.onnx.write_bytes(ours.onnx.read_bytes())
    monkeypatch.setitem(NETWORKS, network.name, network)
    return network


def test_the_kinds_of_gpu_are_those_of_nvidias_choices():
    assert rtx.capabilities(None) == ("sm80", "sm86", "sm89", "sm120")
    assert rtx.capabilities("SM86, sm80,sm86") == ("sm86", "sm80")
    with pytest.raises(ExportError, match=r"no GPU 'sm99' to compile for; --for takes sm75, sm80, sm86, sm89, sm120"):
        rtx.capabilities("sm80,sm99")
    with pytest.raises(ExportError, match=r"no engines for sm90 \(H100, H200\).*--format plan"):
        rtx.capabilities("sm90")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "rtx", "--precision", "int8"], "--precision int8 is of ONNX; engines have fp32, fp16"),
        (["--for", "sm80"], "--for is of TensorRT-for-RTX engines; say --format rtx"),
        (["--format", "plan", "--for", "sm80"], "--for is of TensorRT-for-RTX engines"),
        (["--format", "rtx", "--precision", "fp8"], "invalid choice: 'fp8'"),
    ],
)
def test_options_that_belong_to_another_format_are_wrong_usage(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["frame_upscaler_clean", *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_ctrl_c_within_nvidias_library_is_raised_after_it():
    program = """
import contextlib, signal
from export.tensorrt import rtx

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with rtx.held_back():
        with contextlib.suppress(KeyboardInterrupt):  # as the binding does around each line of the log
            signal.raise_signal(signal.SIGINT)
        print("the library ended")
except KeyboardInterrupt:
    print("raised", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    # In a process of its own, because the process of a test runner may have given SIGINT to another thread.
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.splitlines() == ["the library ended", "raised True"], ran.stderr


def test_missing_packages_are_named_with_licence_size_and_command(small, monkeypatch, capsys):
    monkeypatch.setattr(rtx.importlib.util, "find_spec", lambda name: None)
    assert main([small.name, "--format", "rtx"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("sluice export: not installed here: tensorrt_rtx_libs, tensorrt_rtx_bindings, nvidia.cuda")
    assert "NVIDIA's licence" in error and "MB" in error and "pip install" in error and error.count("\n") == 1


@NVIDIA
def test_an_engine_and_its_sidecar_lie_beside_the_graph(small, monkeypatch, capsys):
    monkeypatch.setattr("export.destination.prepare", lambda given, say, chosen=None: small.root)
    monkeypatch.setattr("export.__main__.at", lambda networks, place: tuple(networks))
    assert main([small.name, "--format", "rtx", "--for", "sm86,sm120", "--precision", "fp32"]) == 0
    said = capsys.readouterr().err
    assert "compiles fp32 for sm86, sm120" in said and "wrote model.rtx.onnx" in said
    record = sidecar.read(small.rtx)
    assert (record.format, record.network, record.precision) == ("rtx", small.name, "fp32")
    assert record.capabilities == ("8.6", "12.0")
    assert record.profile == {name: [list(shape) for shape in shapes] for name, shapes in small.profile.items()}
    fitting = {"gpus": ["8.6"], "tensorrt": record.tensorrt, "graph": small.onnx}
    assert sidecar.misfits(small.rtx, small.name, **fitting) == []
    # The file that ONNX Runtime's plug-in reads: the graph's tensors around one node, whose content is the engine.
    made, graph = onnx.load(small.rtx), onnx.load(small.onnx)
    assert [v.name for v in made.graph.input] == [v.name for v in graph.graph.input]
    assert list(made.graph.output) == list(graph.graph.output)
    (node,) = made.graph.node
    held = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert (node.op_type, node.domain, held["embed_mode"]) == ("EPContext", "com.microsoft", 1)
    # NVIDIA's own reader knows the bytes as an engine; what it says of the GPU depends on whether there is one.
    trt = rtx.library()
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    header = held["ep_cache_context"][: runtime.engine_header_size]
    diagnosis = runtime.get_engine_validity(header)[1]
    malformed = runtime.get_engine_validity(bytes(len(header)))[1]
    assert diagnosis != malformed


@NVIDIA
def test_what_sm75_cannot_take_is_said_before_the_compiler_refuses_it(small):
    with pytest.raises(ExportError, match=r"sm75 takes no matrix product in fp32, and frame_.* in fp32 has 2 of them"):
        rtx.build(small, ("sm75",), "fp32")
    # NVIDIA's compiler refuses the same: the sentence above is no invention.
    with pytest.raises(ExportError, match=r"NVIDIA's builder refuses frame_upscaler_clean: .*FP32 GEMM"):
        rtx.compiled(rtx.library(), prepared(small, "fp32"), small, ["sm75"])
    assert [path.name for path in small.rtx.parent.iterdir()] == ["model.onnx"]


@NVIDIA
def test_a_graph_that_the_parser_refuses_is_told_with_its_reason_and_nothing_is_written(small, capsys):
    value = helper.make_tensor_value_info("LUMA", TensorProto.FLOAT, ["n", 4])
    out = helper.make_tensor_value_info("OUT", TensorProto.FLOAT, ["n", 4])
    node = helper.make_node("OwnOperator", ["LUMA"], ["OUT"], domain="own", name="mine")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(helper.make_graph([node], "g", [value], [out]), opset_imports=opsets), small.onnx)
    with pytest.raises(ExportError, match=r"NVIDIA's parser refuses frame_upscaler_clean: .*OwnOperator"):
        rtx.build(small, precision="fp32")
    assert [path.name for path in small.rtx.parent.iterdir()] == ["model.onnx"]


@NVIDIA
@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", OURS)
def test_every_graph_is_parsed_and_compiled(name, precision):
    network = find(name)
    model = prepared(network, precision)
    begun = time.process_time()
    engine = rtx.compiled(rtx.library(), model, network, rtx.USUAL)
    assert time.process_time() - begun < 30  # seconds of processor; a few are usual
    assert len(engine) > 100_000
    if not float_products(model):
        assert rtx.compiled(rtx.library(), model, network, ["sm75"])
