"""Detections of an image, and their summary: the few numbers that rank the image against a pool.

Active learning chooses an image by how far its most uncertain objects lie above those of the pool, per type of
uncertainty. For that each image and class needs the four greatest values, the count of objects and their moments.
Moments merge without loss over classes, images and machines, so no machine ever needs all objects. `mixtures.objects`
makes the detections; `sluice.methods.selection.choice` compares summaries with a pool.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.options import parsed

# The four types of uncertainty, everywhere in this order.
TYPES = ("location_aleatoric", "location_epistemic", "class_aleatoric", "class_epistemic")
# The measure that stands in for them where a detector gives none of the four: the binary entropy of the score, in nats.
ENTROPY = "score_entropy"
MEASURES = {len(TYPES): TYPES, 1: (ENTROPY,)}  # names of the columns of uncertainties, by their number

COLUMNS = 16  # of `Detections.as_array`

# Least score of a box that counts as faint. Below, a box is one of thousands that every image has.
FAINT = 0.02

# Greatest number in a summary: far beyond every variance, and its square is still far from the end of float64.
GREATEST = 1e100
MOST = 1 << 40  # objects of a summary


@dataclass(frozen=True)
class Detections:
    """The boxes found in one image, the highest score first.

    boxes:               float32 [m, 4] x0, y0, x1, y1, pixels of the caller's image.
    classes:             int32 [m], index into the labels, which leave the background out.
    scores:              float32 [m], probability of the class, 0 to 1.
    box_uncertainties:   float32 [m, 8] variances in the scaled offsets of the detector: aleatoric of cx, cy, w, h, then
                         epistemic of cx, cy, w, h.
    class_uncertainties: float32 [m, 2]: aleatoric, a variance of the logit, then epistemic, a variance of the
                         probability.

    faint: the sum of the scores of the boxes that were left out because their scores, FAINT or more, are too low: how
        many objects the detector half sees; NaN if it is not known. It ranks images in which no object was found.

    NaN in the uncertainties stands for what the detector does not give, in whole types: the aleatoric of the class; or
    both aleatoric types, as of an ensemble; or all four types.

    Raises ValueError for shapes that do not fit each other.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    box_uncertainties: np.ndarray
    class_uncertainties: np.ndarray
    faint: float = math.nan

    def __post_init__(self) -> None:
        m = len(self.scores)
        shapes = {"boxes": (m, 4), "classes": (m,), "box_uncertainties": (m, 8), "class_uncertainties": (m, 2)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of {m} detections must be {list(shape)}, got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.scores)

    def types(self) -> np.ndarray:
        """Return the four uncertainties of each box, float32 [m, 4] in the order of `TYPES`.

        For the location this is the greatest of the four coordinates.
        """
        location = self.box_uncertainties.reshape(-1, 2, 4).max(axis=2)
        return np.concatenate([location, self.class_uncertainties], axis=1)

    def measures(self) -> np.ndarray:
        """Return the numbers that rank each box: the four of `types`, or [m, 1] of ENTROPY if none of them is known."""
        types = self.types()
        return binary_entropy(self.scores)[:, None] if len(self) and np.isnan(types).all() else types

    def known(self) -> tuple[str, ...] | None:
        """Return the types that the boxes have; None if they have all, or if there are no boxes to tell it."""
        given = tuple(name for name, column in zip(TYPES, self.types().T, strict=True) if not np.isnan(column).any())
        return None if len(given) == len(TYPES) or not len(self) else given

    def take(self, rows: Any) -> Detections:
        """Return some of the detections. rows: an index array, a boolean array [m] or a slice."""
        arrays = ("boxes", "classes", "scores", "box_uncertainties", "class_uncertainties")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def above(self, score: float) -> Detections:
        """Return the detections with this score or a higher one; the others become faint."""
        kept = self.scores >= np.float32(score)
        left = self.scores[~kept]
        more = left[left >= np.float32(FAINT)].sum(dtype=np.float64)
        return replace(self.take(kept), faint=float(np.float32(self.faint + more)))  # float32 crosses the server whole

    def as_array(self) -> np.ndarray:
        """Return float32 [m, 16], as a gallery stores it: class, score, 4 of the box, 8 and 2 of the uncertainties."""
        head = np.stack([self.classes.astype(np.float32), self.scores], axis=1)
        columns = [head, self.boxes, self.box_uncertainties, self.class_uncertainties]
        return np.concatenate(columns, axis=1).astype(np.float32)

    @classmethod
    def from_array(cls, array: Any) -> Detections:
        """Return the detections of an array [m, 16]. Raises InvalidArgument if `as_array` cannot have made it."""
        rows = np.asarray(array, np.float32)
        if rows.ndim != 2 or rows.shape[1] != COLUMNS:
            raise InvalidArgument(f"detections are rows of {COLUMNS} numbers, got {list(rows.shape)}")
        if (
            not _uncertainties_known(rows[:, 6:])
            or not np.isfinite(rows[:, :6]).all()
            or (rows[:, 0] != np.round(rows[:, 0])).any()
            or (rows[:, :2] < 0).any()
        ):
            raise InvalidArgument("detections are finite numbers, the class a whole one from 0; detect them again")
        return cls(rows[:, 2:6], rows[:, 0].astype(np.int32), rows[:, 1], rows[:, 6:14], rows[:, 14:16])

    @classmethod
    def none(cls) -> Detections:
        """Return the detections of an image in which nothing was found, m = 0."""
        return cls.from_array(np.zeros((0, COLUMNS), np.float32))


