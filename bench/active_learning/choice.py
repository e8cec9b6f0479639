"""Chooses which frames of a pool to label next: by four uncertainties, by the entropy of the classes, at random.

Every choice is made from `Views`, what one detector saw in the frames of the pool. A frame without an object has no
uncertainty. `select` lists such frames and never picks them; here, where a budget is to be spent, they come after all
others, in random order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.active_learning.data import LABELS
from sluice.methods import mixtures, selection
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.options import Reading
from sluice.methods.mixtures.summaries import Detections
from sluice.methods.selection.options import Options
from sluice.methods.selection.pool import Batch

STRATEGIES = ("sluice", "random", "entropy")
OBJECT_SCORE = 0.5  # least score of an object, as published
LEAST_SCORE = (
    0.2  # least score of the objects that are kept, so that another OBJECT_SCORE can be tried without the network
)


@dataclass(frozen=True)
class Views:
    """The objects that a detector found in frames.

    names: [f]. counts: int64 [f] objects per frame. rows: float32 [r, 16] of all frames one after the other, as
    `Detections.as_array`. entropy: float32 [r], nats.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    rows: np.ndarray
    entropy: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], seen: Sequence[tuple[Detections, np.ndarray]]) -> Views:
        """Gather what was seen. seen: per frame its detections and their entropies."""
        rows = [found.as_array() for found, _ in seen]
        return cls(
            tuple(names),
            np.array([len(r) for r in rows], np.int64),
            np.concatenate([np.zeros((0, 16), np.float32), *rows]),
            np.concatenate([np.zeros(0, np.float32), *(entropy for _, entropy in seen)]),
        )

    def save(self, path: Path) -> None:
        """Write the views to a file of NumPy arrays (.npz)."""
        np.savez_compressed(path, names=np.array(self.names), counts=self.counts, rows=self.rows, entropy=self.entropy)

    @classmethod
    def load(cls, path: Path) -> Views:
        """Read the views that `save` wrote."""
        with np.load(path) as stored:
            names = tuple(str(name) for name in stored["names"])
            return cls(names, stored["counts"], stored["rows"], stored["entropy"])

    def only(self, wanted: Sequence[str], least: float) -> Views:
        """Return the frames of these names, and of their objects those with a score of `least` or more."""
        chosen = np.isin(np.array(self.names), np.array(list(wanted)))
        owner = np.repeat(np.arange(len(self.names)), self.counts)
        kept = chosen[owner] & (self.rows[:, 1] >= np.float32(least))
        counts = np.bincount(owner[kept], minlength=len(self.names))[chosen]
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        return Views(names, counts.astype(np.int64), self.rows[kept], self.entropy[kept])


def see(tensors: dict[str, np.ndarray], reading: Reading) -> tuple[Detections, np.ndarray]:
    """Return the objects of one image with a score of `LEAST_SCORE` or more, and the entropy of their classes, float32
    [m], nats.

    tensors: the raw heads by name, with a batch axis of 1. reading: how their network wrote them. The probabilities are
    those of the prior box that the object came from, background included; an object is matched to its prior by its
    class and its score.
    """
    heads = Heads.of(tensors)
    found = mixtures.detections(heads, None, mixtures.Options(min_score=LEAST_SCORE, **asdict(reading)))[0]
    mixed = mixtures.mix_class(heads.class_mean[0], None, heads.class_weight[0]).mean  # [N, C]
    entropy = -(mixed * np.log(np.maximum(mixed, 1e-12))).sum(axis=1)
    nearest = [np.abs(mixed[:, c + 1] - s).argmin() for c, s in zip(found.classes, found.scores, strict=True)]
    return found, entropy[np.array(nearest, np.int64)].astype(np.float32)


# ------------------------------------------------------------------------------------------------ strategies


def chance(names: Sequence[str], seed: int) -> list[str]:
    """Return the pool in random order. The start set is its beginning, and the strategy `random` goes on along it."""
    order = np.random.default_rng((seed, 1)).permutation(len(names))
    return [names[i] for i in order]


def choose(
    strategy: str,
    views: Views | None,
    pool: Sequence[str],
    labelled: Sequence[str],
    count: int,
    seed: int,
    least: float = OBJECT_SCORE,
) -> list[str]:
    """Return the next `count` frames to label, or fewer where the pool ends.

    views: of all frames of the pool, labelled or not. Strategies: `sluice` is `selection.choice.select` over the
    unlabelled frames. `entropy` takes the greatest entropy of any object of the frame. `random` takes the next of
    `chance` and needs no views.
    """
    left = [name for name in chance(pool, seed) if name not in set(labelled)]
    if strategy == "random":
        return left[:count]
    if strategy not in STRATEGIES or views is None:
        raise ValueError(f"expected a strategy of {', '.join(STRATEGIES)} with what was seen, got {strategy!r}")
    seen = views.only(left, least)
    if strategy == "entropy":
        best = selection.frame_z(seen.entropy[:, None].astype(np.float64), seen.counts)[:, 0]
        order = [i for i in np.argsort(-best, kind="stable") if seen.counts[i]]
    else:
        order = list(selection.select(Seen(seen, least), Options(n=count)).frames)
    picked = [seen.names[i] for i in order][:count]
    rest = [name for name in left if name not in set(picked)]
    return picked + rest[: count - len(picked)]


class Seen:
    """Views as the pool that `select` works on; equal scores are ordered by name."""

    detector, labels = "a detector of this benchmark", LABELS

    def __init__(self, views: Views, least: float):
        self.views, self.object_score, self.version = views, least, "the unlabelled frames"
        self.objects = Detections.from_array(views.rows)
        self.rank = np.argsort(np.argsort(np.array(views.names)))

    def batches(self) -> Iterator[Batch]:
        """Yield all frames as one batch."""
        yield self.of(np.arange(len(self.views.names)))

    def of(self, frames: np.ndarray) -> Batch:
        """Return the batch of some frames, given by their positions."""
        counts, stops = self.views.counts[frames], np.cumsum(self.views.counts)
        spans = [np.arange(stops[f] - self.views.counts[f], stops[f]) for f in frames]
        rows = np.concatenate([np.zeros(0, np.int64), *spans])
        found = self.objects.take(rows)
        kinds, values = found.classes.astype(np.int64), found.types().astype(np.float64)
        return Batch(frames.astype(np.int64), np.ones(len(frames), bool), counts, kinds, values)

    def ranks(self, frames: np.ndarray) -> np.ndarray:
        """Return the order of the frames among equal scores."""
        return self.rank[frames]

    def drives(self, frames: np.ndarray) -> np.ndarray:
        """Return 0 for every frame: all are of one drive."""
        return np.zeros(len(frames), np.int64)

    def descriptors(self, frames: np.ndarray) -> np.ndarray:
        """Raise ValueError, because this benchmark chooses without diversity."""
        raise ValueError("this benchmark chooses without diversity")
