"""Mean average precision of detections, and the boxes of CamVid that they are judged by.

Average precision is the area under the interpolated precision-recall curve (all points), as of VOC since 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.training import camvid

LEAST_AREA = 100.0  # of a box, pixels of the 480 x 360 frame; smaller components count neither way


@dataclass(frozen=True)
class Truth:
    """The objects of one image. boxes: [G, 4] corners; classes: [G] int from 0; ignored: [G] bool, to be left out."""

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True)
class Found:
    """A detector's answer for one image. boxes: [M, 4] corners; classes: [M] int; scores: [M]."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def truth_of(labels: np.ndarray, least_area: float = LEAST_AREA) -> Truth:
    """Return the boxes of a CamVid frame, one per component of `camvid.OBJECT_CLASSES`, classes in that order.

    labels: uint8 [H, W]. least_area: boxes of fewer pixels are ignored.
    """
    rows = camvid.boxes(labels)
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    classes = np.array([camvid.OBJECT_CLASSES.index(label) for label, _ in rows], np.int64)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Truth(boxes, classes, area < least_area)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of corner boxes, [n, 4] and [m, 4] -> [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1)[None]
    return shared / np.maximum(areas - shared, 1e-9)


def average_precision(found: Sequence[Found], truth: Sequence[Truth], label: int, iou: float = 0.5) -> float:
    """Return the average precision of one class over all images, nan where no image shows the class.

    Best scores first, each detection takes the free object that it overlaps most, if by `iou`. A detection on an
    ignored object counts neither way.
    """
    wanted = sum(int(((t.classes == label) & ~t.ignored).sum()) for t in truth)
    if not wanted:
        return float("nan")
    scores: list[float] = []
    hits: list[bool] = []
    for f, t in zip(found, truth, strict=True):
        mine, theirs = f.classes == label, t.classes == label
        boxes, ignored = t.boxes[theirs], t.ignored[theirs]
        order = np.argsort(-f.scores[mine], kind="stable")
        shared = overlaps(f.boxes[mine][order], boxes) if len(boxes) else np.zeros((len(order), 0))
        taken = np.zeros(len(boxes), bool)
        for row, score in zip(shared, f.scores[mine][order], strict=True):
            free = np.where(taken | ignored, -1.0, row)
            best = int(free.argmax()) if len(free) else -1
            if best >= 0 and free[best] >= iou:
                taken[best] = True
                hits.append(True)
            elif ignored.any() and row[ignored].max() >= iou:
                continue
            else:
                hits.append(False)
            scores.append(float(score))
    if not scores:
        return 0.0
    hit = np.array(hits)[np.argsort(-np.array(scores), kind="stable")]
    right = hit.cumsum()
    precision = np.maximum.accumulate((right / np.arange(1, len(hit) + 1))[::-1])[::-1]
    return float((precision * hit).sum() / wanted)


def mean_average_precision(
    found: Sequence[Found], truth: Sequence[Truth], classes: int, iou: float = 0.5
) -> tuple[float, list[float]]:
    """Return the mean over the classes that occur, and the average precision per class, nan where absent."""
    each = [average_precision(found, truth, label, iou) for label in range(classes)]
    known = [value for value in each if value == value]
    return (float(np.mean(known)) if known else float("nan")), each
