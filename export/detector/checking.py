"""Runs a detector before it is exported, and checks that its boxes make sense and that graphs agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto

from export import onnx_file
from export.detector import assembly
from export.detector.assembly import Source
from export.detector.mapping import Mapping
from export.entry import ExportError
from export.examples import street_pictures

LEAST_SIDE = 2.0  # pixels; a detector whose boxes are all smaller gives shares of the canvas, not pixels
FARTHEST = 4  # sides of the canvas; a detector whose boxes are all larger gives pixels, not shares of the canvas
TOLERANCE = 1e-2  # pixels, and a hundredth of that in scores: graphs of one arithmetic that sums in another order


def session(model: ModelProto) -> Any:
    """Return ONNX Runtime over a graph, on one thread. Raises ExportError where it cannot be loaded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common public type
        raise ExportError(f"ONNX Runtime does not load the graph: {onnx_file.first_line(error)}") from None


def picture(size: tuple[int, int], count: int = 1) -> np.ndarray:
    """Return generated street scenes, uint8 [count, H, W, 3]. size: width, height."""
    width, height = size
    return np.asarray(street_pictures({"IMAGE": (count, height, width, 3)}, 0)["IMAGE"], np.uint8)


def raw(source: Source, mapping: Mapping, canvas: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of a network for canvases, uint8 [B, H, W, 3], by name.

    Raises ExportError where the network does not take such images.
    """
    with torch.no_grad():
        image = assembly.Prepare(mapping, source, 1)(torch.from_numpy(canvas)).contiguous().numpy()
    try:
        found = session(source.model).run(None, {source.image.name: image})
    except ExportError:
        raise
    except Exception as error:  # as above
        height, width = canvas.shape[1:3]
        raise ExportError(
            f"{source.origin} does not take an image of {width}x{height} ({onnx_file.first_line(error)}); give other "
            "`canvases`"
        ) from None
    return dict(zip(source.outputs, found, strict=True))


def check_tensors(source: Source, mapping: Mapping) -> None:
    """Raise ExportError, listing the outputs that there are, for a tensor of the mapping that is none of them."""
    missing = [name for name in mapping.tensors if name not in source.outputs]
    if missing:
        raise ExportError(
            f"{source.origin} has no output {', '.join(missing)}, which the mapping names; its outputs are: "
            f"{', '.join(source.outputs)}"
        )


def decoded(mapping: Mapping, canvas: np.ndarray, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes [B, N, 4] and scores [B, N, C] of a network's raw outputs, decoded by torch, and check them.

    Raises ExportError where tensors or values do not fit the mapping.
    """
    tensors = [torch.from_numpy(found[name]) for name in mapping.tensors]
    try:
        with torch.no_grad():
            boxes, scores, _ = assembly.Decode(mapping, 0, 1)(torch.from_numpy(canvas), *tensors)
    except (RuntimeError, IndexError, TypeError, ValueError) as error:  # torch's words for shapes that do not fit
        shapes = ", ".join(f"{name} {list(found[name].shape)}" for name in mapping.tensors)
        raise ExportError(
            f"the outputs do not fit a mapping of the kind {mapping.kind}: {shapes} ({onnx_file.first_line(error)}); "
            "correct `kind` or the tensors"
        ) from None
    check_values(boxes.numpy(), scores.numpy(), canvas.shape[2], canvas.shape[1])
    return boxes.numpy(), scores.numpy()


def check_values(boxes: np.ndarray, scores: np.ndarray, width: int, height: int) -> None:
    """Raise ExportError where decoded boxes or scores cannot be meant, with the line of the mapping to change."""
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
        raise ExportError(
            "the detector gives NaN or infinite numbers for an ordinary image; check the graph and `scale`"
        )
    if scores.size and (scores.min() < -1e-6 or scores.max() > 1 + 1e-4):
        raise ExportError(
            f"the scores reach from {scores.min():.3g} to {scores.max():.3g}, which are no probabilities; set "
            "`activation` to sigmoid or softmax"
        )
    if not boxes.size:
        return
    x0, y0, x1, y1 = boxes.reshape(-1, 4).T
    if ((x1 <= x0) | (y1 <= y0)).all():
        raise ExportError("every box ends before it begins; `format` does not fit: try cxcywh or xywh")
    if (np.maximum(np.abs(x1 - x0), np.abs(y1 - y0)) < LEAST_SIDE).all() and np.abs(boxes).max() <= LEAST_SIDE:
        raise ExportError("every box is smaller than two pixels; set `unit` to normalised, as the boxes go from 0 to 1")
    if (((x1 - x0) > FARTHEST * width) | ((y1 - y0) > FARTHEST * height)).all():
        raise ExportError(
            f"every box is far larger than the canvas of {width}x{height}; `unit`, `format` or the anchors do not fit"
        )
    if ((x1 <= 0) | (y1 <= 0) | (x0 >= width) | (y0 >= height)).all():
        raise ExportError(
            f"every box lies outside the canvas of {width}x{height}; `unit`, `format` or the anchors do not fit"
        )


def check_agreement(
    model: ModelProto, sources: Sequence[Source], mapping: Mapping, passes: int, batched: bool
) -> float:
    """Compare the finished graph with the networks, run by themselves and decoded by torch, at every canvas.

    Also one image of a batch is compared with the same image alone. Returns the greatest difference of a box, pixels.
    Raises ExportError where they differ, or a canvas is not taken.
    """
    graph, worst = session(model), 0.0
    for size in mapping.sizes:
        canvas = picture(size, 2 if batched else 1)
        try:
            alone = graph.run(None, {"IMAGE": canvas[:1]})
            together = graph.run(None, {"IMAGE": canvas})
        except Exception as error:  # ONNX Runtime's errors have no common public type
            raise ExportError(
                f"the detector does not take {'two images' if batched else 'an image'} of {size[0]}x{size[1]} "
                f"({onnx_file.first_line(error)}); export it with a free batch, or give other `canvases`"
            ) from None
        if any(not _close(one[0], other[0]) for one, other in zip(alone, together, strict=True)):
            raise ExportError(
                "an image in a batch gets other boxes than the same image alone; the graph mixes its images, or was "
                "traced for a batch of 1: export it with a free batch"
            )
        if passes > 1:
            continue  # masks of dropout are in the finished graph alone
        parts = [decoded(mapping, canvas[:1], raw(source, mapping, canvas[:1])) for source in sources]
        for served, own in zip(alone, (np.concatenate(part, 1) for part in zip(*parts, strict=True)), strict=False):
            if served.shape != own.shape or not _close(served, own):
                raise ExportError("the exported graph gives other boxes than the detector; please report this file")
            worst = max(worst, float(np.abs(served - own).max(initial=0)))
    return worst


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two tensors of boxes, scores or members are the same but for rounding."""
    scale = np.maximum(1.0, np.abs(other))
    return one.shape == other.shape and bool((np.abs(one - other) <= TOLERANCE * scale).all())
