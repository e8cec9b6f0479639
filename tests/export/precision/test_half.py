"""fp16 graphs: types outside stay, named layers keep fp32, and ONNX Runtime computes them with fp16's rounding."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.check import session
from export.entry import ExportError
from export.precision.half import half, types
from export.precision.layers import KINDS, NAMES, kept, name_of
from export.precision.rounding import rounded
from export.registry import NETWORKS

SERVED = [network for network in NETWORKS.values() if not network.model]
ANY = replace(SERVED[0], name="any")


def graph(nodes, constants=(), width=4, given=TensorProto.FLOAT):
    """Return a model from x to y, both [1, width]."""
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", given, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, x, tmp_path):
    onnx.save(model, tmp_path / "made.onnx")
    return session(tmp_path / "made.onnx").run(None, {"x": x})[0]


def outside(model):
    return [(value.name, value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)]


@pytest.mark.parametrize("network", SERVED, ids=lambda network: network.name)
def test_a_served_graph_in_fp16_keeps_types_outside_and_fp32_where_named(network):
    model = onnx.load(network.onnx)
    made = half(model, network)
    assert outside(made) == outside(model)
    kind, before = types(made), types(model)
    fixed = kept(model, network)
    nodes = {name_of(node): node for node in made.graph.node}
    assert fixed and all(reason for reason in fixed.values())
    for node in model.graph.node:
        floats = [name for name in node.output if before[name] == TensorProto.FLOAT]
        if node.op_type != "Constant" and name_of(node) in fixed:
            assert all(kind[name] == TensorProto.FLOAT for name in floats), node.name
        elif node.op_type in ("Conv", "MatMul", "Gemm"):
            assert kind[nodes[name_of(node)].output[0]] == TensorProto.FLOAT16
    products = [n for n in made.graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    halves = [node for node in products if kind[node.output[0]] == TensorProto.FLOAT16]
    assert len(halves) > len(products) / 2
    assert made.ByteSize() < 0.75 * model.ByteSize()


@pytest.mark.parametrize("network", SERVED, ids=lambda network: network.name)
def test_a_served_graph_computed_with_fp16s_rounding_stays_near(network, tmp_path):
    model = onnx.load(network.onnx)
    onnx.save(rounded(half(model, network)), tmp_path / "made.onnx")
    shapes = min(network.check, key=lambda shapes: max(np.prod(shape) for shape in shapes.values()))
    inputs = network.make(shapes, 5)
    wanted, found = session(network.onnx).run(None, inputs), session(tmp_path / "made.onnx").run(None, inputs)
    for a, b in zip(wanted, found, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = a.astype(np.float64), b.astype(np.float64)
        # Grey levels may be rounded the other way; everything else differs by a few steps of fp16, 2**-11.
        limit = 1.0 if "LUMA" in inputs else 0.02 * np.abs(a).max()
        assert np.abs(a - b).max() <= limit


def test_every_name_of_the_table_is_a_node_of_a_served_graph():
    for networks, patterns, reason in NAMES:
        assert reason
        fitting = [network for network in SERVED if fnmatchcase(network.name, networks)]
        assert fitting
        for network in fitting:
            names = [node.name for node in onnx.load(network.onnx).graph.node]
            for pattern in patterns:
                assert any(fnmatchcase(name, pattern) for name in names), (network.name, pattern)


def test_results_are_rounded_as_numpys_float16_rounds_them(tmp_path):
    """ONNX Runtime computes an fp16 graph in fp32 on a CPU; the graph that `rounded` makes does not."""
    nodes = [
        helper.make_node("Add", ["x", "one"], ["sum"], name="add"),
        helper.make_node("Sub", ["sum", "one"], ["y"], name="sub"),
    ]
    made = half(graph(nodes, [("one", 1.0)]), ANY)
    x = np.array([[1e-4, 3e-4, 1e-3, 2e-3]], np.float32)
    wanted = (x.astype(np.float16) + np.float16(1)) - np.float16(1)
    assert np.array_equal(run(rounded(made), x, tmp_path), wanted.astype(np.float32))
    assert not np.array_equal(run(made, x, tmp_path), wanted.astype(np.float32))


def test_neighbours_that_keep_fp32_have_no_cast_between_them(tmp_path):
    """exp(log(70000)) does not fit fp16, which knows no number above 65,504."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"], name="mul"),
        helper.make_node("Exp", ["doubled"], ["grown"], name="exp"),
        helper.make_node("Log", ["grown"], ["y"], name="log"),
    ]
    model = graph(nodes, [("two", 2.0)])
    assert set(kept(model, ANY)) == {"exp", "log"}
    made = half(model, ANY)
    x = np.full((1, 4), np.log(70000) / 2, np.float32)
    doubled = (x.astype(np.float16) * np.float16(2)).astype(np.float32)
    assert np.allclose(run(rounded(made), x, tmp_path), doubled, rtol=1e-6)


def test_nodes_without_a_name_are_told_apart_and_constants_stay_finite(tmp_path):
    nodes = [
        helper.make_node("Softmax", ["x"], ["shares"]),
        helper.make_node("Add", ["shares", "mask"], ["masked"]),
        helper.make_node("Identity", ["masked"], ["y"]),
    ]
    model = graph(nodes, [("mask", [-3.4e38, 0, -np.inf, 1])])
    assert kept(model, ANY) == {"shares": KINDS["Softmax"]}
    found = run(half(model, ANY), np.zeros((1, 4), np.float32), tmp_path)[0]
    assert found[0] == pytest.approx(-65504, abs=1) and np.isneginf(found[2])
    assert found[[1, 3]] == pytest.approx([0.25, 1.25])


def test_a_graph_with_branches_is_refused():
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["inside"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, [1, 4])],
    )
    node = helper.make_node("If", ["choice"], ["y"], then_branch=inner, else_branch=inner)
    model = graph([node])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "choice"))
    with pytest.raises(ExportError, match="the graph of any has If; fp16 is made of graphs without branches"):
        half(model, ANY)
