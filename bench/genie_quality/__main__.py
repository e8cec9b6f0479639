"""Measures how near the solvers of `sample` come to the converged images and to real ones.

    python -m bench genie_quality [--json] [--models digits,streets] [--images 768] [--picture docs/genie_samples.png]

All solvers begin from the same latents on the quadratic grid, at NFE 5, 10 and 20 on the linear one too. Digits are
asked for by class, 0 to 9 in turn, without guidance. The network runs in ONNX Runtime, fp32, on all cores. Distance:
root mean square over the pixels (-1 to 1) between an image and the end of the same network's trajectory on a fine grid,
mean over images. Fréchet distance: against real images, on features of a classifier that the benchmark trains for each
model (bench/genie_quality/judge.py) and keeps in .bench/genie_quality. Intervals are 95 %, from eight groups of seeds.
Solvers are compared in pairs of equal seeds, and a claim holds if the whole interval is on its side. One table compares
at equal cost: an evaluation of genie costs 1 + the head's share of the network's time, which is measured, so genie
takes fewer steps there.

Needs mnist.npz and CamVid in --data (else SLUICE_DATA, else ../shared/data). --quick is for tests: its numbers mean
nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench import report
from bench.genie_quality.statistics import GROUPS
from sluice.contracts import ROOT
from sluice.process.weights import shelf
from sluice.server import root as roots

IMAGES = {"digits": 768, "streets": 384}  # about five minutes of two cores each


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench genie_quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder with generation/mnist.npz and camvid/")
    parser.add_argument("--weights", type=Path, default=shelf(roots.default()), help="folder of digits.pt, streets.pt")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".bench" / "genie_quality", help="folder of trained classifiers"
    )
    parser.add_argument("--models", default=",".join(IMAGES), help="which of " + ", ".join(IMAGES))
    parser.add_argument("--images", type=int, help=f"images per model, a multiple of {GROUPS} (default {IMAGES})")
    parser.add_argument(
        "--head", type=float, metavar="SHARE", help="share of the network's time that the head adds (default: measured)"
    )
    parser.add_argument("--picture", type=Path, help="write samples at the least NFE there (PNG)")
    parser.add_argument("--quick", action="store_true", help="a few images and steps, to see that it runs")
    given = report.parse(parser, argv)
    given.models = given.models.split(",")
    unknown = [name for name in given.models if name not in IMAGES]
    if unknown:
        parser.error(f"--models: unknown {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    if given.images is not None and (given.images < 2 * GROUPS or given.images % GROUPS):
        parser.error(f"--images: a multiple of {GROUPS}, {2 * GROUPS} or more")
    if given.head is not None and not 0 <= given.head < 10:
        parser.error("--head: a share of the network's time, 0 or more")
    return given


def main(argv: list[str]) -> int:
    """Measure the models that are asked for, print tables and claims, and draw the picture if asked."""
    given = arguments(argv)
    from bench.genie_quality import picture, tables
    from bench.genie_quality.data import read
    from bench.genie_quality.judge import QUICK, Settings, trained
    from bench.genie_quality.networks import Model
    from bench.genie_quality.samples import Plan, make, make_exact
    from sluice.methods.genie.trajectory import Options

    settings = QUICK if given.quick else Settings()
    blocks = []
    for name in given.models:
        plan = Plan(given.images or (2 * GROUPS if given.quick else IMAGES[name]))
        if given.quick:
            plan = Plan(plan.images, (5, 10), fine=Options("unipc", 20), finer=Options("ab2", 30))
        begun, weights = time.monotonic(), given.weights / f"{name}.pt"
        try:
            model = Model.read(name, weights)
            plan = replace(plan, head=model.head() if given.head is None else given.head)
            data = read(name, given.data, settings.sizes, given.cache)
        except (FileNotFoundError, ValueError) as error:
            print(f"python -m bench genie_quality: {error}", file=sys.stderr)
            return 2
        judge = trained(name, data, settings, given.cache)
        middle = time.monotonic()
        made, exact = make(model, plan), make_exact(model, plan, weights)
        tables.show(model, plan, made, exact, judge, data.real)
        blocks.append(picture.block(model, plan, made))
        end = time.monotonic()
        report.say(f"{name}: {(middle - begun) / 60:.1f} minutes for the classifier, {(end - middle) / 60:.1f} after")
    if given.picture:
        picture.write(given.picture, blocks)
        report.say(f"picture: {given.picture}")
    return 0
