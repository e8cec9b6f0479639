"""Compares one pass over a frame with three: `ingest` with frame_networks, and with its three networks one by one.

Two servers of one profile are asked in turns, in one run; they differ in the parameter `one_pass` of ingest alone. A
figure is the ratio of the two rates of a round; the spread is least to most. Memory is the resident set of the server
that holds frame_networks beside the three, minus that of the other, after the measurement.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil
from sluice_client import Sluice

from bench import report
from bench.callers import pictures
from bench.profiles import SIZE, TINY, race, rate
from sluice import server
from sluice.server import root as roots

MARK = 1.5


def main(argv: list[str]) -> int:
    """Measure `ingest` in both ways; print the table and the claim."""
    parser = argparse.ArgumentParser(prog="python -m bench one_pass", description=__doc__)
    parser.add_argument("--profile", choices=("auto", "cpu"), default="auto", help="of both servers (default auto)")
    parser.add_argument("--callers", type=int, default=4, help="concurrent callers (default 4)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each server (default 4)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn (default 6)")
    parser.add_argument("--quick", action="store_true", help="tiny frames, one short round, to see that it runs")
    args = report.parse(parser, argv)
    if args.quick:
        args.rounds, args.seconds = 1, 0.2
    images = pictures(4 if args.quick else 16, TINY if args.quick else SIZE)
    with started(args.profile, "frame_view") as once, started(args.profile, "") as thrice:
        report.say(f"{args.profile}: {once.precision}")
        found = race(
            [rate("ingest", client, images, (), args) for client in (asked(once), asked(thrice))],
            args.rounds,
            args.seconds,
        )
        memory = [resident(one) / 1e6 for one in (once, thrice)]
    ratios = [a / b for a, b in found]
    value, spread = median(ratios), [min(ratios), max(ratios)]
    first, second = (median(side) for side in zip(*found, strict=True))
    report.table(
        "frames per second that ingest stores with features, objects and embedding",
        ["one pass", "three", "ratio", "least", "most", "ms saved per frame and core", "MB more"],
        [[first, second, value, *spread, 2000 / second - 2000 / first, memory[0] - memory[1]]],
    )
    report.claim("ingest: one pass over three", value, MARK, value >= MARK, "times", spread)
    return 0


def asked(running: server.Server) -> Sluice:
    """Return a client of a server, which lives as long as this program."""
    return Sluice(running.grpc, timeout=300)


def resident(running: server.Server) -> int:
    """Return the bytes that tritonserver itself holds, where the networks are."""
    first = psutil.Process(running.pid)
    every = [first, *first.children(recursive=True)]
    return max(one.memory_info().rss for one in every)  # of the process that holds the networks


@contextlib.contextmanager
def started(profile: str, one_pass: str) -> Iterator[server.Server]:
    """Start a server with an empty gallery. one_pass: this parameter of its `ingest`, "" for separate passes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "root"
        for name in ("model_repository", "ensembles"):
            shutil.copytree(roots.default() / name, place / name, symlinks=True)
        config = place / "ensembles" / "ingest" / "config.pbtxt"
        text = config.read_text()
        usual, wanted = (f'"one_pass" value {{ string_value: "{name}" }}' for name in ("frame_view", one_pass))
        changed = text.replace(usual, wanted)
        if not one_pass:  # so that the joined network is not loaded, either
            changed = changed.replace(' frame_view" }', '" }')
        assert one_pass or changed != text
        config.write_text(changed)
        repositories = [place / name for name in ("model_repository", "ensembles")]
        with server.start(
            gallery=Path(folder) / "gallery", profile=profile, models=["ingest"], repositories=repositories
        ) as running:
            yield running
