"""Measures the mean IoU of masks asked for by words, on generated scenes and on a real drive.

The mean is over CamVid's 11 classes. The shipped network runs through the verb's own code with the options as served,
in this process. Beside it stand two baselines without a network, labels drawn at random and the one class that is best
everywhere, and two other settings of the rule. Spread: bootstrap over frames, 95 %; frames of a drive look like their
neighbours, so the spread is that of this drive, not that of driving.

Generated scenes have seeds that training never saw. The drive is CamVid's 0006R0 in --data (else SLUICE_DATA, else
../shared/data), on which nothing was trained. Without the folder that part is skipped, and its claim is SHORT.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench import report, segment_process
from bench.class_names import CAMVID
from bench.segment_process import InProcess
from sluice import contracts
from sluice.server import root as roots

MARK = 2.0
FIRST = 500_000  # seed of the first generated scene; the seeds of training count from 0
SERVED = "as served"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    SERVED: {},
    "published rule": {"rule": "official"},
    "published, all classes in every picture": {"rule": "official", "top": len(CAMVID)},
}
PARTS = ("generated", "drive")
RESAMPLES = 1000


def main(argv: list[str]) -> int:
    """Measure the parts that are asked for, and draw the picture if asked."""
    parser = argparse.ArgumentParser(prog="python -m bench miou", description=__doc__)
    folder = os.environ.get("SLUICE_DATA") or contracts.ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default both)")
    parser.add_argument("--scenes", type=int, default=40, help="generated scenes (default 40)")
    parser.add_argument("--frames", type=int, help="frames of the drive, evenly chosen (default all)")
    parser.add_argument("--root", type=Path, default=roots.default(), help="folder of model_repository and ensembles")
    parser.add_argument(
        "--picture", type=Path, help="write frames of the drive under the colours of their masks there (JPEG)"
    )
    args = report.parse(parser, argv)
    from bench import drives
    from bench.miou.frames import generated

    if args.root == roots.default():
        segment_process.check_current()
    here = InProcess(args.root)
    if "generated" in args.parts:
        measure(here, generated(args.scenes, FIRST), f"{args.scenes} generated scenes")
    if "drive" not in args.parts:
        return 0
    claim = "mean IoU on the real drive over that of labels at random"
    frames = drives.drive(args.data / "camvid", args.frames)
    if not frames:
        reason = f"skipped: no CamVid in {args.data}; give the folder that holds camvid/ with --data or SLUICE_DATA"
        print(reason, file=sys.stderr)
        report.claim(claim, None, MARK, False, "times", reason=reason)
        return 0
    found = measure(here, frames, f"{len(frames)} frames of CamVid's drive 0006R0")
    low, high = (value / found.chance for value in found.spread)
    report.claim(claim, found.mean / found.chance, MARK, found.mean >= MARK * found.chance, "times", [low, high])
    if args.picture:
        from bench.miou import picture

        picture.write(args.picture, here, frames)
    return 0


class Found(NamedTuple):
    """The scores of the masks as served. spread: 95 % interval of the mean. chance: the mean of labels at random."""

    mean: float
    spread: tuple[float, float]
    chance: float


def measure(here: InProcess, frames: Sequence[Any], title: str) -> Found:
    """Print the mean IoU of every setting and of the baselines, and IoU by class. frames: `camvid.Frame`s."""
    from bench.miou.frames import masks
    from export.grouping.judge import chance, confusion, overlaps

    drawn, single, name = chance(frames)
    tables = {}
    for setting, options in SETTINGS.items():
        found = masks(here, frames, options)
        tables[setting] = np.stack([confusion(mask, f.labels) for mask, f in zip(found, frames, strict=True)])
    by_class = {setting: overlaps(table.sum(axis=0)) for setting, table in tables.items()}
    spread = {setting: bootstrap(table) for setting, table in tables.items()}
    report.table(
        f"mean IoU over {len(CAMVID)} classes, {title}",
        ["", "mean IoU", "low", "high"],
        [
            *([setting, float(np.nanmean(by_class[setting])), *spread[setting]] for setting in SETTINGS),
            ["labels at random", drawn, "", ""],
            [f"the best single class, {name.lower()}, everywhere", single, "", ""],
        ],
    )
    pixels = tables[SERVED].sum(axis=(0, 2))
    report.table(
        f"IoU by class, {title}",
        ["class", "share of the pixels", *SETTINGS],
        [[CAMVID[i], pixels[i] / pixels.sum(), *(by_class[s][i] for s in SETTINGS)] for i in range(len(CAMVID))],
    )
    return Found(float(np.nanmean(by_class[SERVED])), spread[SERVED], drawn)


def bootstrap(tables: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Return the middle 95 % of the mean IoU when frames are drawn with replacement. tables: [frames, C, C]
    confusions."""
    from export.grouping.judge import overlaps

    rng, count = np.random.default_rng(seed), len(tables)
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)  # how often each frame is drawn
    means = [float(np.nanmean(overlaps(np.tensordot(often, tables, 1)))) for often in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
