"""Compares the verb `sample`, asked by several callers of the server, with the same work in one process."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np
from PIL import Image
from sluice_client import Sluice

from bench import report
from bench.callers import throughput
from bench.score_graphs import shipped
from sluice.methods.genie import pictures
from sluice.methods.genie.solvers import SOLVERS
from sluice.methods.genie.trajectory import Call, Options, noise, sample

MODELS = ("sample", "digits_score", "digits_curvature")
SOLVER: Final = "genie"
OPTIONS = Options(solver=SOLVER, steps=10, grid=SOLVERS[SOLVER].grid)  # the grid that the verb takes from seeds
SHAPE = (1, 32, 32)
CASES = ((1, 16), (2, 16), (4, 16), (8, 16), (1, 64))  # callers, images per request
CLAIMED = ((8, 16), (1, 64))
SINGLE = (1, 2, 4, 8, 16)  # callers of one image each
MARK = 0.9


class InProcess:
    """The network in this process: the calling thread computes what the loop asks for."""

    def __init__(self) -> None:
        self.curvature = shipped("digits_curvature")

    def sample(self, first: int, count: int) -> list[bytes]:
        """Return the PNGs of `count` seeds, classes 0 to 9 in turn."""
        labels = np.arange(first, first + count)[:, None] % 10

        def network(call: Call) -> tuple[np.ndarray, np.ndarray]:
            given = {"SAMPLE": call.x.astype(np.float32), "TIME": call.t.astype(np.float32)[:, None], "LABEL": labels}
            eps, derivative = self.curvature.run(["EPSILON", "DERIVATIVE"], given)
            return eps, derivative

        found = sample(network, noise(range(first, first + count), SHAPE), OPTIONS)
        return [pictures.png(image) for image in found]


def served(client: Sluice, first: int, count: int) -> Any:
    """Ask the server for the same images. Returns a `Samples`."""
    seeds = range(first, first + count)
    return client.sample(
        "digits", seeds=seeds, labels=[seed % 10 for seed in seeds], solver=SOLVER, steps=OPTIONS.steps
    )


def same(client: Sluice, here: InProcess) -> None:
    """Raise SystemExit if the two sides make different pictures."""
    found, expected = served(client, 7, 4).array(), here.sample(7, 4)
    levels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in expected]).astype(int)
    if np.abs(levels - found).max() > 1:
        raise SystemExit("the server's pictures are not those of this process: its graphs are others; run: make export")


def measure(client: Sluice, rounds: int, seconds: float) -> None:
    """Print images/s of each case through the server and of one thread per core in this process, and the claims."""
    cores, here = len(os.sched_getaffinity(0)), InProcess()
    same(client, here)

    def alone(count: int) -> Callable[[int], Any]:
        return lambda i: here.sample(i * count, count)

    def through(count: int) -> Callable[[int], Any]:
        return lambda i: served(client, i * count, count)

    sizes = sorted({images for _, images in CASES})
    sides: dict[Any, tuple[Callable[[int], Any], int]] = {}
    for size in sizes:
        sides[size] = alone(size), cores
    for callers, size in CASES:
        sides[callers, size] = through(size), callers
    rates = races(sides, rounds, seconds)
    rows = []
    for callers, size in CASES:
        server, process = size * np.array(rates[callers, size]), size * np.array(rates[size])
        share = server / process
        rows.append([callers, size, median(server), median(process), median(share), min(share), max(share)])
    report.table(
        f"sample, digits, {OPTIONS.solver} in {OPTIONS.steps} steps, images/s: server against {cores} threads in one "
        "process",
        ["callers", "images per request", "server", "in process", "share", "least", "most"],
        rows,
    )  # fmt: skip
    for callers, size, _, _, share, low, high in rows:
        if (callers, size) in CLAIMED:
            report.claim(
                f"sample through the server, callers: {callers}, images per request: {size}",
                share, MARK, bool(share >= MARK), "of in-process", [low, high],
            )  # fmt: skip


def together(client: Sluice, rounds: int, seconds: float) -> None:
    """Print images/s of callers of one image each, and how many rows per network call had."""
    asked: dict[int, list[float]] = {callers: [] for callers in SINGLE}

    def one(callers: int) -> Callable[[int], Any]:
        return lambda i: asked[callers].append(float(served(client, i, 1).end.more.get("rows_a_call", np.nan)))

    rates = races({callers: (one(callers), callers) for callers in SINGLE}, rounds, seconds)
    alone = np.array(rates[SINGLE[0]])
    rows = [
        [callers, median(rates[callers]), median(np.array(rates[callers]) / alone), float(np.mean(asked[callers]))]
        for callers in SINGLE
    ]
    report.table(
        f"sample, digits, {OPTIONS.solver} in {OPTIONS.steps} steps: concurrent callers of one image each",
        ["callers", "images/s", "times one after the other", "rows per network call"],
        rows,
    )


def races(sides: dict[Any, tuple[Callable[[int], Any], int]], rounds: int, seconds: float) -> dict[Any, list[float]]:
    """Return calls per second of each side in each round. sides: (function called with a running number, callers)."""
    for work, callers in sides.values():
        throughput(work, callers, min(seconds, 1.0))
    rates: dict[Any, list[float]] = {key: [] for key in sides}
    for _ in range(rounds):
        for key, (work, callers) in sides.items():
            rates[key].append(throughput(work, callers, seconds))
    return rates
