"""Holds quantiles for confidence intervals, and the bootstrap of a paired difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


def paired(
    metric: Callable[[Sequence[Any]], float],
    before: Sequence[Any],
    after: Sequence[Any],
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return metric(after) - metric(before), and the middle 95 % of it when inputs are drawn with replacement.

    before, after: what is known of each input, in the same order; every draw takes the same inputs of both.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"expected the same inputs on both sides, at least one; got {len(before)} and {len(after)}")
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(resamples):
        chosen = rng.integers(len(before), size=len(before))
        drawn.append(metric([after[i] for i in chosen]) - metric([before[i] for i in chosen]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return metric(after) - metric(before), float(low), float(high)
