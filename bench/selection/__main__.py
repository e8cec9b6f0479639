"""Compares rules that rank frames for labelling, by the errors that the shipped detector makes in them.

    python -m bench selection [--json] [--data DIR] [--scenes 180]

Part order: frames with objects, ranked by each rule of `select` and by the number of objects. An error is an object
missed, a box without an object, or a box in the wrong place (bench/selection/errors.py). Rank correlation with the
errors favours rules that prefer crowds, so the rules are also compared at an equal count of boxes to label: the mean
share of all errors that lie in the frames labelled so far. Nothing is trained.

Part empty: frames in which the detector finds no object, ranked by one number per frame: the best score below the
threshold, or how unsure the background is. The number that agrees best with the missed objects is the one to store.

Needs CamVid in --data (else SLUICE_DATA, else ../shared/data). What the detector saw is kept in .bench/selection.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench import report
from bench.selection.errors import Errors, errors
from bench.selection.looks import SETS, Look, looks
from bench.selection.orders import MEASURES, RULES, differences, named, scores, spearman
from sluice.contracts import ROOT

ORDER, EMPTY = ("drive", "held out", "scenes"), tuple(SETS)
OBJECT_SCORE = 0.5
THRESHOLDS = (0.5, 0.6, 0.7, 0.8)  # of the part empty: a higher one leaves more frames without an object


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
    """Print how each number of the frames without an object agrees with the objects missed in them."""
    names = ["best score below the threshold", *seen["drive"][0].background]
    for threshold in THRESHOLDS:
        columns: dict[str, list[str]] = {name: [] for name in names}
        heads = []
        for what, looked in seen.items():
            none = [look for look in looked if not len(look.found.above(threshold))]
            with_ = [look for look in looked if len(look.found.above(threshold))]
            missed = np.array([errors(look.found.above(threshold), look.labels).missed for look in none], float)
            others = [errors(look.found.above(threshold), look.labels).missed for look in with_]
            heads.append(
                f"{what}: {len(none)} frames, {_mean(missed)} missed each ({_mean(others)} where some are found)"
            )
            for name in names:
                value = np.array([_number(look, name) for look in none])
                columns[name].append(f"{spearman(value, missed):+.2f}" if len(none) >= 8 else "-")
        rows = [[name, *columns[name]] for name in names]
        report.table(
            f"frames without an object of score {threshold:g}: Spearman with the objects missed",
            ["number", *heads],
            rows,
        )


def _number(look: Look, name: str) -> float:
    """Return one number of a frame, by its name in the table."""
    if name in look.background:
        return look.background[name]
    return float(look.found.scores.max(initial=0))


def _mean(values: Sequence[float] | np.ndarray) -> str:
    return f"{np.mean(values):.1f}" if len(values) else "-"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
