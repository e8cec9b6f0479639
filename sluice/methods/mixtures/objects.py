"""Objects: from the raw heads of a network to boxes with four uncertainties each.

Most priors show background and are dropped first, without an exponential. The boxes of the others are decoded and
suppressed class by class, and only the survivors get uncertainties. Everything is NumPy; N, K, C and the priors of each
image are free. C counts the background, which is class 0 of the heads and is never detected.

`mixtures.Options` steers each step; `mixtures.Detections` is the result.
Sources: US 12,387,481, [0068] to [0088]; Choi et al., "Active Learning for Deep Object Detection via Probabilistic
Modeling", ICCV 2021. Where the two differ, the comments in `Options` say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sluice.activations import softmax
from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods.mixtures.boxes import decode, nms
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.options import Options
from sluice.methods.mixtures.summaries import FAINT, Detections
from sluice.methods.mixtures.uncertainty import mix_class, mix_location

# More than rounding can move a difference of logits, so that the screening never loses a box to rounding.
SLACK = 0.01


def detections(
    heads: Heads,
    geometry: Sequence[Geometry] | None = None,
    options: Options | None = None,
    labels: Sequence[str] | None = None,
) -> list[Detections]:
    """Detect the objects of every image: its boxes with a score of min(min_score, object_score) or more.

    geometry: one per image; boxes are then pixels of the caller's image, clipped to it, and a box that lies wholly on
        the padding is left out. None leaves the boxes in pixels of the canvas, not clipped.
    labels: the names of the classes without the background; None is allowed if the options choose no labels.
    Returns one `Detections` per image, best score first; equal scores by class, then by prior.

    Suppression is within a class. A box of a lower score can neither suppress a better one nor take its place among the
    candidates. So boxes below FAINT are dropped first, which saves most of the work and leaves the answer the same.
    Boxes from FAINT on that are left out add their scores to `Detections.faint`.
    Raises InvalidArgument for labels that do not fit the heads, and for another number of geometries than images.
    """
    options = options or Options()
    wanted = _wanted(heads.classes, options, labels)
    views = [None] * len(heads) if geometry is None else geometry
    if len(views) != len(heads):
        raise InvalidArgument(f"GEOMETRY needs a row an image: {len(heads)} images, {len(views)} rows")
    return [_detect(heads, b, view, options, wanted) for b, view in enumerate(views)]


def _wanted(classes: int, options: Options, labels: Sequence[str] | None) -> list[int]:
    """Return the numbers of the heads' classes to look for, 1 and up."""
    if labels is not None and len(labels) != classes - 1:
        raise InvalidArgument(f"{classes} classes with the background need {classes - 1} LABELS, got {len(labels)}")
    if options.labels is None:
        return list(range(1, classes))
    if labels is None:
        raise InvalidArgument("labels in OPTIONS needs LABELS, the names of the heads' classes without the background")
    check_labels(options, labels)
    return [c for c in range(1, classes) if labels[c - 1] in options.labels]


def check_labels(options: Options, labels: Sequence[str]) -> None:
    """Raise InvalidArgument if the options choose a class that is not among `labels`."""
    unknown = sorted(set(options.labels or ()) - set(labels))
    if unknown:
        raise InvalidArgument(f"labels has {unknown}; the detector knows: {', '.join(labels)}")


