"""Make a page of results (HTML, one file) from a file that `retrieve --save`, `match --save`, `detect --to jsonl` or
`segment --json` wrote.

examples:
  sluice retrieve bike.jpg --roi 210,80,260,140 --save found.json
  sluice page found.json -o found.html
  sluice page found.json -o found.html --images frames/       images from a folder, no server needed
  sluice detect frames/ --to jsonl | sluice page - -o found.html
  sluice segment frames/ --classes road,car --json | sluice page - -o found.html

The images come from the server, or from the folder of --images. In a folder, the image of an id is the file of that
name with any ending; front/000066.jpg and rear/000066.jpg are told apart by as much of the path as the id holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ..answers.detect import Detected, Detections
from ..answers.segment import Segmentation, Segmented
from ..errors import InvalidRequest
from ..files import saved_results, text_files
from ..files.listing import Listed
from ..pages import detect, retrieve, segment
from ..terminal import object_outputs, server_options
from ..terminal.console import OK, Console, Patience

PLACE = 60
LOCAL = True

Images = Callable[[str], bytes]  # returns the encoded image of an id


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("found", metavar="FOUND", help="the file of results; - for stdin")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the file of the page")
    parser.add_argument("--title", help="the title of the page")
    parser.add_argument("--images", metavar="DIR", help="take the images from this folder instead of the server")
    server_options.add(parser)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one image (default 60)")


class _Read(NamedTuple):
    """The results in a file.

    write:  writes the page, given a function that returns images.
    ids:    of the images.
    stored: True if the ids are those of stored frames, False if they are paths of files.
    """

    write: Callable[[Images], None]
    ids: list[str]
    stored: bool


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    """Run the command and return its exit code."""
    write, ids, stored = _read(args)
    with console.progress(len(ids), " images", "fetching") as bar, ExitStack() as stack:
        if args.images:
            source = _folder(Path(args.images), ids)
        elif stored:
            source = stack.enter_context(server_options.client(args, on_retry=Patience(console))).image
        else:
            source = object_outputs.files

        def fetch(id: str) -> bytes:
            bar.update()
            return source(id)

        write(fetch)
    console.note(f"wrote {args.output}")
    return OK


def _folder(folder: Path, ids: list[str]) -> Images:
    """Return a function that finds the file of an id in a folder.

    An id is looked for by its whole path first, then by its path in the folder, for images that were moved.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no folder.")
    files = {str(path.absolute()): path for path in folder.rglob("*") if path.is_file()}
    meant: dict[str, Path | InvalidRequest] = {}
    for id, name in Listed(files, str(folder)).each(ids).items():
        meant[id] = name if isinstance(name, InvalidRequest) else files.pop(name)
    rest = {path.relative_to(folder).as_posix(): path for path in files.values()}
    lost = [id for id, path in meant.items() if isinstance(path, InvalidRequest)]
    for id, name in Listed(rest, str(folder)).each(lost).items():
        meant[id] = name if isinstance(name, InvalidRequest) else rest[name]

    def image(id: str) -> bytes:
        path = meant[id]
        if isinstance(path, InvalidRequest):
            raise path
        return path.read_bytes()

    return image


def _read(args: argparse.Namespace) -> _Read:
    """Read the file of results, whatever command wrote it."""
    said = text_files.read(args.found)
    first = said.lstrip()[:300]
    if '"format"' in first or '"id"' not in first:
        saved = saved_results.loads(said)

        def searched(images: Images) -> None:
            retrieve.write(
                args.output,
                saved.image or None,
                saved.rois,
                saved.found,
                images,
                title=args.title,
                texts=saved.texts,
                others=saved.others,
            )

        return _Read(searched, [match.id for match in saved.found.matches], saved.stored)
    lines = text_files.json_lines(said, args.found)
    # An id that is no path of a file is that of a stored frame.
    ids = [line["id"] for line in lines]
    stored = not any(Path(id).exists() for id in ids)
    if "segments" in lines[0]:
        segmented = Segmented.of([Segmentation.from_json(line) for line in lines])
        return _Read(
            lambda images: segment.write(args.output, segmented, images, title=args.title),
            ids,
            stored,
        )
    ones = tuple(map(Detections.from_json, lines))
    found = Detected(ones, object_outputs.labels_of(ones), next((one.model for one in ones if one.model), ""))
    return _Read(lambda images: detect.write(args.output, found, images, title=args.title), ids, stored)
