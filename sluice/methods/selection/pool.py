"""The uncertainties of a pool of images, and their statistics, against which one image is judged.

A score is only true against the pool that its statistics were taken from. So statistics carry the version of the
detector and that of the pool, and are refused for another. They merge without loss, so many workers give one answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.mixtures.summaries import ENTROPY, MEASURES, Moments, named
from sluice.process import callers

# A standard deviation this small against its mean is rounding, not difference. Then nothing stands out.
ROUNDING = 1e-12


# ------------------------------------------------------------------------------------------------ a pool


@dataclass(frozen=True)
class Batch:
    """Some frames of a pool. A row is an object, or, if only a summary is known, all objects of one class.

    frame:  int64 [f], the pool's own numbers of the frames.
    picks:  bool [f], whether a frame may be picked; the others only belong to the pool.
    counts: int64 [f], rows per frame; they lie one frame after the other.
    kinds:  int64 [r], the row's class, an index into the pool's labels.
    values: float64 [r, 4], the row's greatest uncertainty, one column per type; or [r, 1], the binary entropy of the
        score, of a detector that gives no type.
    objects: int64 [r], objects per row. None: each row is one object.
    mean, m2: float64 as `values`, of the row's objects. None: each row is one object.
    faint: float64 [f], as of `mixtures.summaries.Detections`, of the frames in which no object of any class was found;
        NaN for the others, and where it is not known. None: it is known of no frame.
    """

    frame: np.ndarray
    picks: np.ndarray
    counts: np.ndarray
    kinds: np.ndarray
    values: np.ndarray
    objects: np.ndarray | None = None
    mean: np.ndarray | None = None
    m2: np.ndarray | None = None
    faint: np.ndarray | None = None

    def only(self, wanted: np.ndarray) -> Batch:
        """Return the batch without the rows of other classes. wanted: bool [labels]."""
        keep = wanted[self.kinds]
        if keep.all():
            return self
        counts = np.bincount(self.owner()[keep], minlength=len(self.counts))
        objects, mean, m2 = (None if part is None else part[keep] for part in (self.objects, self.mean, self.m2))
        return Batch(self.frame, self.picks, counts, self.kinds[keep], self.values[keep], objects, mean, m2, self.faint)

    def objects_of_rows(self) -> np.ndarray:
        """Return how many objects each row stands for, int64 [r]."""
        return np.ones(len(self.kinds), np.int64) if self.objects is None else self.objects

    def owner(self) -> np.ndarray:
        """Return the place in the batch of each row's frame, int64 [r]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def totals(self) -> np.ndarray:
        """Return how many objects each frame has, int64 [f]."""
        if self.objects is None:
            return self.counts
        return np.bincount(self.owner(), self.objects, len(self.counts)).astype(np.int64)

    def class_sums(self, z: np.ndarray) -> np.ndarray:
        """Return, per row, the sum of `z` over all rows of the same class in the same frame, float64 [r, T].

        z: float64 [r, T].
        """
        classes = int(self.kinds.max(initial=0)) + 1
        _, group = np.unique(self.owner() * classes + self.kinds, return_inverse=True)
        sums = [np.bincount(group, column)[group] for column in z.T]
        return np.stack(sums, axis=1) if len(z) else z

    def moments(self) -> Moments:
        """Return the moments of all objects."""
        if self.objects is None or self.mean is None or self.m2 is None:
            return Moments.of(self.values)
        n = int(self.objects.sum())
        if not n:
            return Moments()
        share = self.objects[:, None]
        mean = (share * self.mean).sum(0) / n
        return Moments(n, mean, (self.m2 + share * np.square(self.mean - mean)).sum(0))


