"""What the curvature head adds to a score network's time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import onnxruntime

from bench import report
from bench.score_graphs import shipped

MODELS = ("digits", "streets")
BATCHES = (1, 16, 64)
MARK = 0.15


def feeds(network: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """Inputs for a batch: noise, times all over, class 0."""
    rng = np.random.default_rng(0)
    made = {}
    for given in network.get_inputs():
        shape = [batch, *given.shape[1:]]
        if given.name == "SAMPLE":
            made[given.name] = rng.standard_normal(shape, np.float32)
        elif given.name == "TIME":
            made[given.name] = rng.uniform(1e-3, 1, shape).astype(np.float32)
        else:
            made[given.name] = np.zeros(shape, np.int64)
    return made


def seconds(networks: Sequence[onnxruntime.InferenceSession], batch: int, rounds: int) -> np.ndarray:
    """Processor time of each network in each round, [networks, rounds]; they take turns, another begins each round.

    Processor time of this thread, which is the one that a session of one thread computes in: what else runs on the
    machine moves it little.
    """
    given = [feeds(network, batch) for network in networks]
    times = np.zeros((len(networks), rounds + 1))
    for r in range(rounds + 1):
        for i in range(len(networks)):
            turn = (r + i) % len(networks)
            begin = time.thread_time()
            networks[turn].run(None, given[turn])
            times[turn, r] = time.thread_time() - begin
    return times[:, 1:]  # the first is not counted


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
        "eps, ms an image",
        "eps and derivative, ms",
        "head's share",
        "quarter",
        "three quarters",
    ]
    report.table(f"processor time of the networks, one thread, median of {rounds} and more", columns, rows)
