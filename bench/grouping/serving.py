"""Measures images per second of `segment` through the server and in one process, against transformers in torch.

All sides have the same weights and the machine's cores, and may use these as suits them best: one call that uses all
cores, or one call per core; one picture at a time or several. The best of each side is found first and then takes part.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sluice_client import Sluice

from bench import report
from bench.callers import throughput
from bench.class_names import SETS
from bench.grouping.networks import Subject
from bench.grouping.rivals import Transformers
from bench.segment_process import InProcess

MARK = 2.0
TEMPLATES = "simple"  # one sentence per class, as users of transformers write
# Options of `segment` that make it do the same work as the others. Speed alone counts here, because the small network
# has not learned VOC's and COCO's names.
ASKED: dict[str, Any] = {"templates": TEMPLATES, "rule": "official", "allow_unknown": True}
SERVED = ((8, 1), (4, 4), (2, 8))  # callers, pictures per request
COUNTS = (1, 8)  # pictures per call of transformers
WAYS = {
    "asked": "transformers, GroupViTModel with output_segmentation",
    "kept": "transformers' parts, the texts' vectors kept by hand",
    "official": "the authors' evaluation: encoder twice a picture, texts kept",
}

Side = tuple[Callable[[int], Any], int, int]  # function called with a running number, callers, pictures per call


def measure(
    subject: Subject,
    client: Sluice,
    encoded: Sequence[bytes],
    sets: Sequence[str],
    rounds: int,
    seconds: float,
    server: int | None = None,
) -> None:
    """Print images/s of every side, its processor time, and the claims.

    encoded: pictures of 224 x 224. sets: of `bench.class_names.SETS`. server: process id of the server behind the
    client.
    """
    cores, here = len(os.sched_getaffinity(0)), InProcess(subject.root)
    rivals = {name: Transformers(subject.network, SETS[name], TEMPLATES) for name in sets}
    first = sets[0]

    def pictures(i: int, count: int) -> list[bytes]:
        return [encoded[(i * count + k) % len(encoded)] for k in range(count)]

    def through(name: str, callers: int, count: int) -> Side:
        def work(i: int) -> None:
            found = client.segment(pictures(i, count), classes=SETS[name], **ASKED, batch=count)
            if any(one.error for one in found):
                raise SystemExit(f"segment refuses an image of this benchmark: {found.images[0].error}")

        return work, callers, count

    def alone(name: str, callers: int, count: int) -> Side:
        return (lambda i: here.segment(pictures(i, count), SETS[name], **ASKED)), callers, count

    def torches(way: str, name: str, callers: int, count: int) -> Side:
        ask = getattr(rivals[name], way)

        def work(i: int) -> None:
            torch.set_num_threads(cores // callers)  # of the calling thread
            ask(pictures(i, count))

        return work, callers, count

    layouts = [(callers, count) for callers in {1, cores} for count in COUNTS]
    ours = best({(c, n): through(first, c, n) for c, n in SERVED}, seconds / 2)
    theirs = best({(c, n): torches("asked", first, c, n) for c, n in layouts}, seconds / 2)
    sides: dict[tuple[str, str], Side] = {}
    for name in sets:
        sides["server", name] = through(name, *ours)
        sides["in process", name] = alone(name, cores, 1)
        sides["asked", name] = torches("asked", name, *theirs)
    for way in ("kept", "official"):
        sides[way, first] = torches(way, first, *theirs)
    rates, busy = races(sides, rounds, seconds, server)
    _show(subject, sides, rates, busy, cores)


def _show(
    subject: Subject,
    sides: Mapping[tuple[str, str], Side],
    rates: Mapping[tuple[str, str], Sequence[float]],
    busy: Mapping[tuple[str, str], Sequence[float]],
    cores: int,
) -> None:
    """Print the table of all sides and the claims of ours. rates: images/s per round. busy: processor s per image."""
    sets = [name for side, name in sides if side == "server"]
    rows = []
    for (side, name), values in rates.items():
        _, callers, count = sides[side, name]
        ratio = np.array(values) / rates["asked", name]
        rows.append([
            WAYS.get(side, f"segment, {side}"), f"{len(SETS[name])} ({name})", callers, count, median(values),
            median(ratio), min(ratio), max(ratio), 1000 * median(busy[side, name]),
        ])  # fmt: skip
    report.table(
        f"segment, {subject.title}: images/s of 224 x 224 on {cores} cores; times transformers with the same names",
        [
            "",
            "class names",
            "callers",
            "images per call",
            "images/s",
            "times",
            "least",
            "most",
            "processor ms per image",
        ],
        rows,
    )
    for side in ("server", "in process"):
        for name in sets:
            ratio = np.array(rates[side, name]) / rates["asked", name]
            value = float(median(ratio))
            where = "through the server" if side == "server" else side
            report.claim(
                f"segment {where}, {subject.kind}, {len(SETS[name])} class names, against transformers",
                value, MARK, value >= MARK, "times as many images/s", [min(ratio), max(ratio)],
            )  # fmt: skip


def best(sides: dict[tuple[int, int], Side], seconds: float) -> tuple[int, int]:
    """Return the key of the side with the most images per second in two turns."""
    rates, _ = races(sides, 2, seconds)
    return max(rates, key=lambda key: sum(rates[key]))


def races(
    sides: dict[Any, Side], rounds: int, seconds: float, server: int | None = None
) -> tuple[dict[Any, list[float]], dict[Any, list[float]]]:
    """Return images per second of each side in each round, sides in turn; and seconds of processor time per image, of
    this process and of those of the server, which other work on the machine changes less."""
    for work, callers, _ in sides.values():
        throughput(work, callers, min(seconds, 0.5))
    rates: dict[Any, list[float]] = {key: [] for key in sides}
    busy: dict[Any, list[float]] = {key: [] for key in sides}
    for _ in range(rounds):
        for key, (work, callers, count) in sides.items():
            used, begin = processor(server), time.perf_counter()
            rate = count * throughput(work, callers, seconds)
            images = rate * (time.perf_counter() - begin)
            rates[key].append(rate)
            busy[key].append((processor(server) - used) / images)
    return rates, busy


def processor(server: int | None) -> float:
    """Return the seconds of processor time that this process and the processes of a server have used."""
    total = time.process_time()
    if server is None:
        return total
    tick = os.sysconf("SC_CLK_TCK")
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        parents[int(path.parent.name)] = int(fields[1])
        used[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / tick
    below = [server]
    for one in below:
        below += [child for child, parent in parents.items() if parent == one]
    return total + sum(used.get(one, 0) for one in below)
