"""The options of commands that look at images: which images, and where and in which form objects are written."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..answers.detect import Detected, Detections
from ..answers.select import Pick, Selection
from ..client import Sluice
from ..errors import InvalidRequest, unwritten
from ..files import coco, labelstudio, text_files, whole_files
from ..files.image_files import images_in
from ..frames import Frame
from ..pages import detect
from . import stored_ids
from .console import Console

__all__ = [
    "DOCUMENTS",
    "FORMS",
    "arguments",
    "check",
    "chunks",
    "emit",
    "files",
    "frames_of",
    "into",
    "labels_of",
    "numbers",
    "what",
    "write_page",
]

DOCUMENTS = ("coco", "labelstudio")  # forms that are written when everything is found, by `emit`
FORMS = ("jsonl", *DOCUMENTS)

_IDS = 500  # ids per call of the gallery


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for writing objects to a command's parser."""
    parser.add_argument(
        "--to",
        choices=FORMS,
        help="print, instead of a table, JSON lines (jsonl), COCO's results with the uncertainties as extra keys "
        "(coco), or Label Studio's tasks with predictions (labelstudio)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to this file instead of to stdout")
    parser.add_argument(
        "--page", metavar="FILE", help="write a page that shows the images with their boxes (HTML, one file)"
    )
    parser.add_argument("--coco-images", metavar="FILE", help="also write COCO's file of images and categories")
    parser.add_argument(
        "--coco-ids",
        metavar="FILE",
        help="take the numbers of images and categories from this COCO file, such as that of your labels",
    )
    parser.add_argument(
        "--address",
        default="{id}",
        metavar="TEXT",
        help="with --to labelstudio: the address at which Label Studio finds an image, such as s3://bucket/{id}.jpg, "
        "or http://host/{id}, in which the id is percent-encoded (default {id}, the id or path)",
    )
    parser.add_argument("--label-config", metavar="FILE", help="also write Label Studio's labelling configuration")


def check(args: argparse.Namespace, console: Console) -> None:
    """Raise InvalidRequest for options that would be ignored or cannot be written, before the server is asked."""
    if console.json and args.to in DOCUMENTS:
        raise InvalidRequest(f"--json and --to {args.to} exclude each other; leave one out.")
    for name, form in (("coco_images", "coco"), ("coco_ids", "coco"), ("label_config", "labelstudio")):
        if getattr(args, name) and args.to != form:
            raise InvalidRequest(f"--{name.replace('_', '-')} belongs to --to {form}.")
    if args.address != "{id}" and args.to != "labelstudio":
        raise InvalidRequest("--address belongs to --to labelstudio.")
    if args.output and args.to is None and not console.json:
        raise InvalidRequest(f"--output needs a form: --to {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    if args.to == "labelstudio":
        labelstudio.tasks([], args.address)
    for name in ("output", "page", "coco_images", "label_config"):
        if getattr(args, name):
            whole_files.place(Path(getattr(args, name)), f"--{name.replace('_', '-')}")
    if args.coco_ids:
        coco.Ids.load(args.coco_ids)


def numbers(args: argparse.Namespace, names: Sequence[object]) -> coco.Ids | None:
    """Return the numbers of --coco-ids; None if it is not given.

    names: of the images. Raises InvalidRequest unless each of them has a number of its own.
    """
    if not args.coco_ids:
        return None
    ids = coco.Ids.load(args.coco_ids)
    ids.numbers(map(str, names))
    return ids


def emit(
    found: Detected,
    console: Console,
    args: argparse.Namespace,
    picks: Mapping[str, Pick] | None = None,
    stored: bool = False,
) -> None:
    """Write objects as COCO's results or Label Studio's tasks, and the files that go with them.

    picks:  the picks of `select` by their ids; None if the objects are no picks.
    stored: True if the images are stored frames.
    """
    if args.to == "coco":
        good = [one.id for one in found if one.error is None]
        frames = [one.frame for one in found if one.frame is not None] if stored else []
        ids = numbers(args, good) or coco.Ids.of(found.images, found.labels, frames)
        text = text_files.as_json(coco.results(found.images, ids))
        if args.coco_images:
            text_files.write(args.coco_images, text_files.as_json(coco.dataset(found.images, ids)))
            console.note(f"wrote {args.coco_images}")
    else:
        tasks = labelstudio.tasks(found.images, args.address, picks)
        text = text_files.as_json(tasks)
        if args.label_config:
            text_files.write(args.label_config, labelstudio.configuration(found.labels))
            console.note(f"wrote {args.label_config}")
    if args.output:
        text_files.write(args.output, text + "\n")
        console.note(f"wrote {args.output}")
    else:
        console.text(text)


@contextlib.contextmanager
def into(path: str) -> Iterator[None]:
    """Send everything that is printed to stdout in the `with` block to a file."""
    try:
        file = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - only the opening is inside `try`
    except OSError as error:
        raise unwritten(path, error) from None
    try:
        with file, contextlib.redirect_stdout(file):
            yield
    except OSError as error:  # closing the file writes what is left
        raise unwritten(path, error) from None


def frames_of(found: Detected, client: Sluice) -> Detected:
    """Return the objects with the facts that the gallery keeps about their frames: sizes, drives, times."""
    ids = [one.id for one in found.images if one.error is None]
    frames: dict[str, Frame] = {frame.id: frame for some in chunks(ids) for frame in client.get(some)}
    known = [
        replace(one, frame=frames[one.id], width=frames[one.id].width, height=frames[one.id].height)
        if one.id in frames
        else one
        for one in found.images
    ]
    return replace(found, images=tuple(known))


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the ids in lists that one call of the gallery takes."""
    for begin in range(0, len(ids), _IDS):
        yield ids[begin : begin + _IDS]


def labels_of(images: Sequence[Detections]) -> tuple[str, ...]:
    """Return the labels of the classes that occur, in the detector's order, for objects that were not just detected."""
    kinds = {(thing.class_id, thing.label) for one in images for thing in one}
    return tuple(dict.fromkeys(label for _, label in sorted(kinds)))


def files(id: str) -> bytes:
    """Return the bytes of the file at a path that serves as an id."""
    return Path(id).read_bytes()


def write_page(
    path: str,
    found: Detected,
    console: Console,
    images: Callable[[str], bytes],
    *,
    selection: Selection | None = None,
    title: str | None = None,
) -> None:
    """Write the page of the objects. images: returns the encoded image of an id. selection: of `select`, if any."""
    with console.progress(len(found), " images", "fetching") as bar:

        def fetch(id: str) -> bytes:
            bar.update()
            return images(id)

        more: dict[str, Any] = {} if selection is None else {"selection": selection}
        detect.write(path, found, fetch, title=title, **more)
    console.note(f"wrote {path}")


def what(args: argparse.Namespace, console: Console) -> tuple[list[Path] | None, list[str] | None]:
    """Return (files, None) for the images in `paths`, or (None, ids) for --ids.

    Raises InvalidRequest unless exactly one of the two is given.
    """
    if bool(args.paths) == bool(args.ids):
        raise InvalidRequest("Give images, folders of them, or --ids of stored frames, one of the two.")
    if args.paths:
        if args.null:
            raise InvalidRequest("--null is for ids on stdin, as with --ids -; leave it out.")
        return images_in([Path(path) for path in args.paths], console.note), None
    return None, stored_ids.ids(args.ids, args.null)
