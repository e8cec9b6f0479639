"""Says what a task is: the work that a graph is judged by, and the score of that work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.networks.engines import Run

# Returns what is known of each input, in an order that depends on the data alone; `metric` makes a number of it.
Work = Callable[[Run], list[Any]]


def average(pieces: Sequence[float]) -> float:
    """Return the mean of one number per input."""
    return float(np.mean(pieces))


@dataclass(frozen=True)
class Task:
    """The work that one graph is judged by.

    metric: in words, with the unit. prepare: data folder or None for generated data, number of inputs -> the work and
    the data in words. score: pieces of a work -> the metric. inputs: number of them, and with --quick. better: 1 where
    more is better, -1 where less is. resamples: of the bootstrap.
    """

    metric: str
    prepare: Callable[[Path | None, int], tuple[Work, str]]
    score: Callable[[Sequence[Any]], float] = average
    inputs: int = 32
    quick: int = 3
    better: int = 1
    resamples: int = 1000

    def loss(self, whole: float, value: float) -> float:
        """Return the share of the metric that is lost, negative where it got better."""
        return self.better * (whole - value) / abs(whole) if whole else float("nan")
