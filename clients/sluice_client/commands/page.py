"""Make a page of results (HTML, one file) from what `retrieve --save`, `match --save`, `detect --to jsonl` or
`segment --json` wrote.

examples:
  sluice retrieve bike.jpg --roi 210,80,260,140 --save found.json
  sluice page found.json -o found.html
  sluice page found.json -o found.html --images frames/       images from a folder, no server needed
  sluice detect frames/ --to jsonl | sluice page - -o found.html
  sluice segment frames/ --classes road,car --json | sluice page - -o found.html

The images come from the server, or from the folder: a file named by its id, with any ending.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from .. import detection_page, formats, page, segmentation_page, server_options
from ..console import OK, Console
from ..detections import Detected, Detections
from ..errors import InvalidRequest
from ..segmented import Segmentation, Segmented
from . import outputs

LOCAL = True

Images = Callable[[str], bytes]  # of an id


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("found", metavar="FOUND", help="what --save wrote; - for stdin")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--title", help="a title for the page")
    parser.add_argument("--images", metavar="DIR", help="take the images from this folder instead of the server")
    server_options.add(parser)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one image (default 60)")


class _Read(NamedTuple):
    """What a file holds. write: makes the page; size: how many images; stored: whether they are frames of the gallery,
    and not files."""

    write: Callable[[Images], None]
    size: int
    stored: bool


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    write, size, stored = _read(args)
    with console.progress(size, " images", "fetching") as bar, ExitStack() as stack:
        if args.images:
            folder = Path(args.images)
            if not folder.is_dir():
                raise InvalidRequest(f"{args.images} is no folder.", status="LOCAL")
            files = {path.stem: path for path in folder.rglob("*") if path.is_file()}

            def source(id: str) -> bytes:
                return files[id if id in files else Path(id).stem].read_bytes()

        elif stored:
            source = stack.enter_context(server_options.client(args)).image
        else:
            source = outputs.files

        def fetch(id: str) -> bytes:
            bar.update()
            return source(id)

        write(fetch)
    console.note(f"wrote {args.output}")
    return OK


def _read(args: argparse.Namespace) -> _Read:
    said = formats.read(args.found)
    first = said.lstrip()[:300]
    if '"format"' in first or '"id"' not in first:
        saved = formats.loads(said)

        def searched(images: Images) -> None:
            page.write(
                args.output,
                saved.image or None,
                saved.rois,
                saved.found,
                images,
                title=args.title,
                texts=saved.texts,
                others=saved.others,
            )

        return _Read(searched, len(saved.found), saved.stored)
    lines = formats.parsed(said, args.found)
    # A file is named by its path; what is none is the id of a stored frame.
    stored = not any(Path(line["id"]).exists() for line in lines)
    if "segments" in lines[0]:
        segmented = Segmented.of([Segmentation.from_json(line) for line in lines])
        return _Read(
            lambda images: segmentation_page.write(args.output, segmented, images, title=args.title),
            len(lines),
            stored,
        )
    ones = tuple(map(Detections.from_json, lines))
    found = Detected(ones, outputs.labels_of(ones), next((one.model for one in ones if one.model), ""))
    return _Read(lambda images: detection_page.write(args.output, found, images, title=args.title), len(lines), stored)
