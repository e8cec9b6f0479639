"""Make a page of results (HTML, one file) from what `retrieve --save`, `match --save` or `detect --to jsonl` wrote.

examples:
  sluice retrieve bike.jpg --roi 210,80,260,140 --save found.json
  sluice page found.json -o found.html
  sluice page found.json -o found.html --images frames/       images from a folder, no server needed
  sluice detect frames/ --to jsonl | sluice page - -o found.html

The images come from the server, or from the folder: a file named by its id, with any ending.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .. import detection_page, formats, page, server_options
from ..console import OK, Console
from ..detections import Detected, Detections
from ..errors import InvalidRequest
from . import outputs

LOCAL = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("found", metavar="FOUND", help="what --save wrote; - for stdin")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--title", help="a title for the page")
    parser.add_argument("--images", metavar="DIR", help="take the images from this folder instead of the server")
    server_options.add(parser)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one image (default 60)")


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    said = formats.read(args.found)
    first = said.lstrip()[:300]
    if '"format"' in first or '"id"' not in first:
        saved = formats.loads(said)
        stored, count = saved.stored, len(saved.found)

        def write(images: Callable[[str], bytes]) -> None:
            page.write(
                args.output, saved.image or None, saved.rois, saved.found, images, title=args.title, texts=saved.texts
            )
    else:
        ones = tuple(map(Detections.from_json, formats.parsed(said, args.found)))
        found = Detected(ones, outputs.labels_of(ones), next((one.model for one in ones if one.model), ""))
        # `detect` names a file by its path; what is none is the id of a stored frame.
        stored, count = not any(Path(one.id).exists() for one in ones), len(found)

        def write(images: Callable[[str], bytes]) -> None:
            detection_page.write(args.output, found, images, title=args.title)

    with console.progress(count, " images", "fetching") as bar, ExitStack() as stack:
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
