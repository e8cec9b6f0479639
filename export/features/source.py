"""Reads a user's network as an ONNX graph with one image as its input, and refuses what cannot become a feature map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from export.entry import ExportError
from export.onnx_file import dims, shown

TYPES: dict[int, Any] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8}
Pixels = tuple[float, float, float]
PROBE = (448, 224)  # width, height where they are free: multiples of 14, 16, 28, 32, and of Swin's windows


@dataclass(frozen=True)
class Source:
    """A network as it came, before anything is added to it.

    model: the graph, of opset 13 or newer. image: its input of images. nchw: whether the image has its channels before
    its rows. free: whether height and width are free; otherwise (width, height) is `size`.
    origin: the file or folder, as named by the caller. sha256: of the file of weights.
    mean, std: of pixels from 0 to 1, where the source records them; otherwise None.
    run: computes a map with torch, prepared images float32 [B, 3, H, W] and the map's name -> the map; None where the
        graph itself is the source.
    """

    model: ModelProto
    image: ValueInfoProto
    nchw: bool
    size: tuple[int, int] | None
    origin: str
    sha256: str
    mean: Pixels | None = None
    std: Pixels | None = None
    run: Callable[[np.ndarray, str], np.ndarray] | None = None

    @property
    def dtype(self) -> Any:
        """Return the NumPy type of the input."""
        return TYPES[self.image.type.tensor_type.elem_type]


def read(model: ModelProto, origin: str, sha256: str) -> Source:
    """Return the source of a graph, reduced to what depends on the image alone.

    origin: file or folder, in words. Raises ExportError where the graph takes no single image of 3 channels.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    images = [value for value in inputs if value.type.tensor_type.elem_type in TYPES and _channel_axis(value)]
    if len(images) != 1:
        told = ", ".join(f"{value.name} {shown(dims(value))}" for value in inputs) or "none"
        raise ExportError(
            f"{origin} needs one input of images, [batch, 3, height, width] or [batch, height, width, 3]; its inputs "
            f"are: {told}; export the part of the network that sees the image"
        )
    image = images[0]
    nchw = _channel_axis(image) == 1
    shape = dims(image)
    height, width = (shape[2:] if nchw else shape[1:3]) or (0, 0)
    sides = [side for side in (height, width) if side]
    if len(sides) == 1:
        raise ExportError(
            f"{origin} takes images of {shown(shape)}, one side fixed and one free; export it with both fixed, or free"
        )
    others = {value.name for value in inputs} - {image.name}
    kept = _independent(model, others)
    return Source(kept, image, nchw, (width, height) if sides else None, origin, sha256)


def uses(node: NodeProto) -> set[str]:
    """Return the tensors that a node reads, those that its inner graphs read included."""
    found = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                found |= uses(inner)
    return found


def pruned(model: ModelProto, outputs: Sequence[str]) -> ModelProto:
    """Return a copy of the graph with these tensors as its outputs and nothing that they do not need.

    The types of outputs that were none before are left open, which ONNX Runtime infers.
    """
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed |= uses(node)
    result = ModelProto()
    result.CopyFrom(model)
    graph, typed = result.graph, {value.name: value for value in model.graph.output}
    for name in ("node", "output", "initializer", "sparse_initializer", "value_info", "input"):
        del getattr(graph, name)[:]
    graph.node.extend(reversed(nodes))
    graph.input.extend(value for value in model.graph.input if value.name in needed)
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    graph.sparse_initializer.extend(t for t in model.graph.sparse_initializer if t.values.name in needed)
    graph.output.extend(typed.get(name) or ValueInfoProto(name=name) for name in outputs)
    return result


def session(model: ModelProto) -> Any:
    """Return an ONNX Runtime session of a graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and told in our words
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: ModelProto, source: Source, image: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return tensors of a graph by name. image: prepared, as the graph takes it."""
    reduced = pruned(model, names)
    given = {source.image.name: image} if reduced.graph.input else {}
    return dict(zip(names, session(reduced).run(list(names), given), strict=True))


def probe(source: Source, batch: int, size: tuple[int, int]) -> np.ndarray:
    """Return noise as the graph takes it, about as large as prepared pixels. size: width, height."""
    width, height = size
    shape = (batch, 3, height, width) if source.nchw else (batch, height, width, 3)
    rng = np.random.default_rng(7)
    if source.dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(source.dtype)


def _independent(model: ModelProto, inputs: set[str]) -> ModelProto:
    """Return the graph without what depends on these inputs. Raises ExportError where nothing is left."""
    if not inputs:
        return model
    barred, nodes = set(inputs), []
    for node in model.graph.node:
        if uses(node) & barred:
            barred |= set(node.output)
        else:
            nodes.append(node)
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.output[:], result.graph.input[:]
    result.graph.node.extend(nodes)
    result.graph.input.extend(value for value in model.graph.input if value.name not in inputs)
    result.graph.output.extend(value for value in model.graph.output if value.name not in barred)
    return result


def _channel_axis(value: ValueInfoProto) -> int:
    """Return the axis of an image's three channels: 1 or 3, or 0 where the tensor is no image of three channels.

    An image whose four axes are all free is taken as [batch, 3, height, width], as torch writes it.
    """
    shape = dims(value)
    if len(shape) != 4:
        return 0
    return 1 if shape[1] == 3 or not any(shape) else 3 if shape[3] == 3 else 0