# The columns of the ten uncertainties that may be NaN together: none, class aleatoric, all aleatoric ones, all.
UNKNOWN = np.array([[0] * 10, [0] * 8 + [1, 0], [1] * 4 + [0] * 4 + [1, 0], [1] * 10], bool)


def _uncertainties_known(columns: np.ndarray) -> bool:
    """Return whether the uncertainties [m, 10] are finite except in whole types that a detector may not give."""
    unknown = np.isnan(columns)
    whole = (unknown[:, None] == UNKNOWN).all(axis=2).any(axis=1)
    return bool(whole.all()) and not np.isinf(columns).any()


def binary_entropy(scores: np.ndarray) -> np.ndarray:
    """Return -p ln p - (1 - p) ln (1 - p), float64, 0 to ln 2 nats, of probabilities p; 0 where p is 0 or 1."""
    p = np.clip(np.asarray(scores, np.float64), 0, 1)
    inside = np.where((p > 0) & (p < 1), p, 0.5)
    entropy = -inside * np.log(inside) - (1 - inside) * np.log1p(-inside)
    return np.where((p > 0) & (p < 1), entropy, 0.0)


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared differences from the mean, per type of uncertainty; they merge without loss.

    n: number of objects. mean, m2: float64 [4] in the order of `TYPES`, NaN for a type that the detector does not give;
    or [1] of ENTROPY.
    """

    n: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(4))
    m2: np.ndarray = field(default_factory=lambda: np.zeros(4))

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Return the moments of all rows of `values` [m, 4]."""
        values = np.asarray(values, np.float64)
        if not len(values):
            return cls()
        # Differences from the first row: equal rows have exactly that row as mean, and deviation 0, when merged too.
        mean = values[0] + (values - values[0]).mean(axis=0)
        return cls(len(values), mean, np.square(values - mean).sum(axis=0))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets of objects together. Source: Chan, Golub, LeVeque, 1979, equation 2.1."""
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.n / n)
        return Moments(n, mean, self.m2 + other.m2 + np.square(delta) * (self.n * (other.n / n)))

    def std(self) -> np.ndarray:
        """Return the standard deviation of the whole population (divided by n), float64 [4]; 0 without objects."""
        return np.sqrt(self.m2 / max(self.n, 1))

    def as_json(self) -> dict[str, Any]:
        """Return {"n": int, "mean": {type: float}, "m2": {type: float}}, with None in place of NaN."""
        return {"n": self.n, "mean": named(self.mean), "m2": named(self.m2)}

    @classmethod
    def from_json(cls, given: Any) -> Moments:
        """Read what `as_json` returned. Raises InvalidArgument, which says what is wrong, for anything else."""
        row = _object(given, "moments", ("n", "mean", "m2"))
        moments = cls(_count(row["n"], "moments.n"), unnamed(row["mean"], "mean"), unnamed(row["m2"], "m2"))
        if (moments.m2 < 0).any():
            raise InvalidArgument("moments.m2 is a sum of squares, 0 or more; detect the image again")
        return moments


@dataclass(frozen=True)
class Part:
    """The uncertainties of the objects of one class, or of several classes together.

    maxima: float64 [4] greatest value per type; None without objects. moments: of the same values.
    """

    maxima: np.ndarray | None = None
    moments: Moments = field(default_factory=Moments)

    @property
    def objects(self) -> int:
        """Return the number of objects."""
        return self.moments.n

    @classmethod
    def of(cls, values: np.ndarray) -> Part:
        """Return the part that holds m objects with these uncertainties, [m, 4]."""
        values = np.asarray(values, np.float64)
        return cls(values.max(axis=0) if len(values) else None, Moments.of(values))

    def merge(self, other: Part) -> Part:
        """Return the part that holds the objects of both."""
        if self.maxima is None or other.maxima is None:
            return other if self.maxima is None else self
        return Part(np.maximum(self.maxima, other.maxima), self.moments.merge(other.moments))

    def as_json(self) -> dict[str, Any]:
        """Return {"objects": int, "maxima": {type: float} or None, "moments": object}."""
        maxima = None if self.maxima is None else named(self.maxima)
        return {"objects": self.objects, "maxima": maxima, "moments": self.moments.as_json()}

    @classmethod
    def from_json(cls, given: Any) -> Part:
        """Read what `as_json` returned. Raises InvalidArgument, which says what is wrong, for anything else."""
        row = _object(given, "a summary's class", ("objects", "maxima", "moments"))
        moments = Moments.from_json(row["moments"])
        if row["objects"] != moments.n or (row["maxima"] is None) != (moments.n == 0):
            raise InvalidArgument("objects, maxima and moments.n of a summary must agree; send it as `detect` gave it")
        if row["maxima"] is None:
            return cls(None, moments)
        maxima = unnamed(row["maxima"], "maxima")
        if len({len(values) for values in (maxima, moments.mean, moments.m2)}) > 1:
            raise InvalidArgument(
                f"maxima, mean and m2 of a summary hold {ENTROPY} or the four types, all the same; send it as `detect` "
                "gave it"
            )
        unknown = [np.isnan(values) for values in (maxima, moments.mean, moments.m2)]
        if any((one != unknown[0]).any() for one in unknown):
            raise InvalidArgument(
                "a type that is null in maxima, mean or m2 of a summary is null in all three; send it as `detect` "
                "gave it"
            )
        return cls(maxima, moments)


@dataclass(frozen=True)
class Summary:
    """The uncertainties of one image, as `select` takes them.

    model:   version of the detector, which stands for everything that shapes its detections (`sluice.versions`).
    classes: label -> Part, of the classes that occur.
    object_score: least score of an object that counts; None if it is not known, because another program made the
        summary.
    given: the types of uncertainty that the detector gives, if some are missing; None if nothing was said, as of
        mixture heads, which give all.
    faint: as of `Detections`, of the boxes below object_score; None if it is not known.
    """

    model: str
    classes: Mapping[str, Part]
    object_score: float | None = None
    given: tuple[str, ...] | None = None
    faint: float | None = None

    @classmethod
    def of(
        cls,
        detections: Detections,
        labels: Sequence[str],
        object_score: float = 0.5,
        model: str = "",
        given: tuple[str, ...] | None = None,
    ) -> Summary:
        """Summarise the objects of an image, which are the detections with `object_score` or more.

        labels: names of the classes, by the index in `Detections.classes`. given: as of `Summary`; None to tell it
            from the detections.
        """
        objects = detections.above(object_score)
        values = objects.measures()
        present = np.unique(objects.classes)
        given = detections.known() if given is None else given
        parts = {labels[c]: Part.of(values[objects.classes == c]) for c in present}
        return cls(model, parts, object_score, given, None if math.isnan(objects.faint) else objects.faint)

    @cached_property
    def whole(self) -> Part:
        """Return the part of all classes together."""
        return self.over(self.classes)

    def over(self, labels: Iterable[str]) -> Part:
        """Return the part of these classes together; a class that does not occur adds nothing."""
        return reduce(Part.merge, (self.classes[label] for label in labels if label in self.classes), Part())

    def to_json(self) -> str:
        """Return the summary as JSON text, as `detect` answers with it."""
        classes = {label: part.as_json() for label, part in self.classes.items()}
        head: dict[str, Any] = {"model": self.model, "object_score": self.object_score}
        if self.given is not None:
            head["uncertainties"] = list(self.given)
        if self.faint is not None:
            head["faint"] = self.faint
        return json.dumps({**head, **self.whole.as_json(), "classes": classes})

    @classmethod
    def from_json(cls, given: Any) -> Summary:
        """Read the text of `to_json`, or its parsed object. Raises InvalidArgument, which says what is wrong."""
        if isinstance(given, str | bytes):
            given = parsed(given, "a summary, the JSON that `detect` gave,")
        row = _object(given, "a summary", ("model", "objects", "classes"))
        classes = row["classes"]
        if not isinstance(row["model"], str) or not isinstance(classes, Mapping):
            raise InvalidArgument("a summary's model is a text and its classes an object; send it as `detect` gave it")
        if "object_score" not in row:
            raise InvalidArgument(
                "a summary says its object_score, the least score of an object that counts; this one was made by an "
                "older detector, whose values do not compare: run `detect` again"
            )
        score = row["object_score"]
        if score is not None and (isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1):
            raise InvalidArgument(f"object_score of a summary is a number from 0 to 1 or null, got {score!r:.80}")
        parts = {str(label): Part.from_json(part) for label, part in classes.items()}
        if len({len(part.maxima) for part in parts.values() if part.maxima is not None}) > 1:
            raise InvalidArgument(
                f"the classes of a summary hold {ENTROPY} or the four types, all the same; send it as `detect` gave it"
            )
        said = row.get("uncertainties")
        if said is not None and not (isinstance(said, list) and all(name in TYPES for name in said)):
            raise InvalidArgument("uncertainties of a summary is a list of types; send it as `detect` gave it")
        given_types = None if said is None else tuple(said)
        faint = row.get("faint")
        if faint is not None and (
            isinstance(faint, bool) or not isinstance(faint, int | float) or not 0 <= faint <= MOST
        ):
            raise InvalidArgument(f"faint of a summary is a sum of scores, 0 or more, or null, got {faint!r:.80}")
        faint = None if faint is None else float(faint)
        summary = cls(row["model"], parts, None if score is None else float(score), given_types, faint)
        if row["objects"] != summary.whole.objects:
            raise InvalidArgument(
                f"a summary says {row['objects']} objects, its classes {summary.whole.objects}; "
                "send it as `detect` gave it"
            )
        return summary


def named(values: np.ndarray) -> dict[str, float | None]:
    """Name values by their types, {type: value}, with None in place of NaN, which JSON does not have.

    values: [4] in the order of TYPES, or [1] of ENTROPY.
    """
    names = MEASURES[len(values)]
    return {name: None if math.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}


def unnamed(given: Any, name: str = "values") -> np.ndarray:
    """Return the values of {type: value} in the order of `TYPES`, float64 [4], NaN for None; or of ENTROPY, [1].

    name: of the object, for the message. Raises InvalidArgument for a missing type and for a value that is no number
    up to GREATEST.
    """
    names = (ENTROPY,) if isinstance(given, Mapping) and set(given) == {ENTROPY} else TYPES
    row = _object(given, name, names)
    for key in names:
        value = row[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and abs(value) <= GREATEST):  # which NaN is not either
            raise InvalidArgument(
                f"{name}.{key} of a summary is a number up to {GREATEST:g} or null, got {value!r:.80}"
            )
    return np.array([math.nan if row[key] is None else row[key] for key in names], np.float64)


def _object(given: Any, name: str, keys: Sequence[str]) -> Mapping[str, Any]:
    missing = [key for key in keys if key not in given] if isinstance(given, Mapping) else list(keys)
    if missing:
        raise InvalidArgument(f"{name} is an object with {', '.join(keys)}; missing: {', '.join(missing)}")
    return given


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise InvalidArgument(f"{name} is a count from 0 to {MOST:,}, got {value!r:.80}")
    return value
