"""Pick the images to label next: those whose objects are the most uncertain, measured against the whole pool.

examples:
  sluice select -n 100 --per-drive 10
  sluice select -n 50 --weight Pedestrian=2 --weight SignSymbol=0 --page next.html
  sluice select --threshold 3 --type location_epistemic --type class_epistemic
  sluice select -n 100 --labelled-tag done --to labelstudio --address 's3://bucket/{id}.jpg' -o tasks.json
  sluice select --candidates found.jsonl -n 20       a file of `sluice detect --to jsonl`; nothing is stored
  sluice select --save-statistics fleet.json -n 1
  sluice select --candidates drive.jsonl --statistics fleet.json --frozen       a vehicle's frames by the fleet's

The score counts standard deviations above the mean of all objects of the pool: the sum over a frame's objects of the
mean over the four uncertainties. A frame in which no object was found is ranked by the boxes too faint for an object,
against the other such frames. Frames that no detector has scored are left out; the command counts them, and --others
lists them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

from ..answers.detect import TYPES, Detected, Detections
from ..answers.select import Selection
from ..client import Sluice
from ..errors import InvalidRequest
from ..files import text_files
from ..terminal import filter_options, object_outputs, stored_ids
from ..terminal.console import OK, Console
from ..verbs.select import AGGREGATES

PLACE = 32
LOCAL = False


def weight(text: str) -> tuple[str, float]:
    """Return the value of --weight as (label, weight)."""
    label, _, value = text.rpartition("=")
    try:
        number = float(value)
        if math.isfinite(number):
            return label, number
        raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"LABEL=NUMBER was expected, got {text!r}") from None


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("-n", type=int, metavar="N", help="how many images to pick (default: the server's, 100)")
    parser.add_argument("--threshold", type=float, metavar="Z", help="pick, instead, all images that score at least Z")
    parser.add_argument(
        "--over-objects",
        choices=AGGREGATES,
        help="how the z-scores of an image's objects become one per type (default: sum; published: max)",
    )
    parser.add_argument(
        "--aggregate",
        choices=AGGREGATES,
        help="how the types become the score of an image (default: mean; published: max)",
    )
    parser.add_argument(
        "--no-empty",
        action="store_true",
        help="do not rank images in which no object was found (default: boxes too faint for an object rank them)",
    )
    parser.add_argument("--type", action="append", choices=TYPES, help="count only this uncertainty; may be repeated")
    parser.add_argument(
        "--weight",
        action="append",
        default=[],
        type=weight,
        metavar="LABEL=W",
        help="weight of a class (default 1), 0 to leave the class out; may be repeated",
    )
    parser.add_argument("--per-drive", type=int, metavar="N", help="the most picks of one drive")
    parser.add_argument(
        "--diversity",
        type=float,
        metavar="F",
        help="pick images that differ from each other, out of the best n*F candidates (such as 5)",
    )
    parser.add_argument(
        "--labelled", metavar="FILE", help="file with the ids that have labels already, one per line; - for stdin"
    )
    stored_ids.null(parser, "the ids of --labelled")
    parser.add_argument("--labelled-tag", metavar="TAG", help="frames with this tag have labels already")
    parser.add_argument("--candidates", metavar="FILE", help="pick from these JSON lines instead of the stored frames")
    parser.add_argument("--detector", metavar="VERSION", help="the detector whose scores count (default: the server's)")
    parser.add_argument(
        "--object-score", type=float, metavar="P", help="least score of a stored object that counts, 0..1 (default 0.5)"
    )
    parser.add_argument(
        "--statistics",
        action="append",
        metavar="FILE",
        help="score against the pool of a file of --save-statistics, or of several files together if repeated; for "
        "images of another pool, add --frozen",
    )
    parser.add_argument(
        "--frozen",
        action="store_true",
        help="with --statistics of another pool: judge these images by it, such as a vehicle's frames by the fleet's",
    )
    parser.add_argument("--save-statistics", metavar="FILE", help="write the mean and deviation of the pool as JSON")
    parser.add_argument("--others", metavar="FILE", help="write the ids that could not be ranked, as JSON lines")
    filter_options.add(parser)
    object_outputs.arguments(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    object_outputs.check(args, console)
    _check_stdin(args)
    candidates = None if args.candidates is None else text_files.objects(args.candidates)
    selection = client.select(candidates, **_options(args))
    if args.save_statistics:
        text_files.write(args.save_statistics, text_files.as_json(selection.statistics) + "\n")
        console.note(f"wrote {args.save_statistics}")
    if args.others:
        _others(args.others, selection)
        console.note(f"wrote {args.others}")
    found = None
    if selection.picks and (args.page or args.to in object_outputs.DOCUMENTS):
        found = _objects(selection, candidates, client)
    if args.to in object_outputs.DOCUMENTS:
        picks = {pick.id: pick for pick in selection}
        object_outputs.emit(found or Detected(()), console, args, picks, stored=candidates is None)
    elif console.json or args.to == "jsonl":
        _lines(selection, console, args)
    else:
        console.table(_HEAD, _rows(selection))
    if args.page:
        fetch = object_outputs.files if candidates is not None else client.image
        object_outputs.write_page(args.page, found or Detected(()), console, fetch, selection=selection)
    console.note(selection.told())
    for one in selection.no_effect:
        console.note(f"warning: {one}")
    return OK


def _check_stdin(args: argparse.Namespace) -> None:
    """Raise InvalidRequest if stdin is asked for twice, or --null is given without --labelled."""
    if [args.candidates, args.labelled, *(args.statistics or ())].count("-") > 1:
        raise InvalidRequest("- stands for stdin, which can be read only once; give files for the others.")
    if args.null and args.labelled is None:
        raise InvalidRequest("--null is for the ids of --labelled; give --labelled, or leave --null out.")


_SAME = (
    *("n", "threshold", "over_objects", "aggregate", "per_drive", "diversity"),
    *("labelled_tag", "detector", "object_score"),
)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are given, as keywords of the client."""
    options: dict[str, Any] = {
        **{name: getattr(args, name) for name in _SAME},
        **filter_options.given(args),
        "types": args.type,
        "class_weights": dict(args.weight) or None,
        "labelled": None if args.labelled is None else stored_ids.lines(args.labelled, args.null),
        "frozen": args.frozen or None,
        "rank_empty": False if args.no_empty else None,
        "statistics": None if args.statistics is None else [_statistics(path) for path in args.statistics],
    }
    return {name: value for name, value in options.items() if value is not None}


