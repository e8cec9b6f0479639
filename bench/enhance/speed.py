"""Measures milliseconds per frame of every contender of `bench enhance`, and the 30-fps streams a machine carries."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bench import report
from bench.enhance import realesr
from bench.enhance.networks import DNCNN, REMOVERS, Contender, frame

SIZES = {"360p": (360, 640), "720p": (720, 1280), "1080p": (1080, 1920)}
RATE = 30  # frames per second of a stream
TENTH = 0.1


@dataclass(frozen=True)
class Limits:
    """The length of a contender's measurement at a size.

    At least `least` frames are measured, then until `seconds` are used up, but at most `most` frames.
    """

    least: int = 3
    most: int = 30
    seconds: float = 6.0


def measure(contenders: Sequence[Contender], sizes: Sequence[str], limits: Limits) -> dict[str, dict[str, list[float]]]:
    """Print the table. Returns the milliseconds of each frame by size and contender's name."""
    report.say(f"load of the machine before: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    found: dict[str, dict[str, list[float]]] = {}
    for size in sizes:
        found[size] = race(contenders, SIZES[size], limits)
        rows = []
        given = frame(*SIZES[size])
        for one in contenders:
            times = found[size][one.name]
            rows.append([
                label(one), f"x{one.scale}", one.multiplications, one.parameters, median(times), min(times), max(times),
                processor(one, given), 1000 / median(times) / RATE, len(times), trained(one),
            ])  # fmt: skip
        height, width = SIZES[size]
        report.table(
            f"{size} ({width} x {height}) in, planes as uint8 to planes, ONNX Runtime fp32, one frame at a time",
            ["network", "scale", "multiply-adds per pixel", "parameters", "ms per frame", "least", "most",
             "processor ms", "30-fps streams", "frames", "weights"],
            rows,
        )  # fmt: skip
    report.say("weights 'random': only the time of such a network means anything, its pictures nothing")
    report.say(f"load of the machine after: {os.getloadavg()[0]:.1f}")
    claim(contenders)
    return found


def label(one: Contender) -> str:
    """Return the name of a contender, or those of the shipped models with this network."""
    return " and ".join(one.models) or one.name


def trained(one: Contender) -> str:
    """Return which weights a contender has."""
    if isinstance(one, realesr.Peer):
        return realesr.weights()
    return "shipped" if one.models else "random" if one.parameters else "none"


def merged(ours: Mapping[str, Contender]) -> list[Contender]:
    """Return the shipped networks; those of one design are one contender, because their time is the same."""
    found: dict[tuple[int, float, int], Contender] = {}
    for one in ours.values():
        key = one.scale, one.multiplications, one.parameters
        before = found.get(key, one)
        models = tuple(dict.fromkeys((*before.models, *one.models)))
        found[key] = Contender(
            before.name, one.scale, before.content, one.multiplications, one.parameters, models
        )  # fmt: skip
    return list(found.values())


def race(contenders: Sequence[Contender], size: tuple[int, int], limits: Limits) -> dict[str, list[float]]:
    """Return the milliseconds of each frame. Contenders take turns, until each has had its time."""
    given = frame(*size)
    # Sessions of one size only, because their memory arenas keep as much as the largest frame needed.
    sessions = {one.name: one.session() for one in contenders}
    for session in sessions.values():
        session.run(given)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    turn = 0
    while unfinished := [name for name in sessions if not _enough(times[name], limits)]:
        for i in range(len(unfinished)):
            name = unfinished[(i + turn) % len(unfinished)]
            begin = time.perf_counter()
            sessions[name].run(given)
            times[name].append(1000 * (time.perf_counter() - begin))
        turn += 1
    return times


def processor(one: Contender, given: Mapping[str, np.ndarray]) -> float:
    """Return the processor time of a frame with one thread, ms, the less of two runs. Other work changes it little."""
    session, times = one.session(1), []
    for _ in range(2):
        begin = time.process_time()
        session.run(given)
        times.append(1000 * (time.process_time() - begin))
    return min(times)


def _enough(times: Sequence[float], limits: Limits) -> bool:
    return len(times) >= limits.least and (len(times) >= limits.most or sum(times) >= 1000 * limits.seconds)


def claim(contenders: Sequence[Contender]) -> None:
    """Print the removers' work as a share of DnCNN's."""
    by_name = {one.name: one for one in contenders}
    ours = [one for one in contenders if set(one.models) & set(REMOVERS)]
    name = "multiply-adds per pixel of the artefact removers, colour conversion included, over DnCNN's"
    if not ours or DNCNN not in by_name:
        report.claim(name, None, TENTH, False, "of DnCNN's", reason="skipped: no weights of a remover; train them")
        return
    share = max(one.multiplications for one in ours) / by_name[DNCNN].multiplications
    report.claim(name, share, TENTH, share <= TENTH, "of DnCNN's")
