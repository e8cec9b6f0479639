"""int8 graphs: scales by hand, layers that stay, NVIDIA's parser, refusals with figures, and how they are served."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from export.__main__ import less_precise, main
from export.check import session
from export.entry import ExportError
from export.files import digest
from export.precision import graphs, inputs, record
from export.precision.int8 import layers, quantized
from export.precision.record import Cost
from export.registry import NETWORKS
from export.tensorrt.graph import for_tensorrt
from sluice.versions import network_version

ANY = replace(NETWORKS["feature_extractor"], name="any")
WEIGHTS = np.array([[0.5, -2.0], [1.0, 0.25]], np.float32)


def chain():
    """Return a model of three products x @ I @ WEIGHTS @ I; only the middle one may become int8."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="in"),
        helper.make_node("MatMul", ["a", "weights"], ["b"], name="middle"),
        helper.make_node("MatMul", ["b", "last"], ["y"], name="out"),
    ]
    constants = {"first": np.eye(2, dtype=np.float32), "weights": WEIGHTS, "last": np.eye(2, dtype=np.float32)}
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def values(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def cost(network, loss):
    return Cost(digest(network.onnx), "mAP", "3 frames", 0.5, 0.4, -0.1, -0.2, -0.05, loss, 1000, "a processor")


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """Return the smallest network in a root of its own, calibrated on tiny inputs, its record read from there."""
    network = replace(
        NETWORKS["frame_upscaler_clean"], root=tmp_path, check=NETWORKS["frame_upscaler_clean"].check[4:5]
    )
    network.onnx.parent.mkdir(parents=True)
    network.onnx.write_bytes(NETWORKS[network.name].onnx.read_bytes())
    config = network.onnx.parent.parent / "config.pbtxt"
    config.write_text((NETWORKS[network.name].onnx.parent.parent / "config.pbtxt").read_text())
    (config.parent / "configs").mkdir()
    (config.parent / "configs" / "cpu-fast.pbtxt").write_text(config.read_text())
    monkeypatch.setattr(record, "path", lambda root=None: tmp_path / "precision.json")
    return network


def test_scales_are_symmetric_and_those_of_the_definition(tmp_path):
    """Activations: greatest value / 127. Weights: greatest of each column / 127."""
    x = np.array([[3.0, -1.0], [0.5, 2.0]], np.float32)
    model = chain()
    assert layers(model, ANY) == ["middle"]
    made = quantized(model, ANY, [{"x": x}])
    found = values(made)
    scales = {name: array for name, array in found.items() if "scale" in name}
    assert any(array.shape == () and np.isclose(array, 3 / 127, rtol=1e-3) for array in scales.values())
    columns = [array for name, array in scales.items() if name.startswith("weights")]
    assert columns and np.allclose(columns[0], np.abs(WEIGHTS).max(axis=0) / 127, rtol=1e-3)
    assert all(not array.any() for name, array in found.items() if "zero_point" in name)
    onnx.save(made, tmp_path / "made.onnx")
    y = session(tmp_path / "made.onnx").run(None, {"x": x})[0]
    assert np.abs(y - x @ WEIGHTS).max() < 4 * (3 / 127 * 2 + 2 / 127 * 3)
    assert not np.array_equal(y, x @ WEIGHTS)


def test_only_products_with_weights_become_int8_and_the_ends_stay():
    network = NETWORKS["image_grouper"]
    model = onnx.load(network.onnx)
    chosen = set(layers(model, network))
    assert chosen and not chosen & {"/MatMul", "/q_proj_1/MatMul", "/k_proj/MatMul", "/MatMul_18"}
    assert not any("visual_projection" in name for name in chosen)
    inside = {node.name: node for node in model.graph.node}
    fixed = {tensor.name for tensor in model.graph.initializer}
    assert all(inside[name].input[1] in fixed for name in chosen)


# In a process of its own, since the loader looks for NVIDIA's runtime where the variable said at the start.
PARSE = """
import sys
import tensorrt_rtx_bindings as trt
logger = trt.Logger(trt.Logger.ERROR)
for path in sys.argv[1:]:
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    good = parser.parse(open(path, "rb").read())
    print(path, good, [parser.get_error(i).desc() for i in range(parser.num_errors)], flush=True)
"""


def test_nvidias_parser_reads_the_graphs(tmp_path):
    if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("NVIDIA's parser is not installed (extra tensorrt)")
    names = ("text_encoder", "frame_upscaler_clean", "artifact_remover_weak")
    for name in names:
        network = NETWORKS[name]
        made = quantized(onnx.load(network.onnx), network, inputs.generated(network, 1))
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in made.graph.node}
        onnx.save(for_tensorrt(made), tmp_path / f"{name}.onnx")
    runtime = [folder for place in sys.path for folder in Path(place).glob("nvidia/cuda_runtime/lib")]
    found = subprocess.run(
        [sys.executable, "-c", PARSE, *(f"{name}.onnx" for name in names)],
        cwd=tmp_path,
        env=os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, runtime))},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert found.stdout.splitlines() == [f"{name}.onnx True []" for name in names], found.stderr