class Pool(Protocol):
    """The frames to select from: a gallery's (`sluice.gallery.selection_pool`), or a list that the caller sent
    (`sluice.methods.selection.candidates`)."""

    @property
    def detector(self) -> str:
        """The version of the detector that found the objects."""

    @property
    def version(self) -> str:
        """The version of the pool, which changes with every frame, score and label."""

    @property
    def labels(self) -> Sequence[str]:
        """The detector's classes."""

    @property
    def object_score(self) -> float | None:
        """The least score of an object; None if summaries were made elsewhere."""

    def batches(self) -> Iterator[Batch]:
        """Yield all scored frames that are not labelled, each once, in batches of bounded size."""

    def of(self, frames: np.ndarray) -> Batch:
        """Return some frames again."""

    def ranks(self, frames: np.ndarray) -> np.ndarray:
        """Return the place of each frame's id in the order of all ids, int64."""

    def drives(self, frames: np.ndarray) -> np.ndarray:
        """Return a number per frame that stands for its drive, int64."""

    def descriptors(self, frames: np.ndarray) -> np.ndarray:
        """Return one vector of unit length per frame for what it shows, float32 [len(frames), C].

        Raises InvalidArgument if a frame has none.
        """


# ------------------------------------------------------------------------------------------------ statistics


@dataclass(frozen=True)
class Statistics:
    """The moments of the uncertainties of a pool's objects, per type, and the pool of which they are true.

    detector: version. pool: the versions of its parts, one unless statistics were merged. left_out: the classes whose
    objects did not count. object_score: the least score of the objects that did. frames: all scored ones.
    faint: the moments [1] of `Batch.faint`, by which frames without an object are judged; None in statistics that an
        older server gave.
    """

    detector: str
    pool: tuple[str, ...]
    left_out: tuple[str, ...]
    object_score: float | None
    frames: int
    moments: Moments
    faint: Moments | None = None

    def std(self) -> np.ndarray:
        """Return the standard deviation, float64 [4]: 0 if all objects are alike, NaN if a type is not known."""
        std = self.moments.std()
        return np.where(std <= ROUNDING * np.abs(self.moments.mean), 0.0, std)

    def measures(self) -> tuple[str, ...]:
        """Return the names of the columns: the four types, or ENTROPY of a detector that gives none of them."""
        return MEASURES[len(self.moments.mean)]

    def z(self, values: np.ndarray) -> np.ndarray:
        """Return how many standard deviations the values lie above the pool's mean, [r, 4]; 0 without spread."""
        std = self.std()
        return np.where(std == 0, 0.0, (values - self.moments.mean) / np.where(std == 0, 1.0, std))

    def faint_z(self, faint: np.ndarray) -> np.ndarray:
        """Return how many standard deviations values lie above the mean of the pool's frames without an object.

        faint: float64 [f]. Returns float64 [f], 0 without spread, NaN where the value or the pool's is not known.
        """
        if self.faint is None or not self.faint.n:
            return np.full(len(faint), np.nan)
        mean, std = float(self.faint.mean[0]), float(self.faint.std()[0])
        std = 0.0 if std <= ROUNDING * abs(mean) else std
        return (faint - mean) / std if std else np.where(np.isnan(faint), np.nan, 0.0)

    def known(self) -> list[int]:
        """Return the types, as columns, that the detector gives."""
        return np.flatnonzero(np.isfinite(self.moments.mean)).tolist()

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of both pools together. Raises InvalidArgument if they describe different things."""
        self.expect(other.detector, other.left_out, other.object_score)
        if self.moments.n and other.moments.n and self.measures() != other.measures():
            raise InvalidArgument("the statistics measure different things; leave them out to have them taken anew")
        twice = sorted(set(self.pool) & set(other.pool))
        if twice:
            raise InvalidArgument(f"the pool {twice[0]} is in both statistics; merge each part of a pool once")
        return Statistics(
            self.detector,
            tuple(sorted((*self.pool, *other.pool))),
            self.left_out,
            self.object_score,
            self.frames + other.frames,
            self.moments.merge(other.moments),
            self.faint.merge(other.faint) if self.faint and other.faint else None,
        )

    def expect(self, detector: str, left_out: tuple[str, ...], object_score: float | None) -> None:
        """Raise InvalidArgument with the remedy unless these statistics are of such objects."""
        remedy = "leave `statistics` out to have them taken anew"
        if self.detector != detector:
            raise InvalidArgument(
                f"the statistics are of the detector {self.detector}, these scores of {detector}; {remedy}"
            )
        if self.left_out != left_out or self.object_score != object_score:
            raise InvalidArgument(
                f"the statistics are of {_objects(self.left_out, self.object_score)}, asked are "
                f"{_objects(left_out, object_score)}; {remedy}, or ask for the same"
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `std` is there for people, it follows from n and m2."""
        return {
            "detector": self.detector,
            "pool": list(self.pool),
            "left_out": list(self.left_out),
            "object_score": self.object_score,
            "frames": self.frames,
            **self.moments.as_json(),
            "std": named(self.std()),
            "faint": None if self.faint is None else _plain(self.faint),
        }

    @classmethod
    def from_json(cls, given: Any) -> Statistics:
        """Return statistics from a JSON object, or merged from a list of objects. Raises InvalidArgument."""
        if isinstance(given, list) and given:
            # In the order of their pools, so that every order of the list gives the same sum to the last bit.
            return reduce(cls.merge, sorted((cls.from_json(one) for one in given), key=lambda one: one.pool))
        keys = ("detector", "pool", "left_out", "object_score", "frames", "n", "mean", "m2")
        if not isinstance(given, Mapping) or not set(keys) <= set(given):
            raise InvalidArgument(f"statistics are an object with {', '.join(keys)}; send them as `select` gave them")
        pool, left_out, score, frames = given["pool"], given["left_out"], given["object_score"], given["frames"]
        good = isinstance(given["detector"], str) and _texts(pool) and _texts(left_out)
        good = good and isinstance(frames, int) and not isinstance(frames, bool) and frames >= 0
        if not good or not (score is None or isinstance(score, int | float)):
            raise InvalidArgument("statistics are not those that `select` gave; leave them out to have them taken anew")
        moments = Moments.from_json({key: given[key] for key in ("n", "mean", "m2")})
        faint = None if given.get("faint") is None else _moments(given["faint"])
        return cls(given["detector"], tuple(sorted(pool)), tuple(sorted(left_out)), score, frames, moments, faint)


