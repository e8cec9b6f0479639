"""Frees the batch of a graph that was exported for one image at a time.

An exporter without a free batch writes its size into the graph in two places: into the shapes of Reshape nodes, and
into constants that are joined to every image, such as a transformer's class token. Both are rewritten. Whether that was
enough is measured (`export.features.maps.seen`), since a graph can also compute with the size in other ways.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from export.features.source import PROBE, Source, probe, run, uses
from export.onnx_file import dims

PREFIX = "sluice_batch"  # of the names of all that is added


def fixed(source: Source) -> int:
    """Return the batch for which the graph was exported, 0 if any number of images is accepted."""
    return dims(source.image)[0]


def freed(source: Source) -> ModelProto:
    """Return the graph with a free batch, as far as the two rewritings can free it. The source stays as it is."""
    if not fixed(source):
        return source.model
    model = ModelProto()
    model.CopyFrom(source.model)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape.dim
        if value.name == source.image.name or len(shape):
            _free(shape[0])
    del graph.value_info[:]
    seen = depending(graph, source.image.name)
    constants, joined = _constants(graph), _joined_to_images(source, seen)
    nodes: list[NodeProto] = list(_batch_size(source.image.name))
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[0] in seen and node.input[1] in constants:
            nodes += _reshaped(node, constants[node.input[1]])
        elif node.op_type == "Concat" and node.output[0] in seen:
            nodes += _joined(node, joined)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def depending(graph: onnx.GraphProto, name: str) -> set[str]:
    """Return the tensors that are computed from the one of that name, sizes taken from its shape not included."""
    found = {name}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and uses(node) & found:
            found |= set(node.output)
    return found


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return the tensors whose values stand in the graph, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _joined_to_images(source: Source, seen: set[str]) -> dict[str, np.ndarray]:
    """Return the values of tensors that do not depend on the image and are joined to those that do, by name.

    seen: the tensors that depend on the image. Empty where the graph cannot be run, which is told later.
    """
    joins = (node for node in source.model.graph.node if node.op_type == "Concat" and node.output[0] in seen)
    names = sorted({name for node in joins for name in node.input if name not in seen})
    try:
        return run(source.model, source, probe(source, fixed(source), source.size or PROBE), names) if names else {}
    except Exception:  # ONNX Runtime's exceptions share no base but Exception
        return {}


def _free(dim: onnx.TensorShapeProto.Dimension) -> None:
    """Give an axis a free size in the place of a fixed one."""
    dim.Clear()
    dim.dim_param = "batch"


def _batch_size(image: str) -> Iterator[NodeProto]:
    """Yield the nodes that compute the batch of the image, int64 [1], as PREFIX."""
    first = numpy_helper.from_array(np.array([0], np.int64))
    yield helper.make_node("Shape", [image], [f"{PREFIX}_shape"])
    yield helper.make_node("Constant", [], [f"{PREFIX}_first"], value=first)
    yield helper.make_node("Gather", [f"{PREFIX}_shape", f"{PREFIX}_first"], [PREFIX], axis=0)


def _reshaped(node: NodeProto, shape: np.ndarray) -> Iterator[NodeProto]:
    """Yield a Reshape whose first axis follows the batch.

    A shape that is fixed throughout gets a free first axis, also where that axis is a multiple of the batch. A shape
    [1, ...] with another free axis takes its first one from the data.
    """
    new = shape.copy()
    if (shape > 0).all() and len(shape) > 1:
        new[0] = -1
    elif len(shape) > 1 and shape[0] == 1:
        new[0] = 0
    if (new == shape).all():
        yield node
        return
    name = f"{PREFIX}_{node.output[0]}"
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[1] = name
    yield helper.make_node("Constant", [], [name], value=numpy_helper.from_array(new))
    yield changed


def _joined(node: NodeProto, joined: dict[str, np.ndarray]) -> Iterator[NodeProto]:
    """Yield a Concat whose tensors [1, ...] of `joined` are repeated for every image of the batch."""
    axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
    changed = NodeProto()
    changed.CopyFrom(node)
    for index, name in enumerate(node.input):
        value = joined.get(name)
        if value is None or value.ndim < 2 or len(value) != 1 or axis % value.ndim == 0:
            continue
        base = f"{PREFIX}_{node.output[0]}_{index}"
        ones = numpy_helper.from_array(np.ones(value.ndim - 1, np.int64))
        yield helper.make_node("Constant", [], [f"{base}_ones"], value=ones)
        yield helper.make_node("Concat", [PREFIX, f"{base}_ones"], [f"{base}_shape"], axis=0)
        yield helper.make_node("Expand", [name, f"{base}_shape"], [base])
        changed.input[index] = base
    yield changed
