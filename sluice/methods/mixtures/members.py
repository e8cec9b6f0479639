"""Objects of plain detectors, which give boxes and scores but no mixtures: of one network, or of several members.

A member is one network of an ensemble, or one pass of a network with dropout kept active. The members' scores and
boxes are averaged over what each of them says of the same object, and their spread is the epistemic uncertainty. A
plain detector says nothing of the noise in the image, so the aleatoric types are NaN; with a single member all four
types are NaN, because one answer has no spread.

Sources: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS
2017; Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016; Miller et al., "Evaluating Merging
Strategies for Sampling-based Uncertainty Techniques in Object Detection", ICRA 2019 (members matched by overlap).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods.mixtures.boxes import nms, overlaps
from sluice.methods.mixtures.options import Options
from sluice.methods.mixtures.summaries import FAINT, TYPES, Detections

SOURCES = ("none", "ensemble", "dropout")
RECORD = "sluice.members"  # of a graph's metadata
SAME = 0.5  # members' boxes show one object if they overlap by this or more


@dataclass(frozen=True)
class Members:
    """The members that a plain detector's graph holds.

    source: 'none' for a single network, 'ensemble' or 'dropout'. count: members, 1 for 'none'.
    suppress: whether boxes of one member and class that overlap must be suppressed; False for networks that give each
        object once, such as DETR, and for graphs that hold their own suppression.
    """

    source: str = "none"
    count: int = 1
    suppress: bool = True

    def __post_init__(self) -> None:
        if self.source not in SOURCES or (self.count == 1) != (self.source == "none") or self.count < 1:
            raise ValueError(f"{self.count} members of the source {self.source!r}")

    @property
    def given(self) -> tuple[str, ...]:
        """Return the types of uncertainty that such a detector gives."""
        return () if self.source == "none" else (TYPES[1], TYPES[3])

    @classmethod
    def of_record(cls, record: Mapping[str, str]) -> Members | None:
        """Read the members from the metadata of a graph; None for a graph of mixture heads.

        Raises ValueError for an entry that cannot be understood.
        """
        if RECORD not in record:
            return None
        try:
            return cls(**json.loads(record[RECORD]))
        except (ValueError, TypeError) as error:
            raise ValueError(f"the graph's {RECORD} is not understood ({error}); export it again") from None

    def as_record(self) -> dict[str, str]:
        """Return the metadata from which `of_record` reads these members."""
        return {RECORD: json.dumps(asdict(self), sort_keys=True)}


@dataclass(frozen=True)
class Predictions:
    """The output of a plain detector for B images of one size: N boxes each, of all members together; C classes.

    boxes:   float32 [B, N, 4] x0, y0, x1, y1, pixels of the canvas.
    scores:  float32 [B, N, C] probability of each class, 0 to 1; there is no background.
    members: int32 [B, N] the member that gave the box, from 0.

    Raises InvalidArgument, which names the tensor, for shapes that do not fit each other and values out of range.
    """

    boxes: np.ndarray
    scores: np.ndarray
    members: np.ndarray

    def __post_init__(self) -> None:
        if self.scores.ndim != 3 or not self.scores.shape[2]:
            raise InvalidArgument(f"MEMBER_SCORES is [B, N, C], one score per box and class; got {self.scores.shape}")
        b, n, _ = self.scores.shape
        for name, array, shape in (("MEMBER_BOXES", self.boxes, (b, n, 4)), ("MEMBERS", self.members, (b, n))):
            if array.shape != shape:
                raise InvalidArgument(f"{name} of {n} boxes must be {list(shape)}, got {list(array.shape)}")
        if not np.isfinite(self.boxes).all() or not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise InvalidArgument(
                "boxes must be finite and scores 0 to 1; the network, its input or its mapping is wrong"
            )

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Predictions:
        """Make predictions from tensors by their names on the wire. Raises InvalidArgument for a missing tensor."""
        names = ("MEMBER_BOXES", "MEMBER_SCORES", "MEMBERS")
        missing = [name for name in names if name not in tensors]
        if missing:
            raise InvalidArgument(f"a plain detector's output needs {', '.join(missing)} too; give all of {names}")
        return cls(*(np.asarray(tensors[name]) for name in names))


def detections(
    predictions: Predictions,
    members: Members,
    geometry: Sequence[Geometry] | None,
    options: Options,
    wanted: Sequence[int],
) -> list[Detections]:
    """Detect the objects of every image: its boxes with a score of min(min_score, object_score) or more.

    geometry: one per image, as for `objects.detections`; None leaves the boxes in pixels of the canvas, not clipped.
    wanted: the classes to look for, from 0.
    Returns one `Detections` per image, best score first; equal scores by class, then by box.
    Raises InvalidArgument for another number of geometries than images.
    """
    count = len(predictions.scores)
    views = [None] * count if geometry is None else geometry
    if len(views) != count:
        raise InvalidArgument(f"GEOMETRY needs a row per image: {count} images, {len(views)} rows")
    return [_detect(predictions, b, members, view, options, wanted) for b, view in enumerate(views)]


def _detect(
    predictions: Predictions,
    b: int,
    members: Members,
    geometry: Geometry | None,
    options: Options,
    wanted: Sequence[int],
) -> Detections:
    """Detect the objects of image `b`."""
    boxes, scores = predictions.boxes[b].astype(np.float64), predictions.scores[b]
    least_score = np.float32(min(options.min_score, options.object_score))
    floor = min(np.float32(FAINT), least_score)
    single = members.count == 1
    found: list[np.ndarray] = [np.zeros((0, 16), np.float32)]
    for c in wanted:
        # Members are averaged later, so a box that one of them is sure of must not be lost to the floor of the mean.
        least = floor if single else np.float32(0)
        rows = _best(scores[:, c], options.confidence, least, options.candidates * members.count)
        rows = _suppressed(rows, boxes, predictions.members[b], members, options)
        one = _single(boxes, scores, rows, c) if single else _joined(predictions, b, rows, c, members.count, options)
        found.append(one[one[:, 1] >= floor])
    detected = Detections.from_array(np.concatenate(found))
    if geometry is not None:
        detected = _in_image(detected, geometry)
    detected = replace(detected.take(np.argsort(-detected.scores, kind="stable")), faint=0.0)
    return detected.above(float(least_score))


def _best(scores: np.ndarray, confidence: float, floor: np.float32, count: int) -> np.ndarray:
    """Return the rows, int64 [n], of the `count` best scores above the confidence, best first; equal ones by row."""
    rows = np.flatnonzero((scores > np.float32(confidence)) & (scores >= floor))
    return rows[np.argsort(-scores[rows], kind="stable")[:count]]


def _suppressed(
    rows: np.ndarray, boxes: np.ndarray, member: np.ndarray, members: Members, options: Options
) -> np.ndarray:
    """Return the rows that survive the suppression within their member, in their order, best first."""
    if not members.suppress:
        return rows[: options.keep * members.count]
    kept = [np.zeros(0, np.int64)]
    for number in range(members.count):
        mine = np.flatnonzero(member[rows] == number)
        kept.append(mine[nms(boxes[rows[mine]], options.iou, options.keep)])
    return rows[np.sort(np.concatenate(kept))]


def _single(boxes: np.ndarray, scores: np.ndarray, rows: np.ndarray, c: int) -> np.ndarray:
    """Return rows of `Detections.as_array` for a single network, whose uncertainties are all NaN."""
    unknown = np.full((len(rows), 10), np.nan)
    head = np.stack([np.full(len(rows), c), scores[rows, c]], axis=1)
    return np.concatenate([head, boxes[rows], unknown], axis=1).astype(np.float32)


def _joined(predictions: Predictions, b: int, rows: np.ndarray, c: int, count: int, options: Options) -> np.ndarray:
    """Join the members' boxes of one class; return rows of `Detections.as_array`, with epistemic uncertainties.

    rows: the members' boxes after suppression, best first. Each opens an object unless it shows an object that a better
    box opened: it overlaps that box by SAME or more. What every member says of the object is its box of any score that
    overlaps the opening box the most, by SAME or more; a member without such a box says a score of 0, see `_spread`.
    """
    boxes, scores, member = (array[b] for array in (predictions.boxes, predictions.scores, predictions.members))
    apart = overlaps(boxes[rows]) < SAME
    open_, objects = np.ones(len(rows), bool), []
    by_member = [np.flatnonzero(member == number) for number in range(count)]
    for i, row in enumerate(rows):
        if not open_[i]:
            continue
        open_ &= apart[i]
        told = [_told(boxes, row, mine) for mine in by_member]
        p = np.array([0.0 if one is None else scores[one, c] for one in told], np.float64)
        box, spread = _spread(boxes, [one for one in told if one is not None], count, options)
        unknown = [np.nan] * 4
        objects.append([c, p.mean(), *box, *unknown, *spread, np.nan, p.var()])
    return np.array(objects, np.float32).reshape(-1, 16)


def _told(boxes: np.ndarray, row: int, mine: np.ndarray) -> int | None:
    """Return the member's box that overlaps the box `row` the most; None if none overlaps it by SAME or more.

    mine: int64 [m], the member's boxes.
    """
    if not len(mine):
        return None
    own, others = boxes[row].astype(np.float64), boxes[mine].astype(np.float64)
    shared = np.minimum(own[2:], others[:, 2:]) - np.maximum(own[:2], others[:, :2])
    area = np.maximum(shared, 0).prod(axis=1)
    union = (own[2:] - own[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - area
    iou = np.divide(area, union, out=np.zeros_like(area), where=union > 0)
    best = int(np.argmax(iou))
    return int(mine[best]) if iou[best] >= SAME or mine[best] == row else None


def _spread(boxes: np.ndarray, told: Sequence[int], count: int, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean box, [4] corners, and the members' variance around it, [4] of cx, cy, w, h in scaled offsets.

    told: the boxes of the members that see the object, one or more. count: of all members. The offsets are those from
    the mean box as prior: of the centre in sides over `options.centre_variance`, of the sides as logarithms over
    `options.size_variance`, so that the numbers are in the units of mixture heads.
    A member that does not see the object disagrees by at least as much as a box that just does not overlap: it counts
    with an offset of one side in cx and in cy. So an object that few members see is never of small variance.
    """
    corners = boxes[list(told)].astype(np.float64)
    size = np.maximum(corners[:, 2:] - corners[:, :2], 1e-6)
    centre = (corners[:, 2:] + corners[:, :2]) / 2
    mean, side = centre.mean(axis=0), np.exp(np.log(size).mean(axis=0))
    missing = count - len(told)
    place = (np.square((centre - mean) / side).sum(axis=0) + missing) / count / options.centre_variance**2
    scale = np.square(np.log(size / side)).sum(axis=0) / count / options.size_variance**2
    return np.concatenate([mean - side / 2, mean + side / 2]), np.concatenate([place, scale])


def _in_image(found: Detections, geometry: Geometry) -> Detections:
    """Return detections with boxes in pixels of the image, clipped to it; those on the padding are left out."""
    limits = (geometry.width, geometry.height)
    boxes = np.clip(geometry.to_image(found.boxes.reshape(-1, 2, 2)), 0, limits).reshape(-1, 4).astype(np.float32)
    moved = Detections(boxes, found.classes, found.scores, found.box_uncertainties, found.class_uncertainties)
    return moved.take((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