def _statistics(path: str) -> Mapping[str, Any]:
    value = text_files.from_json(text_files.read(path), path)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path} should be what --save-statistics wrote.")
    return value


def _objects(selection: Selection, candidates: list[dict[str, Any]] | None, client: Sluice) -> Detected:
    """Return the objects of the picks, in the order of the picks, from the candidates or from the gallery."""
    if candidates is not None:
        lines = {line["id"]: line for line in candidates}
        images = [Detections.from_json(lines[id]) for id in selection.ids]
    else:
        images = [one for ids in object_outputs.chunks(selection.ids) for one in client.objects(ids)]
    return Detected(tuple(images), object_outputs.labels_of(images), images[0].model)


def _others(path: str, selection: Selection) -> None:
    rows = [(id, "without objects") for id in selection.without_objects]
    rows += [(id, "unscored") for id in selection.unscored]
    text_files.write(path, "".join(text_files.as_json({"id": id, "why": why}) + "\n" for id, why in rows))


def _lines(selection: Selection, console: Console, args: argparse.Namespace) -> None:
    told: dict[str, Any] = {"frozen": True} if selection.frozen else {}  # the score counts from another pool's mean
    told |= {"no_effect": [one.as_json() for one in selection.no_effect]} if selection.no_effect else {}
    rows = [{"rank": rank, **pick.as_json(), **told} for rank, pick in enumerate(selection, 1)]
    if args.output:
        text_files.write(args.output, "".join(text_files.as_json(row) + "\n" for row in rows))
        console.note(f"wrote {args.output}")
    else:
        for row in rows:
            console.data(row)


_HEAD = ("rank", "score", "id", "drive", "z place al.", "z place ep.", "z class al.", "z class ep.", "why")


def _rows(selection: Selection) -> list[list[str]]:
    return [
        [
            str(rank),
            f"{pick.score:.2f}",
            pick.id,
            pick.frame.drive if pick.frame is not None else "",
            *("-" if value != value else f"{value:.2f}" for value in pick.z),
            pick.reason,
        ]
        for rank, pick in enumerate(selection, 1)
    ]
