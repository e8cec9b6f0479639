"""Holds what an experiment of recall is given, what it returns, and how its table and claims are printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import report
from bench.recall.scores import METHODS, Extractor

RECALL, TIMES = "recall@10", "times"


@dataclass(frozen=True)
class Setting:
    """The input of every experiment.

    camvid: folder of the CamVid data set. seeds: repetitions of an experiment that draws at random. quick: True takes a
    few frames and queries, to see that the experiment runs; its figures mean nothing.
    """

    extract: Extractor
    camvid: Path
    seeds: int
    quick: bool


@dataclass(frozen=True)
class Case:
    """The queries of an experiment under one condition, which is one row of the table.

    labels: the first columns of the row. figure: [3, Q] per method and query, what the table is about; rows as METHODS.
    chance: the figure of a random order, None in a table that does not give it. precision: [3, Q] average precision,
    None in a table that does not give it besides.
    """

    labels: tuple[Any, ...]
    figure: np.ndarray
    chance: float | None = None
    precision: np.ndarray | None = None

    def row(self) -> tuple[Any, ...]:
        """Return the row: labels, count of queries, mean per method, spread of the first method, chance, mean AP."""
        chance = () if self.chance is None else (self.chance,)
        precision = () if self.precision is None else tuple(self.precision.mean(axis=1))
        means = self.figure.mean(axis=1)
        return *self.labels, self.figure.shape[1], *means, float(self.figure[0].std()), *chance, *precision


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
    """The result of an experiment. labels: titles of the columns that every case's `labels` fill."""

    title: str
    labels: tuple[str, ...]
    cases: list[Case]
    claims: list[Claim] = field(default_factory=list)

    def show(self) -> None:
        """Print the table of all cases, then the claims."""
        chance = () if self.cases[0].chance is None else ("chance",)
        precision = () if self.cases[0].precision is None else tuple(f"AP {method}" for method in METHODS)
        columns = (*self.labels, "queries", *METHODS, "spread over queries (sd)", *chance, *precision)
        report.table(self.title, columns, [case.row() for case in self.cases])
        for claim in self.claims:
            report.claim(**vars(claim))


def at_least(name: str, value: float, mark: float, unit: str, spread: Any = None) -> Claim:
    """Return the claim that a value reaches its mark."""
    return Claim(name, value, mark, bool(value >= mark), unit, spread)


def times_better(means: np.ndarray) -> float:
    """Return by how many times Deep Template Matching beats the better pooling. means: [3], in the order of METHODS."""
    return float(means[0] / max(means[1:].max(), 1e-9))
