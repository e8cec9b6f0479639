"""Puts a network into the contract of `feature_extractor`: IMAGE uint8 in, FEATURES float16 of unit length out.

IMAGE [B, H, W, 3], RGB 0-255 -> FEATURES [B, H/stride, W/stride, C], each cell of length 1. Normalisation of the
pixels, the way from tokens to rows and columns, the whitening and the division by the length become parts of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.entry import ExportError
from export.features.maps import Map
from export.features.source import Pixels, Source, pruned
from export.features.whitening import Projection

MODEL, INPUT, OUTPUT = "feature_extractor", "IMAGE", "FEATURES"
INNER, OWN = "network/", "sluice/"  # before the names of the network's tensors and of those added here
EPSILON = 1e-12  # keeps the length of a zero vector from dividing by zero
MOST_BYTES = 2**31 - 1  # of a message of Protocol Buffers


@dataclass(frozen=True)
class Plan:
    """All that is added to a network. mean, std: of pixels from 0 to 1. projection: None where all channels stay."""

    map: Map
    mean: Pixels
    std: Pixels
    projection: Projection | None

    @property
    def channels(self) -> int:
        """Return the channels of FEATURES."""
        return self.map.channels if self.projection is None else self.projection.matrix.shape[1]


class Graph:
    """The nodes and constants that are added, in order. Every method returns the name of the tensor that it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node with one output. name: of the output, without OWN unless it is OUTPUT or the network's input."""
        output = name if name == OUTPUT or name.startswith(INNER) else OWN + name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=OWN + name, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Add a constant. value: an array."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), OWN + name))
        return OWN + name


def build(model: ModelProto, source: Source, plan: Plan, record: Mapping[str, str]) -> ModelProto:
    """Return the graph that is served.

    model: the network with a free batch. record: metadata that is stored in the graph.
    Raises ExportError where the graph would be larger than an ONNX file can be.
    """
    network = onnx.compose.add_prefix(pruned(model, [plan.map.name]), INNER)
    before, after = Graph(), Graph()
    cast = _prepared(before, source, plan)
    _features(after, plan, _size(after, source, cast))
    graph = network.graph
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:], graph.output[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", "height", "width", 3]))
    shape: list[str | int | None] = ["batch", "rows", "columns", plan.channels]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT16, shape))
    network.doc_string = f"Feature map of {source.origin}, {plan.map.told}"
    helper.set_model_props(network, dict(record))
    if network.ByteSize() > MOST_BYTES:
        raise ExportError(f"{source.origin} has more than 2 GB of weights, more than one ONNX file holds; use float16")
    return network


def _prepared(graph: Graph, source: Source, plan: Plan) -> str:
    """Add the normalisation of the pixels. Returns the name of the image cast to a float, [B, H, W, 3].

    The cast comes first, since TensorRT reads no other operator on uint8.
    """
    target = INNER + source.image.name
    cast = x = graph.add("Cast", [INPUT], "pixels", to=TensorProto.FLOAT)
    if source.dtype != np.uint8:
        scale = np.asarray(plan.std, np.float64) * 255
        x = graph.add("Sub", [x, graph.constant("mean", np.float32(np.multiply(plan.mean, 255)))], "centred")
        x = graph.add("Mul", [x, graph.constant("scale", np.float32(1 / scale))], "scaled")
    if source.nchw:
        x = graph.add("Transpose", [x], "channels_first", perm=[0, 3, 1, 2])
    graph.add("Cast", [x], target, to=source.image.type.tensor_type.elem_type)
    return cast


def _size(graph: Graph, source: Source, cast: str) -> tuple[str, str] | tuple[int, int]:
    """Return height and width of the image: numbers, or the names of tensors int64 [1] where they are free."""
    if source.size:
        return source.size[1], source.size[0]
    shape = graph.add("Shape", [cast], "shape")
    rows, columns = (graph.constant(name, np.array([axis])) for name, axis in (("row_axis", 1), ("column_axis", 2)))
    return graph.add("Gather", [shape, rows], "height", axis=0), graph.add("Gather", [shape, columns], "width", axis=0)


def _features(graph: Graph, plan: Plan, size: tuple[str, str] | tuple[int, int]) -> None:
    """Add all that comes after the map, up to OUTPUT. size: height and width, as `_size` returns them."""
    x = graph.add("Cast", [INNER + plan.map.name], "map", to=TensorProto.FLOAT)
    if plan.map.layout == "tokens" and plan.map.before:
        bounds = [graph.constant(name, np.array([n])) for name, n in (("first", plan.map.before), ("end", 2**31 - 1))]
        x = graph.add("Slice", [x, *bounds, graph.constant("token_axis", np.array([1]))], "cells")
    if plan.projection is not None:
        x = _whitened(graph, x, plan.map.layout, plan.projection)
    if plan.map.layout == "nchw":
        x = graph.add("Transpose", [x], "channels_last", perm=[0, 2, 3, 1])
    if plan.map.layout == "tokens":
        x = graph.add("Reshape", [x, _grid(graph, plan, size)], "rows_and_columns")
    squares = graph.add("Mul", [x, x], "squares")
    total = graph.add("ReduceSum", [squares, graph.constant("last_axis", np.array([-1]))], "total", keepdims=1)
    safe = graph.add("Add", [total, graph.constant("epsilon", np.array([EPSILON], np.float32))], "safe")
    unit = graph.add("Div", [x, graph.add("Sqrt", [safe], "length")], "unit")
    graph.add("Cast", [unit], OUTPUT, to=TensorProto.FLOAT16)


def _whitened(graph: Graph, x: str, layout: str, projection: Projection) -> str:
    """Add the whitening: a 1x1 convolution where the channels come first, else a matrix product."""
    if layout == "nchw":
        mean = graph.constant("map_mean", projection.mean[None, :, None, None])
        weights = graph.constant("whitening", projection.matrix.T[:, :, None, None])
        return graph.add("Conv", [graph.add("Sub", [x, mean], "map_centred"), weights], "whitened", kernel_shape=[1, 1])
    mean = graph.constant("map_mean", projection.mean)
    x = graph.add("Sub", [x, mean], "map_centred")
    return graph.add("MatMul", [x, graph.constant("whitening", projection.matrix)], "whitened")


def _grid(graph: Graph, plan: Plan, size: tuple[str, str] | tuple[int, int]) -> str:
    """Add the shape [B, rows, columns, C] of the map; 0 takes B from the data."""
    stride = plan.map.stride
    height, width = size
    if isinstance(height, int) and isinstance(width, int):
        return graph.constant("grid", np.array([0, height // stride, width // stride, plan.channels]))
    step = graph.constant("stride", np.array([stride]))
    sides = [graph.add("Div", [str(side), step], name) for side, name in ((height, "rows"), (width, "columns"))]
    ends = [graph.constant("same_batch", np.array([0])), graph.constant("channels", np.array([plan.channels]))]
    return graph.add("Concat", [ends[0], *sides, ends[1]], "grid", axis=0)
