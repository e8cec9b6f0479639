"""Joins ONNX graphs that look at the same image into one graph, which computes what they have in common once.

Nodes of two graphs are the same where operator, attributes and inputs are; weights are, where type, shape and bytes
are. So networks on one trunk share the trunk, and networks that have nothing in common lie side by side. What occurs
twice within one graph stays there twice, so that an engine makes the same of it as before, and no number changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


@dataclass
class Union:
    """A graph in the making. nodes, weights: by what they compute or hold, and the how manieth of a graph that is."""

    nodes: dict[tuple[object, ...], onnx.NodeProto] = field(default_factory=dict)
    weights: dict[tuple[object, ...], onnx.TensorProto] = field(default_factory=dict)
    times: Counter[tuple[object, ...]] = field(default_factory=Counter)  # of the graph that is added

    def add(self, graph: onnx.GraphProto, image: str) -> dict[str, str]:
        """Add a graph and return where its values are found: name in the graph -> name in the union.

        image: name of the input that all graphs share. Raises ValueError for a graph with another input or with
        graphs inside its nodes, such as loops.
        """
        known = {image: image, "": ""}
        self.times.clear()
        if (inputs := [value.name for value in graph.input]) != [image]:
            raise ValueError(f"expected a graph with the input {image} alone, got {', '.join(inputs) or 'none'}")
        for weight in graph.initializer:
            known[weight.name] = self._weight(weight)
        for node in graph.node:
            if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
                raise ValueError(f"{node.op_type} holds a graph of its own, which cannot be joined with another")
            for mine, theirs in zip(node.output, self._node(node, [known[name] for name in node.input]), strict=True):
                known[mine] = theirs
        return known

    def _counted(self, *key: object) -> tuple[object, ...]:
        self.times[key] += 1
        return (*key, self.times[key])

    def _weight(self, weight: onnx.TensorProto) -> str:
        from onnx import numpy_helper

        key = self._counted(weight.data_type, tuple(weight.dims), numpy_helper.to_array(weight).tobytes())
        if key not in self.weights:
            kept = self.weights[key] = type(weight)()
            kept.CopyFrom(weight)
            kept.name = f"weight_{len(self.weights)}"
        return self.weights[key].name

    def _node(self, node: onnx.NodeProto, inputs: Sequence[str]) -> Sequence[str]:
        told = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        key = self._counted(node.domain, node.op_type, tuple(inputs), tuple(told), len(node.output))
        if key not in self.nodes:
            kept = self.nodes[key] = type(node)()
            kept.CopyFrom(node)
            kept.name = f"{node.op_type}_{len(self.nodes)}"
            del kept.input[:], kept.output[:]
            kept.input.extend(inputs)
            kept.output.extend(f"{kept.name}_{place}" if name else "" for place, name in enumerate(node.output))
        return self.nodes[key].output


def union(models: Mapping[str, onnx.ModelProto], outputs: Mapping[str, Sequence[str]], image: str) -> onnx.ModelProto:
    """Return the one graph of several models. What leads to none of the outputs is left out.

    models: by name. outputs: model -> those of its outputs that the graph keeps, under their names. image: the name of
    the input.
    Raises ValueError where two models keep an output of one name, where they were written for different operator sets,
    and as `Union.add` does.
    """
    import onnx
    from onnx import helper

    names = [name for kept in outputs.values() for name in kept]
    if len(set(names)) != len(names):
        raise ValueError(f"two models have an output of one name: {', '.join(sorted(names))}")
    sets = {
        name: sorted((entry.domain, entry.version) for entry in model.opset_import) for name, model in models.items()
    }
    if len({str(one) for one in sets.values()}) != 1:
        raise ValueError(f"the graphs were written for different operator sets: {sets}")
    joined, ends = Union(), []
    for name, model in models.items():
        known = joined.add(model.graph, image)
        values = {value.name: value for value in model.graph.output}
        for output in outputs[name]:
            joined.nodes["output", output] = helper.make_node(
                "Identity", [known[output]], [output], name=f"to_{output}"
            )
            ends.append(values[output])
    nodes = _needed(list(joined.nodes.values()), names)
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in joined.weights.values() if weight.name in used]
    first = next(iter(models.values()))
    graph = helper.make_graph(nodes, "frame_networks", [first.graph.input[0]], ends, weights)
    made = helper.make_model(graph, opset_imports=list(first.opset_import), ir_version=first.ir_version)
    made.producer_name = "sluice"
    # With shapes an engine joins more of the operators, so that it makes the same of a part as of the graph alone.
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    onnx.checker.check_model(made)
    return made


def _needed(nodes: Sequence[onnx.NodeProto], ends: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that lead to these values, in their order. nodes: each after those that it reads from."""
    wanted, kept = set(ends), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
