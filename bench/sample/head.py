"""Measures the time that the curvature head adds to a score network."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from bench import report
from bench.score_graphs import seconds, shipped

MODELS = ("digits", "streets")
BATCHES = (1, 16, 64)
MARK = 0.15


def measure(rounds: int, names: Sequence[str] = MODELS) -> None:
    """Print the time of both graphs of each model by batch, and the claim for each model."""
    rows = []
    for name in names:
        pair = [shipped(f"{name}_score"), shipped(f"{name}_curvature")]
        shares = {}
        for batch in BATCHES:
            score, curvature = seconds(pair, batch, rounds * (4 if batch == 1 else 1))
            shares[batch] = np.quantile(curvature / score - 1, (0.5, 0.25, 0.75))
            each = [1000 * median(times) / batch for times in (score, curvature)]
            rows.append([name, batch, *each, *shares[batch]])
        worst = max(shares, key=lambda batch: shares[batch][0])
        share, low, high = shares[worst]
        report.claim(
            f"time of the head, {name}", share, MARK, bool(share <= MARK), "of the network's", [low, high],
            f"the most is at batch {worst}",
        )  # fmt: skip
    columns = [
        "model",
        "batch",
        "eps, ms per image",
        "eps and derivative, ms",
        "head's share",
        "quarter",
        "three quarters",
    ]
    report.table(f"processor time of the networks, one thread, median of {rounds} and more", columns, rows)
