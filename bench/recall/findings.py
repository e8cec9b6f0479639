"""Holds what an experiment of recall is given, what it returns, and how its table and claims are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import report
from bench.intervals import paired
from bench.recall.scores import METHODS, Extractor

RECALL, TIMES = "recall@10", "times"
EVALUATION, HELD_OUT = "evaluation", "held-out"  # the drives that are searched
FULL, FAST, QUICK = "full", "fast", "quick"  # the lengths of a run


@dataclass(frozen=True)
class Setting:
    """The input of every experiment.

    camvid: folder of the CamVid data set. seeds: repetitions of an experiment that draws at random. drives: EVALUATION
    searches the drive on which no choice is made, HELD_OUT the stretches of the training drives that are held out, on
    which choices are made. length: FULL; FAST takes fewer frames, sizes and seeds; QUICK takes so few that the figures
    mean nothing, to see that the experiment runs.
    """

    extract: Extractor
    camvid: Path
    seeds: int
    length: str = FULL
    drives: str = EVALUATION


@dataclass(frozen=True)
class Case:
    """The queries of an experiment under one condition, which is one row of the table.

    labels: the first columns of the row. figure: [M, Q] per method and query, what the table is about.
    chance: the figure of a random order, None in a table that does not give it. precision: [M, Q] average precision,
    None in a table that does not give it besides. asked: [Q] names of the queries' objects, whose queries are drawn
    together in a bootstrap; empty where each query has its own object.
    """

    labels: tuple[Any, ...]
    figure: np.ndarray
    chance: float | None = None
    precision: np.ndarray | None = None
    asked: Sequence[str] = ()

    def row(self) -> tuple[Any, ...]:
        """Return the row: labels, count of queries, mean per method, spread of the first method, chance, mean AP."""
        chance = () if self.chance is None else (self.chance,)
        precision = () if self.precision is None else tuple(self.precision.mean(axis=1))
        means = self.figure.mean(axis=1)
        return *self.labels, self.figure.shape[1], *means, float(self.figure[0].std()), *chance, *precision

    def by_object(self) -> list[np.ndarray]:
        """Return the figures of the served method, per object those of its queries."""
        asked = np.array(self.asked or range(self.figure.shape[1]))
        return [self.figure[0, asked == name] for name in dict.fromkeys(asked.tolist())]


@dataclass(frozen=True)
class Claim:
    """One claim, with the arguments of `report.claim`."""

    name: str
    value: float | None
    mark: float
    holds: bool
    unit: str
    spread: Any = None
    reason: str | None = None


@dataclass(frozen=True)
class Findings:
    """The result of an experiment.

    labels: titles of the columns that every case's `labels` fill. methods: of the rows of every case's figure; the
    first is the method that is served.
    """

    title: str
    labels: tuple[str, ...]
    cases: list[Case]
    claims: list[Claim] = field(default_factory=list)
    methods: tuple[str, ...] = METHODS

    def show(self) -> None:
        """Print the table of all cases, then the claims."""
        chance = () if self.cases[0].chance is None else ("chance",)
        precision = () if self.cases[0].precision is None else tuple(f"AP {method}" for method in self.methods)
        columns = (*self.labels, "queries", *self.methods, "spread over queries (sd)", *chance, *precision)
        report.table(self.title, columns, [case.row() for case in self.cases])
        for claim in self.claims:
            report.claim(**vars(claim))


def show_difference(before: Findings, after: Findings) -> None:
    """Print by how much the served method differs between two networks that were asked the same queries.

    The interval is the middle 95 % of a bootstrap over the queries' objects.
    """
    rows = []
    for old, new in zip(before.cases, after.cases, strict=True):
        if old.labels != new.labels or list(old.asked) != list(new.asked):
            raise ValueError(f"expected the same queries of both networks; got {old.labels} and {new.labels}")
        each = old.by_object(), new.by_object()
        rows.append((*old.labels, len(each[0]), *map(_mean, each), *paired(_mean, *each)))
    columns = (*after.labels, "objects", "before", "after", "difference", "low", "high")
    report.table(f"{after.title}: the difference that the weights make, paired by query", columns, rows)


def _mean(by_object: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(by_object).mean())


def at_least(name: str, value: float, mark: float, unit: str, spread: Any = None) -> Claim:
    """Return the claim that a value reaches its mark."""
    return Claim(name, value, mark, bool(value >= mark), unit, spread)


def times_better(means: np.ndarray) -> float:
    """Return by how many times Deep Template Matching beats the better pooling. means: [3], in the order of METHODS."""
    return float(means[0] / max(means[1:].max(), 1e-9))
