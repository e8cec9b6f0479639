"""Compares the profile auto with the profile cpu: the same requests to two servers, in turns, in one run.

Measured are `embed`, `detect` and `ingest` by several callers with encoded street pictures, and `enhance` with one
stream of 720p frames per network. Both servers are up all the time and only one is asked at a time. A figure is the
ratio of the two rates of a round; the spread is least to most. The marks are for a processor with AMX. Where the
profile auto serves fp32, nothing is measured and every claim is SHORT.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sluice_client import Planes, Sluice

from bench import report
from bench.callers import pictures, throughput
from sluice import server
from sluice.versions import BF16

SIZE, VIDEO, TINY = (960, 600), (1280, 720), (96, 64)  # pixels, width x height
BATCH = 4  # images or frames per request
STREAMS = {  # task: the options of enhance, the mark
    "enhance, weak remover": ({"do": "artefacts", "mode": "weak"}, 2.8),
    "enhance, strong remover": ({"do": "artefacts", "mode": "strong"}, 2.8),
    "enhance, upscaler for clean input": ({"do": "upscale", "mode": "clean"}, 2.0),
    "enhance, upscaler for lossy input": ({"do": "upscale", "mode": "lossy"}, 2.0),
}
VERBS = {"embed": 2.5, "detect": 2.0, "ingest": 2.0}  # verb: the mark
# Word of the command line -> task. An upscaler is named after its input.
TASKS = {verb: verb for verb in VERBS} | {options["mode"]: task for task, (options, _) in STREAMS.items()}


class Side(NamedTuple):
    """A server of one profile, and the seconds until all of its models had answered."""

    client: Sluice
    server: server.Server
    seconds: float


def main(argv: list[str]) -> int:
    """Measure every task in both profiles; print the table and the claims."""
    parser = argparse.ArgumentParser(prog="python -m bench profiles", description=__doc__)
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=list(TASKS),
        default=list(TASKS),
        help="what to measure; weak and strong are the removers of enhance, clean and lossy the upscalers for such "
        "input (default: all)",
    )
    parser.add_argument("--callers", type=int, default=4, help="concurrent callers of a verb (default 4)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each profile (default 4)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a turn (default 4)")
    parser.add_argument("--quick", action="store_true", help="tiny frames, one short round, to see that it runs")
    args = report.parse(parser, argv)
    if args.quick:
        args.rounds, args.seconds = 1, 0.2
    with started("auto") as fast, started("cpu") as plain:
        said = fast.server.precision
        report.say(f"auto: {said}; ready after {fast.seconds:.1f} s, cpu after {plain.seconds:.1f} s")
        if BF16 not in said.networks.values():
            for task in map(TASKS.__getitem__, args.tasks):
                report.claim(f"{task}: auto over cpu", None, mark(task), False, "times", reason=said.reason)
            return 0
        compare(args, fast.client, plain.client)
    return 0


def compare(args: argparse.Namespace, fast: Sluice, plain: Sluice) -> None:
    """Measure the tasks of `args` on both sides, in turns, and show what was found."""
    images = pictures(4 if args.quick else 16, TINY if args.quick else SIZE)
    film = frames(*(TINY if args.quick else VIDEO))
    found = {
        task: race([rate(task, client, images, film, args) for client in (fast, plain)], args.rounds, args.seconds)
        for task in map(TASKS.__getitem__, args.tasks)
    }
    show(found, TINY if args.quick else VIDEO)


def race(sides: Sequence[Callable[[float], float]], rounds: int, seconds: float) -> list[tuple[float, float]]:
    """Return the rates of both sides in each round, per second. A turn before them warms up, and is not measured.

    sides: run for some seconds and return their rate. Rounds begin with one side and the other in alternation.
    """
    for one in sides:
        one(min(1.0, seconds))
    pairs = []
    for turn in range(rounds):
        found = {i: sides[i](seconds) for i in ((0, 1) if turn % 2 else (1, 0))}
        pairs.append((found[0], found[1]))
    return pairs


def show(found: Mapping[str, Sequence[tuple[float, float]]], video: tuple[int, int] = VIDEO) -> None:
    """Print the table and the claims. found: rates of auto and of cpu in each round, by task.

    video: width and height of the frames of a stream, pixels.
    """
    rows, claims = [], []
    for task, pairs in found.items():
        ratios = [a / b for a, b in pairs]
        value = median(ratios)
        rows.append([task, *(median(side) for side in zip(*pairs, strict=True)), value, min(ratios), max(ratios)])
        claims.append((task, value, [min(ratios), max(ratios)]))
    report.table(
        f"images or frames of {video[0]} x {video[1]} per second through the server",
        ["", "auto", "cpu", "ratio", "least", "most"],
        rows,
    )
    for task, value, spread in claims:
        report.claim(f"{task}: auto over cpu", value, mark(task), value >= mark(task), "times", spread)


def mark(task: str) -> float:
    """Return the ratio that a task has to reach."""
    return VERBS[task] if task in VERBS else STREAMS[task][1]


@contextlib.contextmanager
def started(profile: str) -> Iterator[Side]:
    """Start a server with an empty gallery, and a client of it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server.start(gallery=Path(folder) / "gallery", profile=profile) as running,
        Sluice(running.grpc, timeout=300) as client,
    ):
        yield Side(client, running, running.seconds["answer"])


def frames(width: int, height: int) -> list[Planes]:
    """Draw frames of a film, YUV 4:2:0."""
    import scenes
    from sluice.methods.video.planes import Colour, Picture

    colour = Colour("bt709", "limited")
    drawn = (scenes.render(seed, (width, height)).image for seed in range(BATCH))
    return [Planes(width, height, Picture.of_rgb(image).planes(colour)) for image in drawn]


def rate(
    task: str, client: Sluice, images: Sequence[bytes], film: Sequence[Planes], args: argparse.Namespace
) -> Callable[[float], float]:
    """Return a function that runs a task for some seconds and returns the images or frames per second."""
    if task in STREAMS:
        options = STREAMS[task][0]

        def stream(seconds: float) -> float:
            begin, done = time.perf_counter(), 0
            while time.perf_counter() < begin + seconds:
                answers = list(client.enhance_stream(film, batch=BATCH, timeout=300, **options))  # type: ignore[arg-type]  # options of the table
                if not all(answers):
                    raise SystemExit(f"enhance refuses a frame of this benchmark: {answers[0].error}")
                done += len(answers)
            return done / (time.perf_counter() - begin)

        return stream
    new = itertools.count()

    def one(i: int) -> None:
        data = images[i % len(images)]
        if task == "embed":
            client.embed(data)
        elif task == "detect":
            client.detect([data])
        else:  # bytes behind its end make a picture another file
            receipt = client.add(data + next(new).to_bytes(8, "big"), drive="bench")
            if receipt.status != "stored":
                raise SystemExit(f"ingest refuses a picture of this benchmark: {receipt.error}")

    return lambda seconds: throughput(one, args.callers, seconds)
