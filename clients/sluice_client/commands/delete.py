"""Remove stored frames, by their ids.

examples:
  sluice delete 0016E5-000390
  sluice list --drive test --null | sluice delete - --null
  sluice list --drive test --null | xargs -0 sluice delete --
"""

from __future__ import annotations

import argparse

from ..client import Sluice
from ..terminal import object_outputs, stored_ids
from ..terminal.console import OK, SOME_FAILED, Console

PLACE = 72
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("ids", nargs="+", metavar="ID", help=f"ids of stored frames; {stored_ids.FROM_STDIN}")
    stored_ids.null(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    ids = stored_ids.ids(args.ids, args.null)
    deleted = 0
    for some in object_outputs.chunks(ids):
        gone = set(client.delete(some))
        deleted += len(gone)
        for id in some:
            if console.json:
                console.data({"id": id, "deleted": id in gone})
            elif id not in gone:
                console.error(f"{id} was not stored.")
    if not console.json:
        console.text(f"{deleted} deleted")
    return OK if deleted == len(ids) else SOME_FAILED
