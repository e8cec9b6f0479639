"""Open a page to draw regions over a picture; it shows the command that searches for them.

examples:
  sluice crop bike.jpg
  sluice crop bike.jpg -o crop.html --no-open      on a machine without a browser
  sluice crop bike.jpg --for match

The page is one file with the picture in it. It asks no server: draw, copy the command, run it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import webbrowser
from pathlib import Path

from ..pages import crop, document
from ..query import encoded
from ..terminal.console import OK, Console

PLACE = 22
LOCAL = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="the picture: JPEG, PNG or WebP")
    parser.add_argument("-o", "--output", metavar="FILE", help="the page to write (default: a new temporary file)")
    parser.add_argument(
        "--for",
        dest="verb",
        choices=("retrieve", "match"),
        default="retrieve",
        help="what the regions are for (retrieve)",
    )
    parser.add_argument("--no-open", action="store_true", help="write the page only, do not open a browser")


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    command = ["sluice", args.verb, args.image]
    written = crop.render(Path(args.image).name, encoded(args.image), command)
    target = args.output
    if target is None:
        number, target = tempfile.mkstemp(prefix="sluice-crop-", suffix=".html")
        os.close(number)
    document.write(target, written)
    opened = not args.no_open and webbrowser.open(Path(target).resolve().as_uri())
    if console.json:
        console.data({"page": os.fspath(target), "opened": opened})
    else:
        console.text(os.fspath(target))
    if not opened:
        console.note("open this page in a browser, draw regions, and copy the command that it shows")
    return OK
