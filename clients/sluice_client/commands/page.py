"""Make a page of results (HTML, one file) from what `retrieve --save` or `match --save` wrote.

examples:
  sluice retrieve bike.jpg --roi 210,80,260,140 --save found.json
  sluice page found.json -o found.html
  sluice page found.json -o found.html --images frames/       images from a folder, no server needed

The images come from the server, or from the folder: a file named by its id, with any ending.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import formats, page
from ..client import Sluice
from ..console import OK, Console
from ..errors import InvalidRequest

LOCAL = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("found", metavar="FOUND", help="what --save wrote; - for stdin")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--title", help="a title for the page")
    parser.add_argument("--images", metavar="DIR", help="take the images from this folder instead of the server")
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="gRPC address (default: $SLUICE_URL, else 127.0.0.1:8001)"
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one image (default 60)")


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    saved = formats.load(args.found)
    with console.progress(len(saved.found), " images", "fetching") as bar:
        if args.images:
            folder = Path(args.images)
            if not folder.is_dir():
                raise InvalidRequest(f"{args.images} is no folder.", status="LOCAL")
            files = {path.stem: path for path in folder.rglob("*") if path.is_file()}

            def from_folder(id: str) -> bytes:
                bar.update()
                return files[Path(id).stem if id not in files else id].read_bytes()

            page.write(args.output, saved.image, saved.rois, saved.found, from_folder, title=args.title)
        else:
            with Sluice(args.server, timeout=args.timeout) as server:

                def from_server(id: str) -> bytes:
                    bar.update()
                    return server.image(id) if saved.stored else Path(id).read_bytes()

                page.write(args.output, saved.image, saved.rois, saved.found, from_server, title=args.title)
    console.note(f"wrote {args.output}")
    return OK
