"""Picks what to label next: the images whose objects stand out from the pool's.

For each type of uncertainty, every object's value is put against the mean and the standard deviation over all objects
of the pool; `sluice.methods.selection.scoring` makes the score of an image of them. The pool is read twice, in batches:
once for its statistics, once for the scores, of which only the best are kept.

Sources: US 12,387,481, [0086] to [0088], [0104] to [0112]; Choi et al., "Active Learning for Deep Object Detection via
Probabilistic Modeling", ICCV 2021, section 3.3. Three inputs on which the published code ends in an error have answers
here: a pool without any object, with exactly one, or with equal ones only; and an image may have any number of boxes.
(The fourth such input is an image without truth, and nothing here asks for truth.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.mixtures.summaries import ENTROPY
from sluice.methods.selection.options import MAX_DIVERSE, MAX_N, Options
from sluice.methods.selection.pool import Batch, Pool, Statistics, statistics
from sluice.methods.selection.reasons import Reasons
from sluice.methods.selection.scoring import Rule, frame_z
from sluice.process import callers

# ------------------------------------------------------------------------------------------------ the best of a stream


class Best:
    """The best frames of a stream: at most n, at most `per_drive` per drive, ties in the order of ids.

    A frame that is dropped early could never come back, because the number of better frames only grows.
    """

    def __init__(self, n: int, per_drive: int | None = None) -> None:
        self.n, self.per_drive = n, per_drive
        self.score = np.zeros(0)
        self.frame, self.rank, self.drive = (np.zeros(0, np.int64) for _ in range(3))

    def floor(self) -> float:
        """Return the score below which a frame is not among the best."""
        return float(self.score[-1]) if len(self.score) == self.n else -math.inf

    def add(self, score: np.ndarray, frame: np.ndarray, rank: np.ndarray, drive: np.ndarray) -> None:
        """Add frames of the stream; all arrays [f]."""
        score = np.concatenate([self.score, score])
        frame, rank, drive = (
            np.concatenate([mine, theirs])
            for mine, theirs in ((self.frame, frame), (self.rank, rank), (self.drive, drive))
        )
        order = np.lexsort((rank, -score))
        if self.per_drive is not None:
            order = order[place_in_group(drive[order]) < self.per_drive]
        order = order[: self.n]
        self.score, self.frame, self.rank, self.drive = score[order], frame[order], rank[order], drive[order]


def place_in_group(group: np.ndarray) -> np.ndarray:
    """Return how many members of the same group stand before each member, int64 [m]."""
    order = np.argsort(group, kind="stable")
    sorted_ = group[order]
    begins = np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]]) if len(group) else np.zeros(0, np.int64)
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.repeat(begins, np.diff(np.r_[begins, len(group)]))
    return place


def k_centre(vectors: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n of m vectors that lie far from each other: the first, then always the one farthest from those chosen.

    vectors: float32 [m, C], the most wanted first, which also decides between equals. The greatest distance of any
    vector to the nearest chosen one is at most twice the least that n centres can reach.
    Returns int64 [n], and the distance of each to the nearest one before it, float64 [n] (inf for the first).
    Source: Gonzalez, 1985; for active learning Sener and Savarese, ICLR 2018.
    """
    n = min(n, len(vectors))
    chosen, distance = np.zeros(n, np.int64), np.full(n, np.inf)
    nearest = np.full(len(vectors), np.inf)
    watch = callers.Watch(callers.checker())
    for i in range(n):
        watch()
        chosen[i] = at = int(np.argmax(nearest))
        distance[i] = nearest[at]
        # From the difference, not from the product, so that two equal vectors are exactly 0 apart.
        apart = np.sqrt(np.square(vectors - vectors[at]).sum(axis=1, dtype=np.float64))
        nearest = np.minimum(nearest, apart)
        nearest[at] = -1.0
    return chosen, distance


# ------------------------------------------------------------------------------------------------ the whole way


@dataclass(frozen=True)
class Selected:
    """The picks, and the frames that were not picked. Frames are the pool's own numbers.

    frames: int64 [n], the best first; with diversity in the order in which they were picked.
    scores: float64 [n]. z: float64 [n, 4], of which the scores are made: per type the sum (mean, greatest) over the
        image's objects. maxima: float64 [n, 4], greatest uncertainty, one column per type. Both are NaN for a type that
        the detector does not give, and [n, 1], of the binary entropy, where it gives no type.
    reasons: [n] sentences.
    without_objects: int64, the first `listed` frames that may be picked but have no object of the wanted classes and
        were not ranked by anything else.
    without: how many such frames there are. faintless: how many of them lack only `Batch.faint`, with `rank_empty`.
    empty: how many frames without an object were ranked.
    reached: how many frames reached the threshold; without a threshold, how many were ranked.
    judged: how many scored frames this pool has.
    statistics: those that the frames were judged by; of another pool if `frozen`.
    """

    frames: np.ndarray
    scores: np.ndarray
    z: np.ndarray
    maxima: np.ndarray
    reasons: tuple[str, ...]
    without_objects: np.ndarray
    without: int
    reached: int
    judged: int
    statistics: Statistics
    frozen: bool = False
    faintless: int = 0
    empty: int = 0


