"""Measures how often small objects are found: Deep Template Matching against two poolings and chance.

    python -m bench recall [--json] [--parts PART,PART] [--drives held-out] [--fast]
    python -m bench recall --weights FILE [--fast]

Data: CamVid in --data (else SLUICE_DATA, else ../shared/data). The docstring of every part, bench/recall/PART.py, says
which frames the network was trained on. Choices are made with --drives held-out, so that drive 0006R0 stays unseen.

--weights judges another network beside the tracked one: both get the same queries, pools and draws, and a last table
gives the difference of each row with its bootstrap interval. --fast takes fewer frames, sizes and seeds: two minutes
for two networks on one core. --quick is for tests: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import report
from bench.recall import camera, examples, generated, natural, planted, sizes
from bench.recall.findings import (
    EVALUATION,
    FAST,
    FULL,
    HELD_OUT,
    QUICK,
    Findings,
    Setting,
    show_difference,
)
from bench.recall.scores import Extractor
from sluice.contracts import ROOT
from sluice.process.weights import shelf
from sluice.server import root as roots

PARTS: dict[str, Callable[[Setting], Findings]] = {
    "planted": planted.measure,
    "examples": examples.measure,
    "camera": camera.measure,
    "sizes": sizes.measure,
    "natural": natural.measure,
    "generated": generated.measure,
}
FAST_PARTS = ("planted",)
TRACKED = shelf(roots.default()) / "feature_extractor.pt"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench recall", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="judge this network, weights (.pt) or graph (.onnx)"
    )
    parser.add_argument(
        "--against", type=Path, default=TRACKED, metavar="FILE", help="the network beside it (default: ours)"
    )
    parser.add_argument(
        "--parts", help=f"experiments to run, of {', '.join(PARTS)} (default all; with --fast {', '.join(FAST_PARTS)})"
    )
    parser.add_argument(
        "--drives", choices=(EVALUATION, HELD_OUT), default=EVALUATION,
        help="frames to search: of the drive that no choice was made on (default), or of the held-out stretches",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, help="repetitions of the planted part (default 3; with --fast 1)")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of the network (default: all cores)"
    )
    length = parser.add_mutually_exclusive_group()
    for name, why in ((FAST, "two minutes for two networks"), (QUICK, "a few frames, to see that it runs")):
        length.add_argument(f"--{name}", dest="length", action="store_const", const=name, default=FULL, help=why)
    given = report.parse(parser, argv)
    given.parts = given.parts.split(",") if given.parts else list(FAST_PARTS if given.length == FAST else PARTS)
    unknown = [p for p in given.parts if p not in PARTS]
    if unknown:
        parser.error(f"--parts: unknown {', '.join(unknown)}; there are {', '.join(PARTS)}")
    given.seeds = given.seeds or (3 if given.length == FULL else 1)
    for file in (given.weights, given.against):
        if file is not None and not file.is_file():
            parser.error(f"expected weights (.pt) or a graph (.onnx) in {file}, found no such file")
    return given


def main(argv: list[str]) -> int:
    """Run the parts that are asked for, one after the other. Returns 0, or 2 when CamVid is missing."""
    given = arguments(argv)
    folder = given.data / "camvid"
    if not folder.is_dir():
        print(
            f"expected CamVid in {folder}; give the folder that holds camvid/ with --data or SLUICE_DATA",
            file=sys.stderr,
        )
        return 2
    networks = {file: Extractor(file, given.threads) for file in (given.against, given.weights) if file is not None}
    settings = [Setting(e, folder, given.seeds, given.length, given.drives) for e in networks.values()]
    start = time.monotonic()
    for name in given.parts:
        found = []
        for file, setting in zip(networks, settings, strict=True):
            if len(networks) > 1:
                report.say(f"\n{name}, {file.name}")
            found.append(PARTS[name](setting))
            found[-1].show()
        if len(found) > 1:
            show_difference(before=found[0], after=found[1])
    report.say(f"{(time.monotonic() - start) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
