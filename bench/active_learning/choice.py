"""Which frames of a pool to label next: by four uncertainties, by the entropy of the classes, by chance.

Everything is chosen from `Views`: what one detector saw in the frames of the pool. A frame without an object has no
uncertainty. `select` lists such frames and never picks them; here, where a budget is to be spent, they come after all
others, in the order of chance.
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
LEAST_SCORE = 0.2  # of what is kept of a frame, so that another OBJECT_SCORE can be tried without the network


@dataclass(frozen=True)
class Views:
    """What a detector saw in frames. names: [f]; counts: int64 [f] objects of each, one after the other;
    rows: float32 [r, 16] as `Detections.as_array`; entropy: float32 [r], nats."""

    names: tuple[str, ...]
    counts: np.ndarray
    rows: np.ndarray
    entropy: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], seen: Sequence[tuple[Detections, np.ndarray]]) -> Views:
        """seen: of each frame its detections and their entropies."""
        rows = [found.as_array() for found, _ in seen]
        return cls(
            tuple(names),
            np.array([len(r) for r in rows], np.int64),
            np.concatenate([np.zeros((0, 16), np.float32), *rows]),
            np.concatenate([np.zeros(0, np.float32), *(entropy for _, entropy in seen)]),
        )

    def save(self, path: Path) -> None:
        np.savez_compressed(path, names=np.array(self.names), counts=self.counts, rows=self.rows, entropy=self.entropy)

    @classmethod
    def load(cls, path: Path) -> Views:
        with np.load(path) as stored:
            names = tuple(str(name) for name in stored["names"])
            return cls(names, stored["counts"], stored["rows"], stored["entropy"])

    def only(self, wanted: Sequence[str], least: float) -> Views:
        """The frames of these names, and of their objects those with a score of `least` or more."""
        chosen = np.isin(np.array(self.names), np.array(list(wanted)))
        owner = np.repeat(np.arange(len(self.names)), self.counts)
        kept = chosen[owner] & (self.rows[:, 1] >= np.float32(least))
        counts = np.bincount(owner[kept], minlength=len(self.names))[chosen]
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        return Views(names, counts.astype(np.int64), self.rows[kept], self.entropy[kept])


def see(tensors: dict[str, np.ndarray], reading: Reading) -> tuple[Detections, np.ndarray]:
    """The objects of one image, `LEAST_SCORE` or better, and the entropy of each one's classes, float32 [m], nats.

    tensors: the raw heads by name, with a batch axis of 1. reading: how their network wrote them. The probabilities are
    those of the prior that the box came from, background included; a box names its prior by its class and its score.
    """
    heads = Heads.of(tensors)
    found = mixtures.detections(heads, None, mixtures.Options(min_score=LEAST_SCORE, **asdict(reading)))[0]
    mixed = mixtures.mix_class(heads.class_mean[0], None, heads.class_weight[0]).mean  # [N, C]
    entropy = -(mixed * np.log(np.maximum(mixed, 1e-12))).sum(axis=1)
    nearest = [np.abs(mixed[:, c + 1] - s).argmin() for c, s in zip(found.classes, found.scores, strict=True)]
    return found, entropy[np.array(nearest, np.int64)].astype(np.float32)


# ------------------------------------------------------------------------------------------------ strategies


def chance(names: Sequence[str], seed: int) -> list[str]:
    """The pool in an order of chance: the start set is its beginning, and `random` goes on along it."""
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
    aggregate: str = "max",
) -> list[str]:
    """The next `count` frames to label, fewer where the pool ends. views: of all frames of the pool, labelled or not.

    sluice: `selection.choice.select` over the unlabelled frames. entropy: the greatest entropy of any object of the
    frame. random: the next of `chance`; needs no views.
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
        order = list(selection.select(Seen(seen, least), Options(n=count, aggregate=aggregate)).frames)
    picked = [seen.names[i] for i in order][:count]
    rest = [name for name in left if name not in set(picked)]
    return picked + rest[: count - len(picked)]


class Seen:
    """Views as the pool that `select` works on; ties go by name."""

    detector, labels = "a detector of this benchmark", LABELS

    def __init__(self, views: Views, least: float):
        self.views, self.object_score, self.version = views, least, "the unlabelled frames"
        self.objects = Detections.from_array(views.rows)
        self.rank = np.argsort(np.argsort(np.array(views.names)))

    def batches(self) -> Iterator[Batch]:
        yield self.of(np.arange(len(self.views.names)))

    def of(self, frames: np.ndarray) -> Batch:
        counts, stops = self.views.counts[frames], np.cumsum(self.views.counts)
        spans = [np.arange(stops[f] - self.views.counts[f], stops[f]) for f in frames]
        rows = np.concatenate([np.zeros(0, np.int64), *spans])
        found = self.objects.take(rows)
        kinds, values = found.classes.astype(np.int64), found.types().astype(np.float64)
        return Batch(frames.astype(np.int64), np.ones(len(frames), bool), counts, kinds, values)

    def ranks(self, frames: np.ndarray) -> np.ndarray:
        return self.rank[frames]

    def drives(self, frames: np.ndarray) -> np.ndarray:
        return np.zeros(len(frames), np.int64)

    def descriptors(self, frames: np.ndarray) -> np.ndarray:
        raise ValueError("this benchmark chooses without diversity")
