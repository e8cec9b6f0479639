"""Open a page on which you draw regions over an image; the page shows the command that searches for them.

examples:
  sluice crop bike.jpg
  sluice crop bike.jpg -o crop.html --no-open      on a machine without a browser
  sluice crop bike.jpg --for match

The page is one file with the image in it, and asks no server. Draw regions, copy the command, and run it.
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
    """Add the command's own options to its parser."""
    parser.add_argument("image", metavar="IMAGE", help="the image: JPEG, PNG or WebP")
    parser.add_argument("-o", "--output", metavar="FILE", help="the file of the page (default: a new temporary file)")
    parser.add_argument(
        "--for",
        dest="verb",
        choices=("retrieve", "match"),
        default="retrieve",
        help="the command that the regions are for (default: retrieve)",
    )
    parser.add_argument("--no-open", action="store_true", help="write the page, but do not open a browser")


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    """Run the command and return its exit code."""
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
