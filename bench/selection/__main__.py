"""Compares rules that rank frames for labelling, by the errors that the shipped detector makes in them.

    python -m bench selection [--json] [--data DIR] [--scenes 180]

Part order: frames with objects, ranked by each rule of `select` and by the number of objects. An error is an object
missed, a box without an object, or a box in the wrong place (bench/selection/errors.py). Rank correlation with the
errors favours rules that prefer crowds, so the rules are also compared at an equal count of boxes to label: the mean
share of all errors that lie in the frames labelled so far. Nothing is trained.

Part empty: frames in which the detector finds no object, ranked by one number per frame: the best score below the
threshold, the sum of the scores of all boxes below it, or how unsure the background is. The one that agrees with the
missed objects is stored with a frame. Higher thresholds and darkened frames give more of such frames.

Needs CamVid in --data (else SLUICE_DATA, else ../shared/data). What the detector saw is kept in .bench/selection.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import report
from bench.selection.errors import Errors, errors
from bench.selection.looks import SETS, Look, looks
from bench.selection.orders import MEASURES, RULES, differences, met, named, scores, spearman
from sluice.contracts import ROOT
from sluice.methods.mixtures.summaries import Detections

ORDER, EMPTY = ("drive", "held out", "scenes"), tuple(SETS)
OBJECT_SCORE = 0.5
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the part empty: a higher one leaves more frames without an object
FEWEST = 12  # frames without an object that a row needs
STORED = "sum of the scores of faint boxes"  # the number that a gallery stores, `mixtures.summaries.Detections.faint`


def main(argv: list[str]) -> int:
    """Run the parts that are asked for. Returns 0, or 2 when CamVid is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m bench selection", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument("--cache", type=Path, default=ROOT / ".bench" / "selection", help="folder of what was seen")
    parser.add_argument("--scenes", type=int, default=180, help="count of generated scenes (default 180)")
    parser.add_argument("--parts", nargs="+", choices=("order", "empty"), default=("order", "empty"))
    given = report.parse(parser, argv)
    camvid = given.data / "camvid"
    if not camvid.is_dir():
        print(f"expected CamVid in {camvid}; give the folder that holds camvid/ with --data", file=sys.stderr)
        return 2
    wanted = EMPTY if "empty" in given.parts else ORDER
    seen = {name: looks(name, camvid, given.scenes, given.cache) for name in wanted}
    if "order" in given.parts:
        for name in ORDER:
            order(SETS[name], seen[name])
    if "empty" in given.parts:
        empty(seen)
    return 0


# ------------------------------------------------------------------------------------------------ frames with objects


def order(what: str, seen: Sequence[Look]) -> None:
    """Print the table of one set, and the claim of the default rule."""
    found = [look.found.above(OBJECT_SCORE) for look in seen]
    wrong = [errors(one, look.labels) for one, look in zip(found, seen, strict=True) if len(one)]
    found = [one for one in found if len(one)]
    all_, boxes = (np.array([getattr(one, name) for one in wrong], float) for name in ("all", "objects"))
    judged = {named(rule): scores(found, rule) for rule in RULES}
    judged["number of objects"] = np.array([len(one) for one in found], float)
    base = judged[named(RULES[0])]
    rows = []
    for name, score in judged.items():
        row = [name]
        for measure in MEASURES.values():
            low, high = differences(score, base, all_, boxes, measure)
            value = f"{measure(score, all_, boxes):.3f}"
            row += [value, "" if score is base else f"{low:+.3f} to {high:+.3f}"]
        rows.append(row)
    head = ["rule", *(cell for name in MEASURES for cell in (name, "minus the first rule, 90 %"))]
    report.table(f"{what}: {_counted(wrong)}", head, rows)
    low, high = differences(
        judged[named(("sum", "mean", (0, 1, 2, 3)))], base, all_, boxes, MEASURES["errors met at equal boxes"]
    )
    report.claim(
        f"{what}: at equal boxes the default meets more errors than the greatest z-score",
        MEASURES["errors met at equal boxes"](judged[named(("sum", "mean", (0, 1, 2, 3)))], all_, boxes)
        - MEASURES["errors met at equal boxes"](base, all_, boxes),
        0.0,
        low > 0,
        "of all errors",
        (low, high),
    )


def _counted(wrong: Sequence[Errors]) -> str:
    """Return in words how many frames, objects and errors there are."""
    missed, false, misplaced, objects = (
        sum(getattr(one, name) for one in wrong) for name in ("missed", "false", "misplaced", "objects")
    )
    return (
        f"{len(wrong)} frames with an object found, {objects} objects, {missed} missed, {false} false, "
        f"{misplaced} misplaced"
    )


# ------------------------------------------------------------------------------------------------ frames without one


def empty(seen: dict[str, list[Look]]) -> None:
    """Print how each number of the frames without an object agrees with the objects missed in them, and what ranking
    these frames is worth."""
    names = ["best score below the threshold", STORED, *seen["drive"][0].background]
    rows: list[list[str]] = []
    worth: list[list[str]] = []
    for what, looked in seen.items():
        for threshold in THRESHOLDS:
            found = [look.found.above(threshold) for look in looked]
            wrong = [errors(one, look.labels) for one, look in zip(found, looked, strict=True)]
            none = np.array([not len(one) for one in found])
            if none.sum() < FEWEST:
                continue
            missed = np.array([one.missed for one in wrong], float)
            head = [
                what,
                f"{threshold:g}",
                str(none.sum()),
                f"{missed[none].mean():.1f}",
                f"{missed[~none].mean():.1f}",
            ]
            values = [np.array([_number(look, name, threshold) for look in looked])[none] for name in names]
            rows.append([*head, *(f"{spearman(value, missed[none]):+.2f}" for value in values)])
            worth.append([what, f"{threshold:g}", *_worth(found, wrong, none, values[1])])
    heads = ["set", "score", "frames without", "missed in each", "missed in each of the others"]
    report.table("Frames without an object: Spearman with the objects missed", [*heads, *names], rows)
    report.table(
        "All frames: errors met at equal boxes, frames without an object ranked by the stored number, or last",
        ["set", "score", "ranked", "last", "ranked minus last, 90 %"],
        worth,
    )


def _worth(found: Sequence[Detections], wrong: Sequence[Errors], none: np.ndarray, stored: np.ndarray) -> list[str]:
    """Return the errors met at equal boxes of both orders, and the interval of their difference, as text.

    none: bool [f], the frames without an object. stored: the number of each of these.
    """
    score = np.empty(len(found))
    score[~none] = scores([one for one in found if len(one)], ("sum", "mean", (0, 1, 2, 3)))
    last = score.copy()
    last[none] = score[~none].min() - 1
    score[none] = (stored - stored.mean()) / (stored.std() or 1.0)
    all_, boxes = (np.array([getattr(one, name) for one in wrong], float) for name in ("all", "objects"))
    low, high = differences(score, last, all_, boxes, met)
    return [f"{met(score, all_, boxes):.3f}", f"{met(last, all_, boxes):.3f}", f"{low:+.3f} to {high:+.3f}"]


def _number(look: Look, name: str, threshold: float) -> float:
    """Return one number of a frame, by its name in the table."""
    if name in look.background:
        return look.background[name]
    return (
        replace(look.found, faint=0.0).above(threshold).faint
        if name == STORED
        else float(look.found.scores.max(initial=0))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
