"""Graphs joined into one: equal parts are computed once, answers stay the same, and what cannot be joined is named."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.frame.union import union


def graph(weights, output, branch, opset=17, image="IMAGE"):
    """Return a model: IMAGE -> Cast -> MatMul with each of `weights` in turn, Relu between -> `branch` -> output."""
    nodes, held = [helper.make_node("Cast", [image], ["x0"], to=TensorProto.FLOAT)], []
    for index, weight in enumerate(weights):
        held.append(numpy_helper.from_array(weight, f"{output}_w{index}"))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"{output}_w{index}"], [f"{output}_y{index}"]))
        nodes.append(helper.make_node("Relu", [f"{output}_y{index}"], [f"x{index + 1}"]))
    nodes.append(helper.make_node(branch, [f"x{len(weights)}"], [output]))
    nodes.append(helper.make_node("Neg", [output], [f"{output}_NOT_WANTED"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 4]) for n in (output, f"{output}_NOT_WANTED")]
    start = helper.make_tensor_value_info(image, TensorProto.UINT8, ["b", 4])
    made = helper.make_graph(nodes, output, [start], ends, held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answers(model, image):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"IMAGE": image}), strict=True))


RANDOM = np.random.default_rng(0)
A, B, C = (RANDOM.normal(size=(4, 4)).astype(np.float32) for _ in range(3))


def kinds(model):
    return [node.op_type for node in model.graph.node]


def test_what_two_graphs_have_in_common_is_computed_once_and_nothing_changes():
    models = {"one": graph([A, B], "LEFT", "Sigmoid"), "two": graph([A, C], "RIGHT", "Tanh")}
    joined = union(models, {"one": ["LEFT"], "two": ["RIGHT"]}, "IMAGE")
    assert kinds(joined).count("MatMul") == 3  # A once, B and C
    assert kinds(joined).count("Neg") == 0  # leads to an output that nobody keeps
    assert len(joined.graph.initializer) == 3
    image = RANDOM.integers(0, 255, (5, 4), dtype=np.uint8)
    got = answers(joined, image)
    assert list(got) == ["LEFT", "RIGHT"]
    for name, model in zip(got, models.values(), strict=True):
        np.testing.assert_array_equal(got[name], answers(model, image)[name])


def test_graphs_with_nothing_in_common_lie_side_by_side():
    models = {"one": graph([A], "LEFT", "Sigmoid"), "two": graph([C], "RIGHT", "Sigmoid")}
    joined = union(models, {"one": ["LEFT"], "two": ["RIGHT"]}, "IMAGE")
    assert kinds(joined).count("MatMul") == kinds(joined).count("Sigmoid") == 2


def test_equal_graphs_become_one_with_two_outputs():
    models = {"one": graph([A], "LEFT", "Sigmoid"), "two": graph([A], "RIGHT", "Sigmoid")}
    joined = union(models, {"one": ["LEFT"], "two": ["RIGHT"]}, "IMAGE")
    assert kinds(joined).count("MatMul") == kinds(joined).count("Sigmoid") == 1
    got = answers(joined, np.ones((1, 4), np.uint8))
    np.testing.assert_array_equal(got["LEFT"], got["RIGHT"])


@pytest.mark.parametrize(
    "models, outputs, why",
    [
        ({"one": graph([A], "X", "Tanh"), "two": graph([B], "X", "Tanh")}, {"one": ["X"], "two": ["X"]}, "one name: X"),
        (
            {"one": graph([A], "X", "Tanh"), "two": graph([B], "Y", "Tanh", opset=18)},
            {"one": ["X"], "two": ["Y"]},
            "different operator sets",
        ),
        (
            {"one": graph([A], "X", "Tanh", image="TOKENS")},
            {"one": ["X"]},
            "expected a graph with the input IMAGE alone, got TOKENS",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(models, outputs, why):
    with pytest.raises(ValueError, match=why):
        union(models, outputs, "IMAGE")


def test_a_graph_with_a_graph_inside_is_refused():
    model = graph([A], "X", "Tanh")
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["X"], ["Z"], then_branch=inner, else_branch=inner))
    with pytest.raises(ValueError, match="If holds a graph of its own"):
        union({"one": model}, {"one": ["X"]}, "IMAGE")
