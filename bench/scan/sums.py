"""Measures what verifying check sums costs a search: the same gallery with and without them, in turn."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np

from bench import report
from bench.scan import data
from sluice.methods import matching
from sluice.methods.scan import engine
from sluice.methods.scan.sums import Sums, sums


def with_sums(block: engine.Block) -> engine.Block:
    """Return the block as the gallery gives it, with the check sums of its codes and features."""
    known = np.ones(len(block.codes), bool)
    return replace(block, sums=Sums(codes=sums(block.codes), exact=sums(block.exact), known=known))


def measure(block: engine.Block, templates: list[matching.Templates], rounds: int, threads: int) -> list[float]:
    """Return, per round, the processor time of a search without check sums as a share of that with them."""
    blocks = {"without": block, "with": with_sums(block)}
    ratios = []
    for turn in range(-1, rounds):
        asked = templates[turn % len(templates)]
        seconds = {}
        for name in ("without", "with") if turn % 2 else ("with", "without"):
            started = time.process_time()
            for _ in range(3):
                engine.search([blocks[name]], None, asked, k=10, threads=threads)
            seconds[name] = time.process_time() - started
        if turn >= 0:  # the first turn only warms up
            ratios.append(seconds["without"] / seconds["with"])
    return ratios


def show(block: engine.Block, queries: np.ndarray, rounds: int, threads: int) -> list[float]:
    """Measure templates of 16, 64 and 256 cells and print a table. Returns all ratios."""
    rows, every = [], []
    for cells in (16, 64, 256):
        templates = [data.template(query, cells) for query in queries]
        ratios = measure(block, templates, rounds, threads)
        every += ratios
        rows.append([cells, statistics.median(ratios), min(ratios), max(ratios)])
    title = f"check sums, C={block.codes.shape[2]}: time without as a share of that with"
    report.table(title, ["Q", "median", "least", "most"], rows)
    return every
