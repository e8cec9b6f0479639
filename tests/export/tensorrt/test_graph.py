"""A graph prepared for NVIDIA's parser gives the values of the graph that it was made from."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import check
from export.entry import ExportError
from export.registry import find
from export.tensorrt.graph import float_products, for_tensorrt, precision_of, prepared


def graph(nodes, shape=("n", "h", "w", 3)):
    """Return a graph of these nodes from the uint8 IMAGE to the float32 OUT."""
    image = helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, shape)
    out = helper.make_tensor_value_info("OUT", TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "g", [image], [out])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ran(model, folder, image):
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return check.session(path).run(None, {"IMAGE": image})[0]


CAST = helper.make_node("Cast", ["t"], ["c"], to=TensorProto.FLOAT)
AFTER_TRANSPOSE = [
    helper.make_node("Transpose", ["IMAGE"], ["t"], perm=[0, 3, 1, 2]),
    CAST,
    helper.make_node("Relu", ["c"], ["OUT"]),
]
BESIDE_SHAPES = [
    helper.make_node("Shape", ["IMAGE"], ["s"]),
    helper.make_node("Shape", ["IMAGE"], ["r"], start=0, end=1),
    helper.make_node("Cast", ["IMAGE"], ["c"], to=TensorProto.FLOAT),
    helper.make_node("Concat", ["r", "m"], ["to"], axis=0),
    helper.make_node("Reshape", ["c", "to"], ["flat"]),
    helper.make_node("Reshape", ["flat", "s"], ["OUT"]),
]


@pytest.mark.parametrize("nodes", [AFTER_TRANSPOSE, BESIDE_SHAPES], ids=["after a transpose", "beside shapes"])
def test_the_cast_comes_first_and_the_values_stay(nodes, tmp_path):
    model = graph(nodes)
    if nodes is BESIDE_SHAPES:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), "m"))
    before = model.SerializeToString(deterministic=True)
    moved = for_tensorrt(model)
    assert [node.op_type for node in moved.graph.node if "IMAGE" in node.input] == ["Cast"]
    assert moved.graph.node[0].op_type == "Cast" and len(moved.graph.node) == len(nodes)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(moved, strict_mode=True))
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    assert (ran(model, tmp_path, image) == ran(moved, tmp_path, image)).all()
    assert model.SerializeToString(deterministic=True) == before  # the given graph stays as it is
    again = for_tensorrt(moved)
    assert again.SerializeToString(deterministic=True) == moved.SerializeToString(deterministic=True)


def test_an_input_that_another_operator_uses_is_refused_with_the_remedy():
    nodes = [helper.make_node("Reshape", ["IMAGE", "s"], ["t"]), CAST, helper.make_node("Relu", ["c"], ["OUT"])]
    with pytest.raises(ExportError, match="the uint8 input IMAGE cast before it is used, and Reshape uses it; cast it"):
        for_tensorrt(graph(nodes))
    with pytest.raises(ExportError, match="Shape alone"):
        for_tensorrt(graph([helper.make_node("Shape", ["IMAGE"], ["OUT"])]))


@pytest.mark.parametrize("name", ["image_grouper", "feature_extractor"])
def test_our_networks_say_the_same_afterwards(name, tmp_path):
    network = find(name)
    model = onnx.load(network.onnx)
    image = network.make({"IMAGE": (1, 64, 96, 3)}, 0)["IMAGE"]
    assert (ran(model, tmp_path, image) == ran(for_tensorrt(model), tmp_path, image)).all()


def test_products_of_fp32_matrices_are_found():
    assert float_products(onnx.load(find("feature_extractor").onnx)) == []
    assert len(float_products(onnx.load(find("text_encoder").onnx))) > 10


def test_a_precision_that_is_not_given_is_that_of_the_table(tmp_path):
    network = find("feature_extractor")
    fast, slow = (dataclasses.replace(network, fast=value, root=tmp_path) for value in (True, False))
    assert [precision_of(fast, None), precision_of(slow, None), precision_of(slow, "fp16")] == ["fp16", "fp32", "fp16"]
    with pytest.raises(ExportError, match=r"feature_extractor is missing; run: sluice export --root \S+ feature"):
        prepared(fast, "fp32")