def _plain(faint: Moments) -> dict[str, float]:
    """Return moments of one number as JSON; 0 where there are none."""
    return {"n": faint.n, "mean": float(faint.mean[0]), "m2": float(faint.m2[0])}


def _moments(given: Any) -> Moments:
    """Read what `_plain` returned. Raises InvalidArgument for anything else."""
    if not isinstance(given, Mapping) or set(given) != {"n", "mean", "m2"}:
        raise InvalidArgument("faint of statistics is an object with n, mean, m2; send them as `select` gave them")
    values = {key: {ENTROPY: given[key]} for key in ("mean", "m2")}  # one number, read as the other moments of one
    return Moments.from_json({"n": given["n"], **values})


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _objects(left_out: tuple[str, ...], score: float | None) -> str:
    """Return in words which objects count."""
    of = "all classes" + (f" but {', '.join(left_out)}" if left_out else "")
    return f"objects of {of}" + ("" if score is None else f" with a score of {score:g} or more")


def statistics(pool: Pool, left_out: tuple[str, ...] = ()) -> Statistics:
    """Return the statistics of all objects of a pool except those of the classes that are left out."""
    wanted = np.array([label not in left_out for label in pool.labels], bool)
    frames, moments, faint = 0, Moments(), Moments()
    for batch in pool.batches():
        callers.check()
        frames += len(batch.frame)
        moments = moments.merge(batch.only(wanted).moments())
        if batch.faint is not None:
            faint = faint.merge(Moments.of(batch.faint[~np.isnan(batch.faint)][:, None]))
    return Statistics(pool.detector, (pool.version,), left_out, pool.object_score, frames, moments, faint)
