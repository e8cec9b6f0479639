"""Fetch what the gallery knows about frames, or the image itself.

examples:
  sluice get 0016E5-000390
  sluice get 0016E5-000390 -o frame.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..client import Sluice
from ..console import OK, Console
from ..errors import InvalidRequest

LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the image here, exactly as it was added (one id)")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    if args.output:
        if len(args.ids) != 1:
            raise InvalidRequest(f"--output takes one id; got {len(args.ids)}.", status="LOCAL")
        data = client.image(args.ids[0])
        try:
            Path(args.output).write_bytes(data)
        except OSError as error:
            raise InvalidRequest(f"{args.output} cannot be written: {error.strerror}.", status="LOCAL") from None
        console.note(f"wrote {args.output}")
    for frame in client.get(args.ids):
        console.data(frame.as_json())
    return OK
