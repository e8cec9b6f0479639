"""Compares the scan of a gallery with NumPy, torch, LanceDB, Qdrant, maxsim-cpu, and with the machine's limits.

    python -m bench scan [--json] [--frames 4000] [--rounds 5] [--minutes 7] [--no-peers] [--cold-gb 4]

Every contender answers the same question with the same two cores: which ten frames of a gallery (300 cells of C
channels each) match a template of Q cells best. Contenders take turns in one run; figures are medians. LanceDB, Qdrant
and maxsim-cpu search fewer frames and their time is scaled up, which flatters them, because part of their data stays in
the cache. The galleries are structured (`bench.scan.data`); exactness is tried on random and real ones as well.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine_limits, report
from bench.scan import data, sums
from bench.scan.cold import ColdGallery
from bench.scan.contenders import (
    ALTERNATIVES,
    BARE,
    OURS,
    TENSORDOT,
    K,
    best_of,
    block_frames,
    frames_for,
    start_peers,
    torch_contenders,
)
from bench.scan.peers import PACKAGES, Peer
from sluice.methods import matching
from sluice.methods.scan import engine
from sluice.methods.scan.codes import TemplateCodes
from sluice.process import blas

CHANNELS = (64, 128, 256)
TEMPLATE_CELLS = (16, 64, 256)
SEED = 20240
SHARES = ("% bare product", "% multiplier", "% memory", "% rescored")


def main(argv: list[str]) -> int:
    """Run the whole benchmark. Returns 0 when every claim holds, 1 when one does not."""
    parser = argparse.ArgumentParser(prog="python -m bench scan", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--frames", type=int, default=4000, help="frames of each gallery")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that each contender takes part in")
    parser.add_argument("--minutes", type=float, default=7, help="after so many minutes, cases get 2 rounds each")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="threads of ours, NumPy and torch (default: all cores)",
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out LanceDB, Qdrant and maxsim-cpu")
    parser.add_argument("--cold-gb", type=float, default=4, help="size of the gallery on disk, GB; 0 leaves it out")
    options = report.parse(parser, argv)
    report.table("machine", ["what", "value"], [[k, str(v)] for k, v in report.machine().items()])
    holds = Claims()
    with tempfile.TemporaryDirectory(prefix="sluice-scan-") as folder:
        run(options, Path(folder), holds)
    return 0 if holds.all else 1


class Claims:
    """Prints claims and remembers whether all of them hold."""

    def __init__(self) -> None:
        self.all = True

    def __call__(self, name: str, value: float | None, mark: float, unit: str, **more: Any) -> None:
        """Claim that value reaches mark; see `report.claim`."""
        holds = value is not None and value >= mark
        self.all &= holds
        report.claim(name, value, mark, holds, unit, **more)


def run(options: argparse.Namespace, folder: Path, claim: Claims) -> None:
    """Measure and report, one gallery after the other."""
    threads = options.threads
    limits = {
        "8-bit product, this library, large squares, operations/s": machine_limits.int8_limit(threads),
        "float32 product, NumPy, operations/s": machine_limits.float_limit(),
        "read from memory, bytes/s": machine_limits.read_limit(threads),
    }
    multiplier, _, memory = limits.values()
    report.table("limits of this machine", ["what", "1e9/s"], [[k, v / 1e9] for k, v in limits.items()])
    peers, missing = ({}, dict.fromkeys(PACKAGES, "left out with --no-peers")) if options.no_peers else start_peers()
    times: dict[tuple[int, int], dict[str, list[float]]] = {}
    rows: list[list[Any]] = []
    exact: list[Any] = []
    kept: list[float] = []
    end = time.monotonic() + 60 * options.minutes
    for channels in CHANNELS:
        rng = np.random.default_rng(SEED + channels)
        scene = lambda: np.random.default_rng(SEED)  # noqa: E731  the same kinds for the gallery and the queries
        features = data.structured(rng, options.frames, channels, scene())
        queries = data.structured(rng, max(8, options.rounds), channels, scene())
        block = data.block(features)
        wide = features.astype(np.float32)
        for cells in TEMPLATE_CELLS:
            templates = [data.template(query, cells) for query in queries]
            # The time that is left is shared by the cases that are left.
            share = (end - time.monotonic()) / (len(CHANNELS) * len(TEMPLATE_CELLS) - len(times))
            case, rescored = measure(block, wide, templates, peers, missing, options, folder, 0.6 * share)
            times[channels, cells] = case
            rows.append(describe(channels, cells, case, rescored, options.frames, multiplier, memory))
            # Brute force in NumPy is slow for the largest templates, so fewer of them are compared.
            tried = templates[: 2 if cells == 256 else 8]
            exact.append(agreement(f"structured, C={channels}, Q={cells}", block, wide, tried, threads))
            report.say(f"C={channels} Q={cells} measured")
        kept += sums.show(block, queries, options.rounds, threads)
        del wide
        random = data.random(rng, min(600, options.frames), channels)
        asked = [data.template(frame, 64) for frame in (*data.random(rng, 2, channels), random[5], queries[0])]
        plain = data.block(random)
        exact.append(agreement(f"random, C={channels}, Q=64", plain, random.astype(np.float32), asked, threads))
        if channels == 128:
            sixteen(block, queries, options, claim)
            cold(block, queries, options, claim)
    for peer in peers.values():
        peer.close()
    exact.append(on_real_features(threads))
    claim(
        "search with check sums, of its speed without",
        statistics.geometric_mean(kept),
        0.9,
        "share",
        spread=[min(kept), max(kept)],
    )
    show(rows, exact, times, missing, claim)


def measure(
    block: engine.Block,
    wide: np.ndarray,
    templates: list[matching.Templates],
    peers: dict[str, Peer],
    missing: dict[str, str],
    options: argparse.Namespace,
    folder: Path,
    seconds_left: float,
) -> tuple[dict[str, list[float]], list[int]]:
    """Let all contenders answer in turn. Returns the seconds of each round for the whole gallery, and the frames that
    were rescored."""
    threads, rescored = options.threads, []

    def ours(asked: matching.Templates) -> None:
        rescored.append(engine.search([block], None, asked, k=K, threads=threads).rescored)

    contenders: dict[str, Callable[[matching.Templates], Any]] = {OURS: ours}
    contenders[BARE] = lambda asked: machine_limits.bare_product(
        block.codes, TemplateCodes.of(asked).codes, block_frames(asked), threads
    )
    contenders[TENSORDOT] = lambda asked: best_of(
        np.tensordot(wide, asked.rows, axes=([2], [1])).max(axis=1).mean(axis=1)
    )
    contenders.update(torch_contenders(wide, threads))
    seconds: dict[str, list[float]] = {name: [] for name in (*contenders, *peers)}
    cost = len(templates[0].rows) * wide.shape[2]
    galleries = {name: write(folder, wide[: frames_for(name, cost, len(wide))]) for name in peers}
    end = time.monotonic() + seconds_left
    for turn in range(-1, options.rounds):
        if turn >= 2 and time.monotonic() > end:
            break
        asked = templates[turn % len(templates)]
        for name, work in contenders.items():
            time.sleep(0.02)  # threads of the previous contender may still spin
            started = time.perf_counter()
            work(asked)
            if turn >= 0:  # the first turn only warms up
                seconds[name].append(time.perf_counter() - started)
        np.save(folder / "query.npy", asked.rows)
        for name, peer in peers.items():
            path, count = galleries[name]
            answer = peer.ask(path, folder / "query.npy", K) if turn < 3 else None
            if answer and turn >= 0:
                seconds[name].append(answer["seconds"] * len(wide) / count)
            if peer.reason is not None:
                missing.setdefault(name, peer.reason)
    return seconds, rescored


def write(folder: Path, gallery: np.ndarray) -> tuple[Path, int]:
    """Write a gallery for the peers, once. Returns its path and its count of frames."""
    path = folder / f"gallery-{gallery.shape[2]}-{len(gallery)}.npy"
    if not path.exists():
        np.save(path, gallery)
    return path, len(gallery)


def describe(
    channels: int,
    cells: int,
    case: dict[str, list[float]],
    rescored: list[int],
    frames: int,
    multiplier: float,
    memory: float,
) -> list[Any]:
    """Return one row of the table of cases."""
    middle = {name: float(np.median(seconds)) for name, seconds in case.items() if seconds}
    ours = middle[OURS]
    operations = 2.0 * frames * data.CELLS * channels * cells
    return [
        channels,
        cells,
        frames / ours,
        *(middle[name] / ours if name in middle else math.nan for name in ALTERNATIVES),
        100 * middle[BARE] / ours,
        100 * operations / ours / multiplier,
        100 * frames * data.CELLS * channels / ours / memory,
        100 * float(np.mean(rescored)) / frames,
    ]


# ---------------------------------------------------------------------------------------------- exactness


def agreement(
    name: str, block: engine.Block, wide: np.ndarray, templates: list[matching.Templates], threads: int
) -> tuple[str, int, int, int, float]:
    """Compare with brute force: (what, queries, equal lists, lists equal but for float32's last bits, % rescored).

    Brute force is NumPy in float32 on the stored float16, one frame after the other; equal scores are ordered by
    position.
    """
    equal = nearly = rescored = 0
    for asked in templates:
        found = engine.search([block], None, asked, k=K, threads=threads)
        scores = np.array([matching.scores(frame, asked)[0] for frame in wide])
        expected = matching.top(scores, K)
        rescored += found.rescored
        if np.array_equal(found.row, expected):
            equal += 1
        # Two orders of summing may swap frames whose scores differ by less than float32 can tell.
        elif np.abs(scores[found.row] - scores[expected]).max() < 1e-6:
            nearly += 1
    return name, len(templates), equal, nearly, 100 * rescored / len(templates) / len(wide)


def on_real_features(threads: int) -> tuple[str, int, int, int, float] | str:
    """Compare on features of real images. Returns the reason instead when there are none."""
    features, reason = data.real()
    if features is None:
        return reason
    rng = np.random.default_rng(SEED)
    step = max(1, len(features) // 24)
    asked = [data.window(frame, (2, 4, 8)[i % 3], rng) for i, frame in enumerate(features[::step])]
    cells = features.reshape(len(features), -1, features.shape[-1])
    name = f"real pictures: {len(cells)} frames of {cells.shape[1]} cells, C={cells.shape[2]}"
    return agreement(name, data.block(cells), cells.astype(np.float32), asked, threads)


# ------------------------------------------------------------------------------- many templates, cold gallery


def sixteen(block: engine.Block, queries: np.ndarray, options: argparse.Namespace, claim: Claims) -> None:
    """Time sixteen templates of sixteen cells in one pass against sixteen passes, with the gallery in memory."""
    alone, together = sixteen_templates(queries)
    ratios = []
    for turn in range(options.rounds + 1):
        started = time.perf_counter()
        for asked in alone:
            engine.search([block], None, asked, k=K, threads=options.threads)
        passes = time.perf_counter() - started
        started = time.perf_counter()
        engine.search([block], None, together, k=K, combine="query", threads=options.threads)
        if turn:
            ratios.append(passes / (time.perf_counter() - started))
    value = float(np.median(ratios))
    claim(
        "sixteen templates of 16 cells in one pass, gallery in memory, against sixteen passes",
        value,
        4,
        "x",
        spread=(min(ratios), max(ratios)),
        reason=None
        if value >= 4
        else "one pass saves only reading where a template of 16 cells keeps the multiplier busy by itself, see its "
        f"share in the table; this processor has {'AMX' if 'amx_int8' in blas.instructions() else 'no AMX'}",
    )


def sixteen_templates(queries: np.ndarray) -> tuple[list[matching.Templates], matching.Templates]:
    """Return sixteen templates one by one, and the same sixteen together."""
    regions = [
        matching.unit(queries[i % len(queries)][start : start + 16]) for i, start in enumerate(range(0, 16 * 18, 18))
    ]
    return [matching.stack([region]) for region in regions], matching.stack(regions, np.arange(16))


def cold(block: engine.Block, queries: np.ndarray, options: argparse.Namespace, claim: Claims) -> None:
    """Measure a gallery that is on the disk only."""
    names = ["scan of a gallery larger than memory", "sixteen templates in one pass, gallery on disk"]
    marks, units = [1.0, 4.0], ["GB/s", "x"]
    if not options.cold_gb:
        for name, mark, unit in zip(names, marks, units, strict=True):
            claim(name, None, mark, unit, reason="left out with --cold-gb 0")
        return
    folder = data.ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    gallery = None
    try:
        gallery = ColdGallery(folder / f"cold-{os.getpid()}.codes", block, int(options.cold_gb * 1e9))
        alone, together = sixteen_templates(queries)
        asked = data.template(queries[0], 64)
        disk, ours, ratios = [], [], []
        warm = engine.scan(engine.Scope([block], None), asked, "roi", options.threads)[0]
        for _ in range(3):
            gallery.forget()
            disk.append(gallery.read(2 + options.threads) / 1e9)
            seconds, scores = gallery.scan(asked, options.threads)
            ours.append(gallery.bytes / seconds / 1e9)
            one = gallery.scan(alone[0], options.threads)[0]
            ratios.append(16 * one / gallery.scan(together, options.threads)[0])
        assert np.array_equal(scores[: gallery.once], warm[: gallery.once])
    except OSError as error:
        for name, mark, unit in zip(names, marks, units, strict=True):
            claim(name, None, mark, unit, reason=f"the disk refused: {error.strerror or error}")
        return
    finally:
        if gallery is not None:
            gallery.remove()
    said = f"the disk gives {np.median(disk):.2f} GB/s"
    report.say(f"cold gallery of {gallery.bytes / 1e9:.1f} GB, C=128, read past the page cache: {said}")
    claim(names[0], float(np.median(ours)), 1.0, "GB/s", spread=(min(ours), max(ours)), reason=said)
    claim(names[1], float(np.median(ratios)), 4.0, "x", spread=(min(ratios), max(ratios)))


# ------------------------------------------------------------------------------------------------ results


def show(
    rows: list[list[Any]],
    exact: list[Any],
    times: dict[tuple[int, int], dict[str, list[float]]],
    missing: dict[str, str],
    claim: Claims,
) -> None:
    """Print the tables and the claims that rest on them."""
    report.table(
        "top-10 of a gallery in memory: frames/s, times faster than each, share of limits, frames scored again",
        [*("C", "Q", "frames/s"), *(f"x {name}" for name in ALTERNATIVES), *SHARES],
        rows,
    )
    report.table(
        "lists of 10 against brute force in float32",
        ["gallery", "queries", "equal", "equal but for float32's last bit", "% rescored"],
        [row for row in exact if not isinstance(row, str)],
    )
    ratios = list(zip(*(ratio(case, TENSORDOT) for case in times.values()), strict=False))
    means = [float(np.exp(np.mean(np.log(turn)))) for turn in ratios]
    medians = [float(np.median(ratio(case, TENSORDOT))) for case in times.values()]
    claim(
        "NumPy tensordot in fp32, geometric mean of nine cases",
        float(np.exp(np.mean(np.log(medians)))),
        5,
        "x",
        spread=(min(means), max(means)),
        reason=f"tensordot ran OpenBLAS's kernel {blas.kernel()}, ours ONNX Runtime's own",
    )
    for name in ALTERNATIVES:
        least = [float(np.median(ratio(case, name))) for case in times.values() if case.get(name)]
        if len(least) < len(times):
            claim(f"ahead of {name} in every case", None, 1, "x", reason=missing.get(name, "it did not answer"))
        else:
            claim(f"ahead of {name} in every case", min(least), 1, "x", spread=(min(least), max(least)))
    tried = [row for row in exact if not isinstance(row, str)]
    good, queries = sum(row[2] + row[3] for row in tried), sum(row[1] for row in tried)
    claim("lists identical to brute force, share of queries", good / queries, 1, "", reason=f"{queries} queries")
    for row in exact:
        if isinstance(row, str):
            claim("lists identical to brute force on real features", None, 1, "", reason=row)


def ratio(case: dict[str, list[float]], name: str) -> list[float]:
    """Return how many times faster ours is than `name`, turn by turn."""
    return [theirs / ours for theirs, ours in zip(case[name], case[OURS], strict=False)]
