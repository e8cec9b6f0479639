"""Mixture-density detection: a network's raw heads in, boxes with four uncertainties each out, from one forward pass.

The heads give, for every prior box, a mixture of K Gaussians for each coordinate and each class. The variance of such a
mixture splits in two: the mean of the components' variances (aleatoric: in the data, labels cannot remove it) and the
variance of the components' means (epistemic: in the model, labels can). Everything is NumPy; the priors of one image,
K, C and N are free. C counts the background, which is class 0 of the heads and has no detection.

How heads become objects: `sluice.mixture_options`. What the functions return: `sluice.summaries.Detections`.
Sources: US 12,387,481, [0068] to [0088]; Choi et al., "Active Learning for Deep Object Detection via Probabilistic
Modeling", ICCV 2021. Where the two differ the options say so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.mixture_options import Options
from sluice.summaries import Detections

# Greatest logarithm by which a box may exceed its prior: 22,000 times, beyond every image; keeps areas finite.
LARGEST = 10.0

# Greatest number in heads: its square, an uncertainty, is still far from float32's end.
GREATEST = 1e9

# By how much rounding may move a difference of logits; the screening must never lose a box to it.
SLACK = 0.01


@dataclass(frozen=True)
class Heads:
    """What a network says of B images of one size, float32, raw. Any detector with these tensors will do.

    priors:            [N, 4] or [B, N, 4] cx, cy, w, h, pixels of the canvas.
    location_mean:     [B, N, K, 4] offsets from the prior of cx, cy, w, h, scaled by the options' two variances.
    location_variance: [B, N, K, 4]; sigmoid gives the variance, or the deviation: `Options.location_sigmoid`.
    location_weight:   [B, N, K, 4]; softmax over K gives the weights, for each coordinate its own.
    class_mean:        [B, N, K, C] logits, class 0 is the background.
    class_variance:    [B, N, K, C]; sigmoid gives the variance of the logit. None: the network has no such heads.
    class_weight:      [B, N, K]; softmax over K, one weight a component for all classes.

    Raises InvalidArgument naming the tensor whose shape does not fit the others', and for numbers that are not finite.
    """

    priors: np.ndarray
    location_mean: np.ndarray
    location_variance: np.ndarray
    location_weight: np.ndarray
    class_mean: np.ndarray
    class_variance: np.ndarray | None
    class_weight: np.ndarray

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), np.float32))
        if self.class_mean.ndim != 4 or 0 in self.class_mean.shape or self.class_mean.shape[3] < 2:
            raise InvalidArgument(
                "CLASS_MEAN is [B, N, K, C]: images, priors, components, classes with the background first (C of 2 or "
                f"more); got {list(self.class_mean.shape)}"
            )
        b, n, k, c = self.class_mean.shape
        shapes = {
            "location_mean": (b, n, k, 4), "location_variance": (b, n, k, 4), "location_weight": (b, n, k, 4),
            "class_variance": (b, n, k, c), "class_weight": (b, n, k),
        }  # fmt: skip
        if self.priors.ndim == 2:
            object.__setattr__(self, "priors", np.broadcast_to(self.priors, (b, *self.priors.shape)))
        for name, shape in {"priors": (b, n, 4), **shapes}.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise InvalidArgument(
                    f"{name.upper()} must be {list(shape)}, as CLASS_MEAN {list(self.class_mean.shape)} (B, N, K, C) "
                    f"has it; got {list(array.shape)}"
                )
        for name in ("priors", "class_mean", *shapes):
            self._check_finite(name)
        if (self.priors[..., 2:] <= 0).any():
            raise InvalidArgument("PRIORS are cx, cy, w, h with w and h above 0; got one that is not")

    def _check_finite(self, name: str) -> None:
        array = getattr(self, name)
        for image in range(0 if array is None else len(array)):
            numbers = array[image].reshape(-1)
            # A sum of squares within the limit proves that all are, in one pass; NaN is within no limit.
            if not (np.dot(numbers, numbers) <= GREATEST**2 or np.abs(numbers).max() <= GREATEST):
                what = f"holds NaN, infinite numbers or some beyond {GREATEST:.0e}; the network or its input is broken"
                raise InvalidArgument(f"{name.upper()} of image {image} {what}")

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Heads:
        """From tensors by their names on the wire: PRIORS, LOCATION_MEAN, ..., CLASS_WEIGHT."""
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name.upper() for name in names if name != "class_variance" and name.upper() not in tensors]
        if missing:
            raise InvalidArgument(f"heads need {', '.join(missing)}; only CLASS_VARIANCE may be left out")
        return cls(**{name: tensors.get(name.upper()) for name in names})  # type: ignore[arg-type]  # only one may be None

    def __len__(self) -> int:
        """B."""
        return len(self.class_mean)

    @property
    def classes(self) -> int:
        """C, the background included."""
        return self.class_mean.shape[3]


# ------------------------------------------------------------------------------------------------ mixtures


class Mixture(NamedTuple):
    """A mixture's mean and the two parts of its variance, each of the shape of one component."""

    mean: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


