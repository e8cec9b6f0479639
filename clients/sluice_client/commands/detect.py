"""Find the objects in images, each with four uncertainties: aleatoric and epistemic, of its place and of its class.

examples:
  sluice detect frames/
  sluice detect a.jpg b.jpg --min-score 0.3 --page found.html
  sluice detect --ids 0016E5-000390 0016E5-000420
  sluice detect val/ --to coco --min-score 0.01 --coco-ids instances_val.json -o results.json
  sluice detect night/ --to labelstudio --address 's3://bucket/{id}' -o tasks.json
  sluice detect frames/ --to jsonl > found.jsonl; sluice select --candidates found.jsonl -n 20

A folder is searched for JPEG, PNG and WebP by their endings, with its subfolders. More labels would lower the epistemic
uncertainty, but not the aleatoric one. `sluice score` writes the uncertainties to the stored frames.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..answers.detect import TYPES, Detections
from ..client import Sluice
from ..errors import InvalidRequest
from ..frames import Frame
from ..terminal import object_outputs, stored_ids
from ..terminal.console import OK, SOME_FAILED, Console
from ..verbs.detect import REDUCTIONS, SIGMOIDS

PLACE = 30
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="*", metavar="IMAGE", help="image files, and folders of them")
    parser.add_argument(
        "--ids", nargs="+", metavar="ID", help=f"ids of stored frames, instead of images; {stored_ids.FROM_STDIN}"
    )
    stored_ids.null(parser)
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="P",
        help="least score of an object that is shown, 0..1 (default: the server's, 0.5)",
    )
    parser.add_argument(
        "--object-score",
        type=float,
        metavar="P",
        help="least score of a box that counts as an object in the summary, 0..1 (default 0.5)",
    )
    parser.add_argument("--labels", metavar="A,B", help="show only objects of these classes")
    parser.add_argument(
        "--class-reduce",
        choices=REDUCTIONS,
        help="class uncertainty: detected is that of the detected class (default), max the greatest over all classes",
    )
    parser.add_argument(
        "--location-sigmoid",
        choices=SIGMOIDS,
        help="how the output of the location head is read (default: as the network was trained); variance, on a "
        "network that was trained on a deviation, is the published form",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="P",
        help="least score of a box that enters non-maximum suppression, 0..1 (default 0.01)",
    )
    parser.add_argument(
        "--iou",
        type=float,
        metavar="F",
        help="boxes of a class that overlap by more than this share are one object, 0..1 (default 0.45)",
    )
    parser.add_argument(
        "--boxes", type=int, metavar="N", help="the most boxes per class that enter the suppression (default 200)"
    )
    parser.add_argument("--keep", type=int, metavar="N", help="the most objects per class (default 200)")
    parser.add_argument(
        "--drive", default="", help="name of the drive of these images, for `sluice select --per-drive`"
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images per call (default 8)")
    parser.add_argument("--in-flight", type=int, default=2, metavar="N", help="calls at the same time (default 2)")
    object_outputs.arguments(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    object_outputs.check(args, console)
    images, ids = object_outputs.what(args, console)
    if args.ids and args.drive:
        raise InvalidRequest("--drive is for images; stored frames have drives already.")
    labels = object_outputs.numbers(args, images or ids or ())
    total = len(images or ids or ())
    as_lines = console.json or args.to == "jsonl"
    with ExitStack() as stack:
        if args.output and as_lines:
            stack.enter_context(object_outputs.into(args.output))
        bar = stack.enter_context(console.progress(total, " images", "detecting"))

        def progress(done: list[Detections]) -> None:
            bar.update(len(done))
            for one in done:
                if labels is not None:
                    for thing in one:
                        labels.category(thing.label)  # refuses an unknown label now, and not after the last image
                if as_lines:
                    console.data(_with_drive(one, args.drive).as_json())
                elif one.error is not None:
                    console.error(f"{one.id}: {one.error.removeprefix(one.id).lstrip()}")

        found = client.detect(
            images, ids=ids, progress=progress, batch=args.batch, in_flight=args.in_flight, **_options(args)
        )
    if ids is not None and (args.page or args.to in object_outputs.DOCUMENTS):
        found = object_outputs.frames_of(found, client)
    found = replace(found, images=tuple(_with_drive(one, args.drive) for one in found))
    if args.to in object_outputs.DOCUMENTS:
        object_outputs.emit(found, console, args, stored=ids is not None)
    elif not as_lines:
        console.table(_HEAD, [row for one in found for row in _rows(one)])
    if args.page:
        fetch = client.image if ids is not None else object_outputs.files
        object_outputs.write_page(args.page, found, console, fetch, title=_title(args))
    missing = next((one.missing for one in found if one.missing), ())
    if missing:
        told = "no uncertainties" if len(missing) == len(TYPES) else f"no {', '.join(missing)}"
        console.note(f"the detector gives {told}")
    failed = sum(one.error is not None for one in found)
    objects = sum(map(len, found))
    console.note(f"{objects} objects in {len(found) - failed} images" + (f", {failed} images failed" if failed else ""))
    return SOME_FAILED if failed else OK


def _with_drive(one: Detections, drive: str) -> Detections:
    """Return an image's objects with the drive of --drive."""
    return replace(one, frame=Frame(one.id, drive)) if drive and one.frame is None else one


def _options(args: argparse.Namespace) -> dict[str, Any]:
    labels = None if args.labels is None else [one for one in (part.strip() for part in args.labels.split(",")) if one]
    options = {
        "min_score": args.min_score,
        "object_score": args.object_score,
        "class_reduce": args.class_reduce,
        "location_sigmoid": args.location_sigmoid,
        "confidence": args.confidence,
        "iou": args.iou,
        "candidates": args.boxes,
        "keep": args.keep,
        "labels": labels,
    }
    return {name: value for name, value in options.items() if value is not None}


def _title(args: argparse.Namespace) -> str | None:
    return Path(args.paths[0]).name if len(args.paths) == 1 else None


_HEAD = ("image", "label", "score", "box", "place al.", "place ep.", "class al.", "class ep.")


def _rows(one: Detections) -> list[list[str]]:
    if one.error is not None:
        return []
    return [
        [
            one.id,
            found.label,
            f"{found.score:.3f}",
            ",".join(f"{value:.0f}" for value in found.box),
            *("-" if value != value else f"{value:.3g}" for value in found.uncertainties),
        ]
        for found in one
    ] or [[one.id, "-", "", "", "", "", "", ""]]
