"""Measures how often small objects are found: Deep Template Matching against two poolings and chance.

    python -m bench recall [--json] [--parts planted,natural,generated] [--quick]

Data: CamVid in --data (else SLUICE_DATA, else ../shared/data). The docstring of every part, bench/recall/PART.py, says
which frames the network was trained on. --quick is for tests: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import report
from bench.recall import generated, natural, planted
from bench.recall.findings import Findings, Setting
from bench.recall.scores import Extractor
from sluice.contracts import ROOT

PARTS: dict[str, Callable[[Setting], Findings]] = {
    "planted": planted.measure,
    "natural": natural.measure,
    "generated": generated.measure,
}


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench recall", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument(
        "--model", type=Path, default=ROOT / "weights" / "feature_extractor.pt", help="weights (.pt) or graph (.onnx)"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="experiments to run, of " + ", ".join(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="repetitions of the planted part")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of the network (default: all cores)"
    )
    parser.add_argument("--quick", action="store_true", help="a few frames and queries, to see that it runs")
    given = report.parse(parser, argv)
    unknown = [p for p in given.parts.split(",") if p not in PARTS]
    if unknown:
        parser.error(f"--parts: unknown {', '.join(unknown)}; there are {', '.join(PARTS)}")
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
    extract = Extractor(given.model, given.threads)
    setting = Setting(extract, folder, 1 if given.quick else given.seeds, given.quick)
    start = time.monotonic()
    for name, measure in PARTS.items():
        if name in given.parts.split(","):
            measure(setting).show()
    report.say(f"{(time.monotonic() - start) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