def select(pool: Pool, options: Options) -> Selected:
    """Pick from a pool. Raises InvalidArgument for classes, types or statistics that do not fit it."""
    weight = options.weights(pool.labels)
    wanted = weight > 0
    of, frozen = _statistics(pool, options)
    rule = Rule(of, weight, _types(of, options), options.over_objects, options.aggregate)
    best = Best(_capacity(options), options.per_drive)
    empty: list[np.ndarray] = []
    without = reached = judged = ranked = faintless = 0
    for batch in pool.batches():
        callers.check()
        bare = batch.counts == 0  # of objects of every class, not only of the wanted ones
        batch = batch.only(wanted)
        judged += len(batch.frame)
        score = np.where(batch.counts > 0, rule.scores(rule.frames(batch)), _of_empty(batch, of, options))
        ranks = ~np.isnan(score)
        none = batch.picks & ~ranks
        faintless += int((none & bare).sum()) if options.rank_empty else 0
        ranked += int((batch.picks & ranks & (batch.counts == 0)).sum())
        if without < options.listed:
            empty.append(batch.frame[none][: options.listed - without])
        without += int(none.sum())
        good = batch.picks & ranks
        if options.threshold is not None:
            good &= score >= options.threshold
        reached += int(good.sum())
        good &= score >= best.floor()
        frame = batch.frame[good]
        best.add(score[good], frame, pool.ranks(frame), pool.drives(frame))
    frames, scores, apart = best.frame, best.score, None
    if options.diversity is not None:
        order, apart = k_centre(pool.descriptors(frames), options.count())
        frames, scores = frames[order], scores[order]
    batch = pool.of(frames).only(wanted)
    reasons = Reasons(batch, rule, pool.labels, "the other pool" if frozen else "the pool")
    return Selected(
        frames=frames,
        scores=scores,
        z=_known(rule.frames(batch)),
        maxima=_known(frame_z(batch.values, batch.counts)),
        reasons=reasons.sentences(scores, apart),
        without_objects=np.concatenate([np.zeros(0, np.int64), *empty]),
        without=without,
        reached=reached,
        judged=judged,
        statistics=of,
        frozen=frozen,
        faintless=faintless,
        empty=ranked,
    )


def _of_empty(batch: Batch, of: Statistics, options: Options) -> np.ndarray:
    """Return the scores of the frames in which no object was found, float64 [f]; NaN for those that are not ranked."""
    if batch.faint is None or not options.rank_empty:
        return np.full(len(batch.frame), np.nan)
    return of.faint_z(batch.faint)


def _known(values: np.ndarray) -> np.ndarray:
    """Return values per frame and type, with NaN for frames without an object."""
    return np.where(np.isneginf(values), np.nan, values)


def _capacity(options: Options) -> int:
    """Return how many of the best frames are kept. Raises InvalidArgument for too many."""
    if options.threshold is not None:
        return MAX_N
    n = options.count()
    if options.diversity is None:
        return n
    if n * options.diversity > MAX_DIVERSE:
        raise InvalidArgument(
            f"diversity looks at n * diversity frames, at most {MAX_DIVERSE:,}; got {n:,} * {options.diversity:g}; "
            "make one of them smaller"
        )
    return math.ceil(n * options.diversity)


def _statistics(pool: Pool, options: Options) -> tuple[Statistics, bool]:
    """Return the statistics that judge the pool, and whether they are of another pool. Raises InvalidArgument."""
    given = options.statistics
    if given is None:
        return statistics(pool, options.left_out()), False
    given.expect(pool.detector, options.left_out(), pool.object_score)
    if pool.version in given.pool:
        return given, False
    if not options.frozen:
        raise InvalidArgument(
            f"the statistics are of the pool {', '.join(given.pool)!s:.200}, this pool is {pool.version}: frames, "
            "scores or labels have changed since; leave `statistics` out to have them taken anew, or, where these "
            "images are meant to be judged by another pool, add `frozen`"
        )
    if not given.moments.n or not given.std().any():  # NaN is true; `_types` judges types that are not known
        raise InvalidArgument(
            f"the statistics are of {given.moments.n} objects without any difference, by which nothing outside their "
            "pool can be judged; take them over a pool of more objects"
        )
    return given, True


def _types(of: Statistics, options: Options) -> list[int]:
    """Return the types that decide, as columns. Raises InvalidArgument for a type that the detector does not give.

    A type in which all objects are alike tells nothing, and its 0 must not hide that an image is below the pool in all
    other types. Such types count only if no type tells anything.
    """
    known = of.known()
    names = of.measures()
    missing = [name for name in options.types or () if name not in names or names.index(name) not in known]
    if missing:
        remedy = (
            "leave `types` out to rank by the entropy of the score" if names == (ENTROPY,) else "ask for other `types`"
        )
        raise InvalidArgument(f"the detector {of.detector} gives no {', '.join(missing)}; {remedy}")
    wanted = known if options.types is None else [names.index(name) for name in options.types]
    std = of.std()
    return [t for t in wanted if std[t] > 0] or wanted