def test_int8_is_refused_with_the_figures_where_it_loses_much(placed):
    record.write({placed.name: {"int8": cost(placed, 0.2)}})
    with pytest.raises(ExportError, match=r"more than 1% of its task metric is lost: mAP 0.5 in fp32, 0.4 in int8"):
        graphs.write(placed, "int8", None, lambda _: None)
    assert not graphs.file(placed, "int8").exists()
    for name, advice in (("mixture_detector", "Serve it in bf16"), ("text_encoder", "It is served in fp32, for bf16")):
        record.write({name: {"int8": cost(NETWORKS[name], 0.2)}})
        with pytest.raises(ExportError, match=advice):
            graphs.allowed(NETWORKS[name])
    assert "default_model_filename" not in (placed.onnx.parent.parent / "config.pbtxt").read_text()


def test_of_two_networks_of_the_same_weights_none_is_written_where_one_loses_much(placed):
    other = replace(placed, name="other", model=placed.name, family=placed.card.stem)
    record.write({"other": {"int8": cost(placed, 0.2)}})
    options = argparse.Namespace(name=placed.card.stem, precision="int8", frames=None)
    with pytest.raises(ExportError, match="other is not made int8"):
        less_precise([placed, other], options)
    assert not graphs.file(placed, "int8").exists()


def test_int8_is_served_beside_fp32_with_a_version_of_its_own(placed, tmp_path):
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    repository, said = tmp_path / "model_repository", []
    before = network_version(repository, placed.name), placed.onnx.read_bytes()
    graphs.write(placed, "int8", tmp_path, said.append)
    assert "no task metric of int8 is recorded" in said[0] and "2 pictures" in said[1]
    assert said[2].startswith("  LUMA_OUT: grey levels differ by ")
    assert said[-1].endswith(f"to take it back: sluice export --root {tmp_path} {placed.name} --precision fp32")
    config = placed.onnx.parent.parent / "config.pbtxt"
    fast = config.parent / "configs" / "cpu-fast.pbtxt"
    for one in (config, fast):
        assert 'default_model_filename: "model.int8.onnx"\n' in one.read_text()
    assert network_version(repository, placed.name) != before[0] and placed.onnx.read_bytes() == before[1]
    assert graphs.outdated(placed) == ""
    placed.onnx.write_bytes(before[1] + b"")
    model = onnx.load(placed.onnx)
    model.doc_string = "trained anew"
    onnx.save(model, placed.onnx)
    assert "was made of another model.onnx" in graphs.outdated(placed)
    assert "default_model_filename" not in config.read_text() + fast.read_text()


def test_a_record_of_another_graph_is_named_and_not_believed(placed):
    record.write({placed.name: {"int8": replace(cost(placed, 0.2), sha256="0" * 64)}})
    said = []
    graphs.write(placed, "int8", None, said.append)
    assert "the record of int8 is of another graph" in said[0] and "for want of --frames" in said[1]
    assert record.of(placed) == {}
    assert record.section([placed]).endswith("`python -m bench networks --record` does it.")


def test_fp16_lies_beside_and_is_not_served(placed):
    said = []
    graphs.write(placed, "fp16", None, said.append)
    assert graphs.file(placed, "fp16").is_file() and "every result rounded to fp16" in said[0]
    assert "default_model_filename" not in (placed.onnx.parent.parent / "config.pbtxt").read_text()


def test_the_record_is_read_as_it_was_written_and_damage_is_told(placed):
    one, other = cost(placed, 0.001), cost(placed, 0.3)
    record.write({"a": {"fp16": one}, "b": {"int8": other}})
    record.write({"b": {"int8": one}})
    assert record.read() == {"a": {"fp16": one}, "b": {"int8": one}}
    assert json.loads(record.path().read_text())["a"]["fp16"] == asdict(one)
    record.path().write_text("[1]")
    with pytest.raises(ExportError, match=r"is no record of precisions .* write it again with"):
        record.read()


def test_frames_are_found_in_the_folders_of_each_drive(tmp_path):
    for drive, level in (("a", 10), ("b", 200)):
        (tmp_path / drive).mkdir()
        (tmp_path / f"{drive}.png").mkdir()  # a folder, whatever its name
        Image.new("RGB", (64, 64), (level, level, level)).save(tmp_path / drive / "frame.png")
    found = list(inputs.of_frames(NETWORKS["feature_extractor"], tmp_path))
    assert [int(given["IMAGE"].mean()) for given in found] == [10, 200]


def test_frames_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ExportError, match="text_encoder is not given frames but TOKENS; leave out --frames"):
        next(inputs.of_frames(NETWORKS["text_encoder"], tmp_path))
    with pytest.raises(ExportError, match=r"holds no pictures .*; give --frames the folder that does"):
        next(inputs.of_frames(NETWORKS["feature_extractor"], tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(ExportError, match=r"a\.jpg cannot be read as a picture"):
        next(inputs.of_frames(NETWORKS["feature_extractor"], tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "int8"], "--precision is of one network; name it"),
        (["feature_extractor", "--frames", "x"], "--frames are for --precision int8"),
    ],
)
def test_wrong_words_are_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert said in capsys.readouterr().err


def test_the_clones_own_graphs_stay_in_fp32():
    with pytest.raises(ExportError, match="int8 is written into a folder of your own"):
        graphs.write(NETWORKS["feature_extractor"], "int8", None, lambda _: None)