def mix(pi: np.ndarray, mu: np.ndarray, var: np.ndarray) -> Mixture:
    """Split the variance of mixtures into what data cannot fix and what labels can.

    pi: [..., K, 1 or D] weights, sum 1 over K. mu, var: [..., K, D].
    Returns three of [..., D]; aleatoric + epistemic is the variance of the mixture.
    Source: Choi et al., ICCV 2021, equation 6; US 12,387,481, [0084].
    """
    mean = (pi * mu).sum(axis=-2)
    return Mixture(mean, (pi * var).sum(axis=-2), (pi * np.square(mu - mean[..., None, :])).sum(axis=-2))


def mix_location(
    mean: np.ndarray, variance: np.ndarray, weight: np.ndarray, location_sigmoid: str = "variance"
) -> Mixture:
    """Offsets [..., 4] with their uncertainties, from raw heads [..., K, 4]; in the detector's scaled offsets.

    location_sigmoid: as in `sluice.mixture_options.Reading`; a deviation is squared before it is mixed, because only
    variances add up to that of the mixture.
    """
    spread = sigmoid(variance)
    return mix(softmax(weight, -2), mean, np.square(spread) if location_sigmoid == "deviation" else spread)


def mix_class(mean: np.ndarray, variance: np.ndarray | None, weight: np.ndarray) -> Mixture:
    """Probabilities [..., C] with their uncertainties, from raw heads [..., K, C] and [..., K].

    The aleatoric part is a variance of logits, the epistemic part one of probabilities (at most 1/4), as published.
    Without class variances the aleatoric part is NaN.
    """
    pi = softmax(weight, -1)[..., None]
    var = np.full_like(mean, np.nan) if variance is None else sigmoid(variance)
    return mix(pi, softmax(mean, -1), var)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) scaled to the sum 1 along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):  # exp(-x) beyond float32 is infinite, and the result 0
        return 1 / (1 + np.exp(-x))


# ------------------------------------------------------------------------------------------------ boxes


def decode(priors: np.ndarray, offsets: np.ndarray, options: Options | None = None) -> np.ndarray:
    """Offsets [m, 4] from priors [m, 4] (cx, cy, w, h) as corners x0, y0, x1, y1, float64 [m, 4], pixels of the priors.

    Not clipped. Source: SSD, Liu et al., ECCV 2016, equation 2, with the variances of its implementation.
    """
    options = options or Options()
    prior, offset = np.asarray(priors, np.float64), np.asarray(offsets, np.float64)
    size = prior[:, 2:] * np.exp(np.minimum(offset[:, 2:] * options.size_variance, LARGEST))
    centre = prior[:, :2] + offset[:, :2] * options.centre_variance * prior[:, 2:]
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of every two of [m, 4] corners: float64 [m, m]; 0 where neither has an area."""
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).T
    width = np.minimum.outer(x1, x1) - np.maximum.outer(x0, x0)
    height = np.minimum.outer(y1, y1) - np.maximum.outer(y0, y0)
    shared = np.maximum(width, 0, out=width)
    shared *= np.maximum(height, 0, out=height)
    area = (x1 - x0) * (y1 - y0)
    union = np.add.outer(area, area)
    union -= shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def nms(boxes: np.ndarray, iou: float = 0.45, keep: int = 200) -> np.ndarray:
    """Greedy suppression of the boxes of one class: which survive, best first.

    boxes: [m, 4] corners, sorted from the best score to the least.
    A box survives unless it overlaps a better survivor by more than `iou`: exactly `iou` survives.
    Returns int64 indices, at most `keep`.
    """
    apart = overlaps(boxes) <= iou
    open_ = np.ones(len(boxes), bool)
    survivors: list[int] = []
    for i in range(len(boxes)):
        if open_[i]:
            survivors.append(i)
            open_ &= apart[i]
    return np.array(survivors[:keep], np.int64)


# ------------------------------------------------------------------------------------------------ the whole way


def detections(
    heads: Heads,
    geometry: Sequence[Geometry] | None = None,
    options: Options | None = None,
    labels: Sequence[str] | None = None,
) -> list[Detections]:
    """Every image's boxes with a score of min(min_score, object_score) or more, best first (ties: class, then prior).

    geometry: of each image; its boxes are then pixels of the image, clipped to it, and one wholly on the padding is
        left out. None: pixels of the canvas, as they are.
    labels: the names of the classes without the background; needed where the options choose some of them.

    Suppression is within a class. A box below that score can suppress none above it and takes no better one's place
    among the candidates, so such boxes are dropped before it: the answer is the same and most of the work is gone.
    Raises InvalidArgument for labels that do not fit.
    """
    options = options or Options()
    wanted = _wanted(heads.classes, options, labels)
    views = [None] * len(heads) if geometry is None else geometry
    if len(views) != len(heads):
        raise InvalidArgument(f"GEOMETRY needs a row an image: {len(heads)} images, {len(views)} rows")
    return [_detect(heads, b, view, options, wanted) for b, view in enumerate(views)]


def _wanted(classes: int, options: Options, labels: Sequence[str] | None) -> list[int]:
    """The heads' classes to look for."""
    if labels is not None and len(labels) != classes - 1:
        raise InvalidArgument(f"{classes} classes with the background need {classes - 1} LABELS, got {len(labels)}")
    if options.labels is None:
        return list(range(1, classes))
    if labels is None:
        raise InvalidArgument("labels in OPTIONS needs LABELS, the names of the heads' classes without the background")
    check_labels(options, labels)
    return [c for c in range(1, classes) if labels[c - 1] in options.labels]


