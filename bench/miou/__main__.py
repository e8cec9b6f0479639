"""Measures the mean IoU of masks asked for by words, on generated scenes and on real drives.

The mean is over CamVid's 11 classes. The network runs through the verb's own code with the options as served, in this
process. Beside it stand three answers that ignore the picture, and the other rules. The best of the three is the layout
prior, the most frequent class of each pixel of the frames for training, and the claim is the distance to it. Spread:
bootstrap over frames, 95 %; frames of a drive look like their neighbours, so the spread is that of this drive, not that
of driving. A last table per part tells for which words `compare` and `retrieve` find the frames that show them.

Generated scenes have seeds that training never saw. The held-out part is the stretches of the training drives that no
network was trained on, on which rules and networks are chosen. The drive is CamVid's 0006R0, which is looked at last.
Both are in --data (else SLUICE_DATA, else ../shared/data). Without the folder they are skipped, and the claim is SHORT.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench import report, segment_process
from bench.class_names import CAMVID
from bench.segment_process import InProcess
from sluice import contracts
from sluice.server import root as roots

if TYPE_CHECKING:  # the frames' own module needs torch
    from bench.miou.frames import Part

MARK = 1.4
SERVED = "as served"
PRIOR = "the layout prior"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    SERVED: {},
    "plain rule": {"rule": "plain"},
    "published rule": {"rule": "official"},
    "published, all classes in every picture": {"rule": "official", "top": len(CAMVID)},
}
PARTS = ("generated", "held-out", "drive")
CLAIM = "mean IoU on the real drive over that of the layout prior"
RESAMPLES = 1000


def main(argv: list[str]) -> int:
    """Measure the parts that are asked for, and draw the picture if asked."""
    parser = argparse.ArgumentParser(prog="python -m bench miou", description=__doc__)
    folder = os.environ.get("SLUICE_DATA") or contracts.ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default all)")
    parser.add_argument("--scenes", type=int, default=40, help="generated scenes (default 40)")
    parser.add_argument("--frames", type=int, help="frames of the drive, evenly chosen (default all)")
    parser.add_argument("--root", type=Path, default=roots.default(), help="folder of model_repository and ensembles")
    parser.add_argument("--weights", type=Path, help="measure these weights of the grouping network, not the served")
    parser.add_argument(
        "--picture", type=Path, help="write frames of the drive under the colours of their masks there (JPEG)"
    )
    args = report.parse(parser, argv)
    if args.root == roots.default() and not args.weights:
        segment_process.check_current()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root
        if args.weights:
            size = InProcess(root).config.size
            root = segment_process.repository(Path(folder), args.weights, size)
        run(InProcess(root), args)
    return 0


def run(here: InProcess, args: argparse.Namespace) -> None:
    """Measure the parts. args: as `main` reads them."""
    from bench.miou import frames, picture, words

    camvid = args.data / "camvid"
    for part in args.parts:
        if part != "generated" and not camvid.is_dir():
            reason = f"skipped: no CamVid in {args.data}; give the folder that holds camvid/ with --data or SLUICE_DATA"
            print(reason, file=sys.stderr)
            if part == "drive":
                report.claim(CLAIM, None, MARK, False, "times", reason=reason)
            continue
        if part == "generated":
            given = frames.generated(args.scenes)
        else:
            given = frames.held_out(camvid) if part == "held-out" else frames.drive(camvid, args.frames)
        found = measure(here, given)
        words.measure(here, given)
        if part == "drive":
            report.claim(CLAIM, found.ratio, MARK, found.ratio >= MARK, "times", list(found.spread))
            if args.picture:
                picture.write(args.picture, here, given.frames)


class Found(NamedTuple):
    """The scores of the masks as served.

    mean: the mean IoU. ratio: to the mean IoU of the layout prior. spread: 95 % interval of the ratio.
    """

    mean: float
    ratio: float
    spread: tuple[float, float]


def measure(here: InProcess, part: Part) -> Found:
    """Print the mean IoU of every setting and of the answers that ignore the picture, and IoU by class."""
    from bench.miou.frames import masks
    from export.grouping.judge import chance, confusion, layout, overlaps

    def judged(found: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([confusion(mask, f.labels) for mask, f in zip(found, part.frames, strict=True)])

    drawn, single, name = chance(part.frames)
    tables = {setting: judged(masks(here, part.frames, options)) for setting, options in SETTINGS.items()}
    tables[PRIOR] = judged([layout(part.training)] * len(part.frames))
    by_class = {setting: overlaps(table.sum(axis=0)) for setting, table in tables.items()}
    means = {setting: float(np.nanmean(by_class[setting])) for setting in tables}
    report.table(
        f"mean IoU over {len(CAMVID)} classes, {part.title}",
        ["", "mean IoU", "low", "high", "right pixels"],
        [
            *(
                [s, means[s], *bootstrap(table), np.trace(table.sum(axis=0)) / table.sum()]
                for s, table in tables.items()
            ),
            ["labels at random", drawn, "", "", ""],
            [f"the best single class, {name.lower()}, everywhere", single, "", "", ""],
        ],
    )
    pixels = tables[SERVED].sum(axis=(0, 2))
    report.table(
        f"IoU by class, {part.title}",
        ["class", "share of the pixels", *tables],
        [[CAMVID[i], pixels[i] / pixels.sum(), *(by_class[s][i] for s in tables)] for i in range(len(CAMVID))],
    )
    return Found(means[SERVED], means[SERVED] / means[PRIOR], bootstrap(tables[SERVED], others=tables[PRIOR]))


def bootstrap(
    tables: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, others: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the middle 95 % of the mean IoU when frames are drawn with replacement.

    tables: [frames, C, C] confusions. others: those of another answer about the same frames; then the interval is that
    of the ratio of the two means.
    """
    from export.grouping.judge import overlaps

    rng, count = np.random.default_rng(seed), len(tables)
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)  # how often each frame is drawn
    values = [np.nanmean(overlaps(np.tensordot(often, tables, 1))) for often in drawn]
    if others is not None:
        values = [v / np.nanmean(overlaps(np.tensordot(o, others, 1))) for v, o in zip(values, drawn, strict=True)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
