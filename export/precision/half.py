"""Turns a graph into fp16, except for the layers of `export.precision.layers`, which keep fp32.

onnxruntime.transformers.float16 is not used: it casts to fp16 and back between two neighbours that both keep fp32, and
rounds a weight that an fp16 and an fp32 layer share for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.entry import ExportError, Network
from export.precision.layers import kept, name_of

if TYPE_CHECKING:
    import onnx

GREATEST = float(np.finfo(np.float16).max)
# Operator -> its inputs that are float32 by ONNX's definition, whatever its other inputs are.
ALWAYS_FLOAT = {"Resize": (1, 2), "QuantizeLinear": (1,), "DequantizeLinear": (1,)}


def half(model: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    """Return the graph in fp16. Inputs and outputs keep their names and types; `layers.kept` names what keeps fp32.

    Finite constants beyond fp16's range become its greatest number, 65,504. Raises ExportError where the graph has
    branches or loops, or operators whose types ONNX cannot infer.
    """
    import onnx

    branches = sorted({n.op_type for n in model.graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH})
    if branches:
        raise ExportError(
            f"the graph of {network.name} has {', '.join(branches)}; fp16 is made of graphs without branches and "
            "loops. Export the network again with the branch decided"
        )
    return _Conversion(model, network).result()


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of each tensor of a graph, as onnx.TensorProto numbers them, by its name."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


class _Conversion:
    """A graph on its way to fp16. Tensor t is called `t` in float32 and `t.half` in float16; a Cast makes the one that
    is missing where a node first asks for it."""

    def __init__(self, model: onnx.ModelProto, network: Network):
        import onnx

        self.onnx = onnx
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.types = types(model)
        self.network = network
        self.kept = kept(model, network)
        self.constants = _constants(model)
        self.nodes: list[onnx.NodeProto] = []
        self.halves: dict[str, onnx.TensorProto] = {}  # constants in fp16, by the name of the tensor in float32
        self.there = {value.name for value in model.graph.input} | set(self.constants)

    def result(self) -> onnx.ModelProto:
        """Convert node by node, and return the finished graph."""
        graph = self.model.graph
        for node in self.model.graph.node:
            self.add(node)
        for value in graph.output:
            self.needs(value.name)
        del graph.node[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.halves.values())
        _prune(graph)
        del graph.value_info[:]
        self.onnx.helper.set_model_props(
            self.model, {entry.key: entry.value for entry in self.model.metadata_props} | {"sluice.precision": "fp16"}
        )
        done = self.onnx.shape_inference.infer_shapes(self.model, strict_mode=True)
        self.onnx.checker.check_model(done)
        return done

    def add(self, node: onnx.NodeProto) -> None:
        """Append a node in the precision that it has from now on."""
        if node.op_type == "Constant" or name_of(node) in self.kept or not self.floats(node):
            for name in filter(None, node.input):
                self.needs(name)
        else:
            node = self.halved(node)
        self.there.update(node.output)
        self.nodes.append(node)

    def floats(self, node: onnx.NodeProto) -> bool:
        """Return whether a node takes or gives float32. Raises ExportError where its types are unknown."""
        unknown = [name for name in (*node.input, *node.output) if name and not self.types.get(name)]
        if unknown:
            raise ExportError(
                f"ONNX cannot infer the type of {unknown[0]!r} at {name_of(node)} of {self.network.name}; "
                "operators outside ONNX's own cannot become fp16"
            )
        return any(self.types[name] == self.onnx.TensorProto.FLOAT for name in (*node.input, *node.output) if name)

    def halved(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a node in fp16."""
        made = self.onnx.NodeProto()
        made.CopyFrom(node)
        for index, name in enumerate(node.input):
            if not name or self.types[name] != self.onnx.TensorProto.FLOAT:
                continue
            if index in ALWAYS_FLOAT.get(node.op_type, ()):
                self.needs(name)
            else:
                made.input[index] = self.half_of(name)
        for index, name in enumerate(node.output):
            if name and self.types[name] == self.onnx.TensorProto.FLOAT:
                made.output[index] = f"{name}.half"
        for attribute in made.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self.onnx.TensorProto.FLOAT:
                attribute.i = self.onnx.TensorProto.FLOAT16
        return made

    def needs(self, name: str) -> None:
        """Make a tensor available under its own name, in the type that it had."""
        if name not in self.there:
            self.cast(f"{name}.half", name, self.onnx.TensorProto.FLOAT)

    def half_of(self, name: str) -> str:
        """Return the name of a tensor in fp16, made where it is missing."""
        wanted = f"{name}.half"
        if name in self.constants:
            if name not in self.halves:
                array = self.onnx.numpy_helper.to_array(self.constants[name])
                finite = np.where(np.isfinite(array), np.clip(array, -GREATEST, GREATEST), array)
                self.halves[name] = self.onnx.numpy_helper.from_array(finite.astype(np.float16), wanted)
        elif wanted not in self.there:
            self.cast(name, wanted, self.onnx.TensorProto.FLOAT16)
        return wanted

    def cast(self, given: str, wanted: str, to: int) -> None:
        """Append a Cast."""
        self.nodes.append(self.onnx.helper.make_node("Cast", [given], [wanted], name=f"{wanted}/Cast", to=to))
        self.there.add(wanted)


def _constants(model: onnx.ModelProto) -> Mapping[str, onnx.TensorProto]:
    """Return the tensors that are fixed in the graph, initializers and Constant nodes, by name."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def _prune(graph: onnx.GraphProto) -> None:
    """Remove constants that no node uses any more."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in used]:
        graph.node.remove(node)
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
