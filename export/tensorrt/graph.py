"""Prepares a network's graph for NVIDIA's parser: precision, uint8 inputs, and what sm75 cannot take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.entry import ExportError, Network
from sluice.server import root

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16")
# Operators that TensorRT computes as matrix products.
PRODUCTS = ("Einsum", "Gemm", "MatMul")


def precision_of(network: Network, given: str | None) -> str:
    """Return the precision to build in: the given one, or fp16 where the table says that 16 bits are precise enough."""
    return given or ("fp16" if network.fast else "fp32")


def prepared(network: Network, precision: str) -> onnx.ModelProto:
    """Return the network's graph in a precision, as NVIDIA's parser takes it.

    TensorRT has typed its networks strongly by default since release 11, so the precision stands in the graph.
    Raises ExportError where model.onnx is missing or cannot become such a graph.
    """
    import onnx

    if not network.onnx.exists():
        raise ExportError(f"model.onnx of {network.name} is missing; run: {root.command(network.root)} {network.name}")
    model = onnx.load(network.onnx)
    if precision == "fp16":
        from export.precision.half import half

        model = half(model, network)
    return for_tensorrt(model)


def for_tensorrt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with each uint8 input cast before anything else uses it, because TensorRT wants that.

    A Transpose between an input and its Cast changes places with the Cast, and a Shape of the input becomes the Shape
    of the Cast's output. All values stay as they are. Raises ExportError where another operator uses a uint8 input.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for value in graph.input:
        if value.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        users = [node for node in graph.node if value.name in node.input]
        asking = [node for node in users if node.op_type == "Shape"]
        cast = _cast_first(graph, value.name, [node for node in users if node.op_type != "Shape"])
        for node in asking:
            node.input[0] = cast.output[0]
        if len(users) > 1 or users[0] is not cast:
            # Nodes stand in the order of their use, and a Cast of an input may be used from the beginning.
            nodes = [cast, *(node for node in graph.node if node is not cast)]
            del graph.node[:]
            graph.node.extend(nodes)
    return result


def _cast_first(graph: onnx.GraphProto, name: str, users: list[onnx.NodeProto]) -> onnx.NodeProto:
    """Return the Cast that uses the input, after a Transpose before it has changed places with it.

    users: nodes that use the input, without Shapes. Raises ExportError where there is no such Cast.
    """
    if len(users) == 1 and users[0].op_type == "Cast":
        return users[0]
    after = [node for node in graph.node if len(users) == 1 and users[0].output[0] in node.input]
    if len(users) != 1 or users[0].op_type != "Transpose" or len(after) != 1 or after[0].op_type != "Cast":
        found = ", ".join(node.op_type for node in users) or "Shape alone"
        raise ExportError(
            f"TensorRT needs the uint8 input {name} cast before it is used, and {found} uses it; cast it to float32 "
            "first where the network is defined, then export it again"
        )
    transpose, cast = users[0], after[0]
    last, middle = cast.output[0], transpose.output[0]
    cast.input[0], cast.output[0] = name, middle
    transpose.input[0], transpose.output[0] = middle, last
    for info in [info for info in graph.value_info if info.name in (middle, last)]:
        graph.value_info.remove(info)
    return cast


def float_products(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that multiply float32 matrices, which TensorRT for RTX refuses on sm75."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return [
        node.name or node.output[0]
        for node in graph.node
        if node.op_type in PRODUCTS and types.get(node.input[0]) == onnx.TensorProto.FLOAT
    ]
