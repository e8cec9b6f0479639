"""Turns an fp16 graph into one that ONNX Runtime computes on a CPU with fp16's rounding.

ONNX Runtime's CPU has next to no kernels in fp16: it computes an fp16 graph in fp32 and drops the casts between
neighbours, so that only the weights are rounded. The graph made here rounds the result of every operation, too. Sums
are in fp32, as in NVIDIA's tensor cores; the order of a sum is the processor's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.precision.half import types

if TYPE_CHECKING:
    import onnx

# Operators that move numbers as they are, so that their results need no rounding.
MOVES = {
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where", "Relu", "Pad", "Neg",
}  # fmt: skip


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an fp16 graph computed in fp32, each result rounded to fp16. Inputs and outputs keep names and types."""
    import onnx

    half = onnx.TensorProto.FLOAT16
    kind = types(model)
    given, wanted = {value.name for value in model.graph.input}, {value.name for value in model.graph.output}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    del graph.node[:], graph.value_info[:]

    def wide(name: str) -> str:
        return f"{name}.wide" if kind.get(name) == half and name not in widened else name

    # Constants become fp32 under their own names; what has fp16 outside keeps its name for fp16.
    widened = {tensor.name for tensor in graph.initializer}
    for tensor in graph.initializer:
        if tensor.data_type == half:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for name in sorted(given):
        if kind[name] == half:
            graph.node.append(_cast(name, f"{name}.wide", onnx.TensorProto.FLOAT))
    for node in model.graph.node:
        new = graph.node.add()
        new.CopyFrom(node)
        new.input[:] = [wide(name) for name in node.input]
        for index, name in enumerate(node.output):
            if kind.get(name) != half:
                continue
            if node.op_type == "Cast":
                graph.node.append(_cast(name, f"{name}.wide", onnx.TensorProto.FLOAT))
            elif node.op_type in MOVES and name not in wanted:
                new.output[index] = f"{name}.wide"
            else:
                new.output[index] = f"{name}.exact"
                graph.node.append(_cast(f"{name}.exact", name, half))
                graph.node.append(_cast(name, f"{name}.wide", onnx.TensorProto.FLOAT))
    onnx.checker.check_model(made)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def _cast(given: str, name: str, to: int) -> onnx.NodeProto:
    """Return a Cast."""
    import onnx

    return onnx.helper.make_node("Cast", [given], [name], name=f"{name}/Round", to=to)
