"""Keeps dropout active in a served graph, with masks that are the same in every request and on every machine.

ONNX's Dropout draws new numbers with each run, so the same image would get another answer each time. Here each node
takes its mask from a table of uniform numbers in the graph instead, at a place of its own per pass. The passes lie
along the batch, pass by pass.
Source: Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from export.entry import ExportError

TABLE = 65_537  # uniform numbers, a prime, so that no stride of a tensor repeats within it


def active(model: ModelProto) -> list[NodeProto]:
    """Return the Dropout nodes that drop values when the graph runs."""
    known = _constants(model)
    return [
        node
        for node in model.graph.node
        if node.op_type == "Dropout"
        and len(node.input) > 2
        and node.input[2] in known
        and bool(known[node.input[2]])
        and (not node.input[1] or float(known.get(node.input[1], 0.5)) > 0)
    ]


def fixed(model: ModelProto, passes: int) -> ModelProto:
    """Return a copy of the graph whose active dropouts take their masks from a table.

    passes: the first axis of the graph's tensors holds the batch this many times, pass by pass. The mask is the same
    for all images of a pass, so an answer does not depend on the images beside it.
    Raises ExportError for a Dropout whose ratio is not in the graph.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph, nodes, known = result.graph, [], _constants(model)
    names = {node.output[0] for node in active(model)}
    rng = np.random.default_rng(0)
    table = rng.random(TABLE, np.float32)
    graph.initializer.append(numpy_helper.from_array(table, "sluice_dropout_table"))
    for number, node in enumerate(graph.node):
        if node.op_type != "Dropout" or node.output[0] not in names:
            nodes.append(node)
            continue
        if node.input[1] and node.input[1] not in known:
            raise ExportError(f"the ratio of the Dropout {node.name!r} is computed; export it with a constant ratio")
        ratio = float(known[node.input[1]]) if node.input[1] else 0.5
        nodes += _masked(graph, node, number, ratio, rng.integers(0, TABLE, (passes, 1)))
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _constants(model: ModelProto) -> dict[str, np.ndarray]:
    """Return the values that are fixed in a graph, initializers and Constant nodes, by name."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}


def _masked(graph: onnx.GraphProto, node: NodeProto, number: int, ratio: float, places: np.ndarray) -> list[NodeProto]:
    """Return the nodes that put a mask in the place of one Dropout. places: int64 [passes, 1] into the table."""
    p = f"sluice_dropout_{number}_"

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value, p + name))
        return p + name

    def step(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, inputs, [output if output == node.output[0] else p + output], **attributes)

    zero, one = constant("zero", np.array(0, np.int64)), constant("one", np.array(1, np.int64))
    first, rest = constant("first", np.array([len(places)], np.int64)), constant("rest", np.array([-1], np.int64))
    x = node.input[0]
    # [passes * B, ...] -> [passes, B, rest], times [passes, 1, rest], and back.
    return [
        step("Shape", [x], "shape"),
        step("Slice", [p + "shape", constant("s0", np.array([1], np.int64)), constant("s1", np.array([99], np.int64))],
             "tail"),
        step("ReduceProd", [p + "tail"], "size", keepdims=0),
        step("Range", [zero, p + "size", one], "range"),
        step("Add", [p + "range", constant("places", places)], "index"),
        step("Mod", [p + "index", constant("table", np.array(TABLE, np.int64))], "wrapped"),
        step("Gather", ["sluice_dropout_table", p + "wrapped"], "uniform"),
        step("Less", [p + "uniform", constant("ratio", np.array(ratio, np.float32))], "dropped"),
        step("Where", [p + "dropped", constant("none", np.array(0, np.float32)),
                       constant("scale", np.array(1 / (1 - ratio), np.float32))], "mask32"),
        step("CastLike", [p + "mask32", x], "mask"),
        step("Reshape", [p + "mask", constant("mid", np.array([len(places), 1, -1], np.int64))], "mask3"),
        step("Unsqueeze", [p + "size", constant("axis", np.array([0], np.int64))], "size1"),
        step("Concat", [first, rest, p + "size1"], "folded", axis=0),
        step("Reshape", [x, p + "folded"], "x3"),
        step("Mul", [p + "x3", p + "mask3"], "y3"),
        step("Reshape", [p + "y3", p + "shape"], node.output[0]),
    ]  # fmt: skip