def _detect(heads: Heads, b: int, geometry: Geometry | None, options: Options, wanted: list[int]) -> Detections:
    """Detect the objects of image `b`. wanted: the numbers of the heads' classes to look for."""
    least = np.float32(min(options.min_score, options.object_score))
    floor = min(np.float32(FAINT), least)
    priors = _screen(heads.class_mean[b], max(options.confidence, float(floor)))
    confidence = _confidence(heads.class_mean[b, priors], heads.class_weight[b, priors])
    entering = [_best(confidence[c], options.confidence, floor, options.candidates) for c in wanted]
    rows = np.concatenate([np.zeros(0, np.int64), *entering])
    at = priors[rows]
    location = _offsets(heads.location_mean[b, at], heads.location_weight[b, at])
    boxes = decode(heads.priors[b, at], location, options)
    stops = np.cumsum([0, *(len(part) for part in entering)])
    kept = [low + nms(boxes[low:high], options.iou, options.keep) for low, high in pairwise(stops)]
    classes = np.repeat(wanted, [len(part) for part in kept]).astype(np.int64)
    kept_rows = np.concatenate([np.zeros(0, np.int64), *kept])
    found, boxes = rows[kept_rows], boxes[kept_rows]
    if geometry is not None:
        limits = (geometry.width, geometry.height)
        boxes = np.clip(geometry.to_image(boxes.reshape(-1, 2, 2)), 0, limits).reshape(-1, 4).astype(np.float32)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        found, boxes, classes = found[inside], boxes[inside], classes[inside]
    scores = confidence[classes, found]
    order = np.argsort(-scores, kind="stable")
    stop = int((scores >= least).sum())
    faint = float(np.float32(scores[order[stop:]].sum(dtype=np.float64)))
    order = order[:stop]
    found, boxes, classes = found[order], boxes[order], classes[order]
    box, class_ = _uncertainties(heads, b, priors[found], classes, options)
    return Detections(boxes.astype(np.float32), (classes - 1).astype(np.int32), scores[order], box, class_, faint)


def _screen(mean: np.ndarray, least: float) -> np.ndarray:
    """Return the priors, int64 [s], that can have a class with a probability of `least`; all others are background.

    mean: [N, K, C] logits of one image.
    The probability of a mixture is at most that of its greatest component, where P_c <= 1 / (1 + exp(mu_0 - mu_c)). So
    comparing logits drops most priors without an exponential, and never one that matters.
    """
    best = mean[..., 1].copy()
    for c in range(2, mean.shape[-1]):
        np.maximum(best, mean[..., c], out=best)
    best -= mean[..., 0]
    share = min(least, 0.999)  # a share that rounds to 1 in float32 must not be lost
    bound = math.log(share / (1 - share)) - SLACK if share > 0 else -math.inf
    return np.unique(np.flatnonzero(best >= bound) // mean.shape[1])


def _confidence(mean: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the probability of each class, float32 [C, s], which is the mean of `mix_class`.

    mean: [s, K, C], weight: [s, K] raw heads.
    NumPy is slow along short axes such as K and C, so here and in `_offsets` the many priors are the last axis.
    """
    pi = softmax(np.ascontiguousarray(weight.T), 0)
    probability = softmax(np.ascontiguousarray(mean.T), 0)  # [C, K, s]
    probability *= pi
    return np.minimum(probability.sum(axis=1), 1)  # a sum of weights may round to a little over 1


def _offsets(mean: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return offsets [m, 4] from raw heads [m, K, 4], which are the mean of `mix_location`."""
    pi = softmax(np.ascontiguousarray(weight.T), 1)  # [4, K, m]
    pi *= mean.T
    return pi.sum(axis=1).T


def _best(scores: np.ndarray, confidence: float, floor: np.float32, count: int) -> np.ndarray:
    """Return the rows, int64 [n], of the `count` best scores above the confidence, best first; equal ones by row."""
    rows = np.flatnonzero((scores > np.float32(confidence)) & (scores >= floor))
    if len(rows) > count:
        least = np.partition(scores[rows], -count)[-count]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")[:count]]


def _uncertainties(
    heads: Heads, b: int, priors: np.ndarray, classes: np.ndarray, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    """Return the uncertainties of m boxes, float32 [m, 8], and of their classes, [m, 2], as `Detections` has them.

    priors: int [m]. classes: int [m], numbers of the heads' classes, where 0 is the background.
    """
    mean, spread = heads.location_mean[b, priors], heads.location_variance[b, priors]
    location = mix_location(mean, spread, heads.location_weight[b, priors], options.location_sigmoid)
    variance = None if heads.class_variance is None else heads.class_variance[b, priors]
    mixture = mix_class(heads.class_mean[b, priors], variance, heads.class_weight[b, priors])
    both = np.stack([mixture.aleatoric, mixture.epistemic], axis=1)  # [m, 2, C]
    detected = both[np.arange(len(classes)), :, classes]
    reduced = both.max(axis=2) if options.class_reduce == "max" else detected
    return np.concatenate([location.aleatoric, location.epistemic], axis=1), reduced
