"""Turns the trainings of the active-learning benchmark into curves, areas, paired differences, and the words
for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import report
from bench.active_learning.choice import STRATEGIES
from bench.active_learning.data import LABELS
from bench.active_learning.training import Result, Settings
from bench.intervals import STUDENT

NONE, START, ALL = "none", "start", "all"
# What a reader must know about the data before reading a table's figures.
WORDS = {
    "real": "the shipped detector meets CamVid's drive 0006R0, of which it has seen nothing; pool and test are other "
    "stretches of that one drive, one frame per second, so neighbours look alike and a choice may spend labels on "
    "near-duplicates",
    "generated": "a detector that knows CamVid's training drives and scenes by day meets scenes by day, at dusk and by "
    "night; every frame is another street, there are no duplicates",
}


@dataclass(frozen=True)
class Point:
    """One training of a plan. Cycle 0 is the start that all strategies of a seed share."""

    data_set: str
    strategy: str
    seed: int
    cycle: int
    result: Result | None = None
    labelled: tuple[str, ...] = ()


def curve(points: Sequence[Point], strategy: str, cycles: int) -> np.ndarray:
    """Return the mean average precision of a strategy, [seeds, cycles + 1], the shared start first; NaN where a
    training is missing."""
    found = {(p.seed, p.cycle): p.result.mean for p in points if p.strategy in (strategy, START) and p.result}
    seeds = sorted({p.seed for p in points})
    return np.array([[found.get((seed, cycle), math.nan) for cycle in range(cycles + 1)] for seed in seeds])


def area(curve_: np.ndarray) -> np.ndarray:
    """Return the mean height of curves [..., cycles + 1] over the labels by the trapezoidal rule: [...]. Cycles are
    equally far apart."""
    return (curve_[..., 1:] + curve_[..., :-1]).mean(axis=-1) / 2


@dataclass(frozen=True)
class Difference:
    """The difference of paired values, one pair per seed.

    mean; spread: standard deviation over seeds; above: seeds with a difference above 0, of n; half: half of the 95 %
    interval of the mean.
    """

    mean: float
    spread: float
    above: int
    n: int
    half: float

    @classmethod
    def of(cls, ours: np.ndarray, theirs: np.ndarray) -> Difference:
        """Compare ours with theirs, [seeds] each."""
        difference = ours - theirs
        n = len(difference)
        spread = float(difference.std(ddof=1)) if n > 1 else math.nan
        half = STUDENT[min(n - 1, len(STUDENT) - 1)] * spread / math.sqrt(n)
        return cls(float(difference.mean()), spread, int((difference > 0).sum()), n, half)

    @property
    def word(self) -> str:
        """Return what the interval allows to say."""
        if self.mean - self.half > 0:
            return "better than chance"
        return "worse than chance" if self.mean + self.half < 0 else "not told apart from chance"


def shown(values: np.ndarray) -> str:
    """Return the mean, and the standard deviation over seeds if there are several."""
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


# ------------------------------------------------------------------------------------------------ tables


def show(name: str, points: Sequence[Point], known: Mapping[str, Any], sizes: Sequence[int], s: Settings) -> None:
    """Print all tables of a data set. known: as `training.facts` returns. sizes: frames labelled in each cycle."""
    cycles = len(sizes) - 1
    found = {strategy: curve(points, strategy, cycles) for strategy in STRATEGIES}
    seeds, pool = len(found["random"]), len(known["pool"])
    rows: list[Sequence[Any]] = [
        (strategy, *(shown(values[:, c]) for c in range(cycles + 1)), shown(area(values)))
        for strategy, values in found.items()
    ]
    before = next(p.result.mean for p in points if p.strategy == NONE and p.result)
    whole = np.array([p.result.mean for p in points if p.strategy == ALL and p.result])
    report.say(
        f"\n{name}: {WORDS[name]}. sluice: four uncertainties, z over the unlabelled pool, the greatest; entropy: of "
        "the class probabilities, the greatest of a frame's objects; both of objects with a score of 0.5 or more, "
        "frames without one last. The strategies of a seed share the first frames; each cycle goes on from the one "
        "before (published work trains anew)."
    )
    report.table(
        f"{name}: mAP at IoU 0.5 on {known['test']} test frames, mean ± sd over {seeds} seeds; {s.steps} steps of "
        f"{s.batch} crops of {s.crop} pixels per cycle, {s.kept:.0%} of them of what the start knows; pool of {pool}",
        ("choice", *(f"{size} labelled" for size in sizes), "mean of curve"),
        rows,
    )
    report.table(
        f"{name}: what the curves lie between, mAP of one run each",
        ("labelled", "mAP"),
        [("none: the start", before), (f"all {pool} at once, as many steps as a whole curve", float(whole.mean()))],
    )
    report.table(
        f"{name}: points of mAP above random, paired by seed (same start set and crops' seeds); the interval is "
        "Student's, 95 %, uncorrected for the number of comparisons",
        ("choice", "where", "mean", "sd", "± of the mean", "seeds above", "so"),
        differences(points, found, sizes),
    )
    report.table(
        f"{name}: objects labelled at {sizes[-1]} frames, and average precision there",
        ("", "", *LABELS),
        classes(points, known, cycles),
    )
    gained(name, area(found["sluice"]), area(found["random"]))


def differences(points: Sequence[Point], found: Mapping[str, np.ndarray], sizes: Sequence[int]) -> list[Sequence[Any]]:
    """Return rows: each strategy against random, at each number of labels and over the curve."""
    random = found["random"]
    pairs: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for strategy, values in found.items():
        if strategy != "random":
            pairs += [(strategy, f"{size} labelled", values[:, c], random[:, c]) for c, size in enumerate(sizes) if c]
            pairs.append((strategy, "mean of curve", area(values), area(random)))
    rows: list[Sequence[Any]] = []
    for strategy, where, ours, theirs in pairs:
        d = Difference.of(100 * ours, 100 * theirs)
        rows.append((strategy, where, d.mean, d.spread, d.half, f"{d.above}/{d.n}", d.word))
    return rows


def classes(points: Sequence[Point], known: Mapping[str, Any], cycles: int) -> list[Sequence[Any]]:
    """Return rows: for each strategy after the last cycle, how many objects of each class were labelled, and the
    average precision of that class; means over seeds."""
    rows: list[Sequence[Any]] = []
    for what, row in (("objects", lambda r: r.objects), ("AP", lambda r: r.each)):
        for strategy in STRATEGIES:
            last = [p.result for p in points if p.strategy == strategy and p.cycle == cycles and p.result]
            rows.append((strategy, what, *np.mean([row(result) for result in last], axis=0).tolist()))
    return [*rows, ("pool", "objects", *known["pool objects"]), ("test", "objects", *known["test objects"])]


def gained(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Print the claim that our score was worth its cost. ours, theirs: [seeds], mean of each curve."""
    d, each = Difference.of(100 * ours, 100 * theirs), 100 * (ours - theirs)
    report.claim(
        f"active learning, {name}: our score above random, mean of curve",
        d.mean,
        0.0,
        d.word == "better than chance",
        "points of mAP",
        [float(each.min()), float(each.max())],
        f"{d.above} of {d.n} seeds above, ± {d.half:.2g} of the mean: {d.word}",
    )