def check_labels(options: Options, labels: Sequence[str]) -> None:
    """Raise InvalidArgument where the options choose a class that is not among `labels`."""
    unknown = sorted(set(options.labels or ()) - set(labels))
    if unknown:
        raise InvalidArgument(f"labels has {unknown}; the detector knows: {', '.join(labels)}")


def _detect(heads: Heads, b: int, geometry: Geometry | None, options: Options, wanted: list[int]) -> Detections:
    floor = np.float32(min(options.min_score, options.object_score))
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
    found, boxes, classes = found[order], boxes[order], classes[order]
    box, class_ = _uncertainties(heads, b, priors[found], classes, options)
    return Detections(boxes.astype(np.float32), (classes - 1).astype(np.int32), scores[order], box, class_)


def _screen(mean: np.ndarray, least: float) -> np.ndarray:
    """The priors [s] that can have a class with a probability of `least`: all others are background for sure.

    A mixture's probability is at most that of its greatest component, and there P_c <= 1 / (1 + exp(mu_0 - mu_c)).
    So without an exponential most priors are dropped, and none that matters.
    """
    best = mean[..., 1].copy()
    for c in range(2, mean.shape[-1]):
        np.maximum(best, mean[..., c], out=best)
    best -= mean[..., 0]
    share = min(least, 0.999)  # a share that rounds to 1 in float32 must not be lost
    bound = math.log(share / (1 - share)) - SLACK if share > 0 else -math.inf
    return np.unique(np.flatnonzero(best >= bound) // mean.shape[1])


def _confidence(mean: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Probability of each class, float32 [C, s], from raw heads [s, K, C] and [s, K]: the mean of `mix_class`.

    NumPy is slow along short axes such as K and C, so the many priors go last here and in `_offsets`.
    """
    pi = softmax(np.ascontiguousarray(weight.T), 0)
    probability = softmax(np.ascontiguousarray(mean.T), 0)  # [C, K, s]
    probability *= pi
    return np.minimum(probability.sum(axis=1), 1)  # a sum of weights may round to a little over 1


def _offsets(mean: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Offsets [m, 4] from raw heads [m, K, 4]: the mean of `mix_location`."""
    pi = softmax(np.ascontiguousarray(weight.T), 1)  # [4, K, m]
    pi *= mean.T
    return pi.sum(axis=1).T


def _best(scores: np.ndarray, confidence: float, floor: np.float32, count: int) -> np.ndarray:
    """The rows of the `count` best scores above the confidence, best first, ties by row."""
    rows = np.flatnonzero((scores > np.float32(confidence)) & (scores >= floor))
    if len(rows) > count:
        least = np.partition(scores[rows], -count)[-count]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")[:count]]


def _uncertainties(
    heads: Heads, b: int, priors: np.ndarray, classes: np.ndarray, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    """float32 [m, 8] of the boxes and [m, 2] of the classes, as in `Detections`; classes are the heads' own."""
    mean, spread = heads.location_mean[b, priors], heads.location_variance[b, priors]
    location = mix_location(mean, spread, heads.location_weight[b, priors], options.location_sigmoid)
    variance = None if heads.class_variance is None else heads.class_variance[b, priors]
    mixture = mix_class(heads.class_mean[b, priors], variance, heads.class_weight[b, priors])
    both = np.stack([mixture.aleatoric, mixture.epistemic], axis=1)  # [m, 2, C]
    detected = both[np.arange(len(classes)), :, classes]
    reduced = both.max(axis=2) if options.class_reduce == "max" else detected
    return np.concatenate([location.aleatoric, location.epistemic], axis=1), reduced
