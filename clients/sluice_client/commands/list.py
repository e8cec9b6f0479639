"""List the stored frames.

examples:
  sluice list
  sluice list --drive 0016E5 --tag night --json | jq -r .id
  sluice list --drive 0016E5 --null | sluice get - --null -o frames/
"""

from __future__ import annotations

import argparse
from itertools import islice

from ..client import Sluice
from ..errors import InvalidRequest
from ..terminal import filter_options
from ..terminal.console import OK, Console

PLACE = 70
LOCAL = False
TELLS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("-n", type=int, metavar="N", help="the most frames to list (default: all)")
    parser.add_argument(
        "--null",
        action="store_true",
        help="print the ids alone, each with a zero byte behind it, for --null of other commands or xargs -0",
    )
    filter_options.add(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    if args.null and console.json:
        raise InvalidRequest("--null and --json are two forms of the list; leave one out.")
    if args.n is not None and args.n < 1:
        raise InvalidRequest(f"-n must be at least 1; got {args.n}.")
    count = 0
    for frame in islice(client.frames(**filter_options.given(args)), args.n):
        count += 1
        if console.json:
            console.data(frame.as_json())
        elif args.null:
            console.write(f"{frame.id}\0")
        else:
            time = "" if frame.time is None else f"{frame.time:.3f}".rstrip("0").rstrip(".")
            size = f"{frame.width}x{frame.height}" if frame.width else ""
            console.text("\t".join([frame.id, frame.drive, frame.camera, time, size, ",".join(frame.tags)]))
    console.note(f"{count} frames")
    return OK
