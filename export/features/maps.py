"""Finds the tensors of a graph that are feature maps: a vector for every cell of the image, in rows and columns.

A tensor is a candidate if it is an output of the graph, or if all that comes after it is computed from it alone, as the
end of a stage of a convolutional network or of a block of a transformer is. Shapes and strides are read from a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto

from export.entry import ExportError
from export.features import batches
from export.features.source import Source, probe, run, uses

LAYOUTS = ("nchw", "nhwc", "tokens")
MOST_TOKENS_BEFORE = 8  # class and register tokens before those of the image
USUAL_STRIDE = 16  # coarser maps lose small objects
MOST_SHOWN = 24


@dataclass(frozen=True)
class Map:
    """A tensor that is a feature map.

    layout: nchw [B, C, h, w], nhwc [B, h, w, C] or tokens [B, before + h w, C]. channels: C. stride: pixels per cell.
    before: tokens before those of the image. output: whether the tensor is an output of the graph.
    """

    name: str
    layout: str
    channels: int
    stride: int
    before: int = 0
    output: bool = False

    @property
    def told(self) -> str:
        """Return the map in words: name, layout, channels and stride."""
        tokens = f", {self.before} tokens before it" if self.before else ""
        return f"{self.name} ({self.layout}, {self.channels} channels, stride {self.stride}{tokens})"


def candidates(graph: GraphProto, image: str) -> list[str]:
    """Return the names of tensors through which all must pass that depends on the image, and of the outputs.

    They are in the order of the graph.
    """
    data = batches.depending(graph, image)
    last = {name: index for index, node in enumerate(graph.node) for name in uses(node) if _reads(node.op_type)}
    outputs = {value.name for value in graph.output}
    found, alive = [], {image}
    for index, node in enumerate(graph.node):
        made = [name for name in node.output if name in data]
        alive |= {name for name in made if last.get(name, -1) > index}
        alive -= {name for name in alive if last.get(name, -1) <= index}
        found += [name for name in made if name in outputs or alive == {name}]
    return found


def _reads(operator: str) -> bool:
    """Return whether an operator reads the values of a tensor, and not its shape alone."""
    return operator not in ("Shape", "Size")


def seen(model: ModelProto, source: Source, names: Sequence[str], size: tuple[int, int]) -> list[Map]:
    """Return those of the named tensors that are feature maps.

    size: width and height at which the graph is run, with a batch of two. Raises ExportError where it cannot run, and
    where the two images influence each other.
    """
    width, height = size
    pair = probe(source, 2, size)
    try:
        both = run(model, source, pair, names)
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise ExportError(_cannot_run(model, source, names, size, error)) from None
    alone = run(model, source, pair[1:], names)
    outputs = {value.name for value in source.model.graph.output}
    found = []
    for name in names:
        array = both[name]
        if array.dtype not in (np.float32, np.float16) or array.shape[:1] != (2,):
            continue
        for layout in LAYOUTS:
            if one := shaped(name, array.shape, layout, (width, height), name in outputs):
                _check_apart(source, name, array[1], alone[name][0])
                found.append(one)
                break
    return found


def shaped(name: str, shape: Sequence[int], layout: str, size: tuple[int, int], output: bool) -> Map | None:
    """Return the map that a tensor of this shape is in a layout, or None if the shape does not fit the layout.

    size: width and height of the image.
    """
    width, height = size
    if layout == "tokens" and len(shape) == 3:
        for stride in range(2, min(width, height) + 1):
            cells = (width // stride) * (height // stride)
            if width % stride == height % stride == 0 and 0 <= shape[1] - cells <= MOST_TOKENS_BEFORE:
                return Map(name, layout, shape[2], stride, shape[1] - cells, output) if cells > 1 else None
    if layout != "tokens" and len(shape) == 4:
        channels, rows, columns = shape[1:] if layout == "nchw" else (shape[3], *shape[1:3])
        stride = height // rows if rows else 0
        if stride > 1 and rows * columns > 1 and (rows * stride, columns * stride) == (height, width):
            return Map(name, layout, channels, stride, 0, output)
    return None


def choose(source: Source, maps: Sequence[Map], name: str, layout: str) -> Map:
    """Return the map to serve: the one of that name, or the best of all if no name is given.

    The best is an output of the graph before any other tensor; then the coarsest of stride up to USUAL_STRIDE, or the
    finest if all are coarser; then the last. layout: the layout that the caller says the map has, or empty.
    Raises ExportError, listing the maps that there are, where there is none such.
    """
    fitting = [one for one in maps if (not layout or one.layout == layout)]
    if name:
        fitting = [one for one in fitting if one.name == name]
    if not fitting:
        wanted = "no map of rows and columns" if not name else f"no map {name}"
        kind = f" in the layout {layout}" if layout else ""
        if not maps:
            raise ExportError(
                f"{source.origin} has {wanted}{kind}: no tensor holds a vector per cell of the image; export the "
                "network without its pooling and its classifier"
            )
        raise ExportError(f"{source.origin} has {wanted}{kind}; with --tensor choose one of: {listing(maps)}")
    best = [one for one in fitting if one.output] or fitting
    usual = [one.stride for one in best if one.stride <= USUAL_STRIDE]
    stride = max(usual) if usual else min(one.stride for one in best)
    return next(one for one in reversed(best) if one.stride == stride)


def listing(maps: Sequence[Map]) -> str:
    """Return the maps in words, the last MOST_SHOWN of them."""
    more = f"; and {len(maps) - MOST_SHOWN} before these" if len(maps) > MOST_SHOWN else ""
    return "; ".join(one.told for one in maps[-MOST_SHOWN:]) + more


def _check_apart(source: Source, name: str, beside: np.ndarray, alone: np.ndarray) -> None:
    """Check that an image has the same map beside another image as alone. Raises ExportError where it has not."""
    scale = float(np.abs(alone).max(initial=0)) or 1.0
    if beside.shape != alone.shape or not np.allclose(beside, alone, atol=2e-3 * scale, rtol=0):
        raise ExportError(
            f"{source.origin} gives an image another map at {name} when a second image is beside it: a batch of "
            f"{batches.fixed(source) or 1} is fixed inside; {FREE_BATCH}"
        )


FREE_BATCH = "export it with a free batch, dynamic_axes={'INPUT': {0: 'batch'}} of torch.onnx.export"


def _cannot_run(
    model: ModelProto, source: Source, names: Sequence[str], size: tuple[int, int], error: Exception
) -> str:
    """Return the sentence on a graph that failed with a batch of two: it is the batch, or something else."""
    width, height = size
    try:
        run(source.model, source, probe(source, batches.fixed(source) or 1, size), names)
    except Exception:
        reason = str(error).strip().split("\n", 1)[0][:200]
        remedy = "" if source.size else "; if it takes one size of images only, give it with --canvas WIDTHxHEIGHT"
        return f"{source.origin} cannot be run on images of {width} x {height} ({reason}){remedy}"
    return f"{source.origin} takes {batches.fixed(source) or 1} images at a time and no other number; {FREE_BATCH}"
