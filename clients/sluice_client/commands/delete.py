"""Remove frames from the gallery, by their ids.

examples:
  sluice delete 0016E5-000390
  sluice list --drive test --json | jq -r .id | xargs sluice delete
"""

from __future__ import annotations

import argparse

from ..client import Sluice
from ..console import OK, SOME_FAILED, Console

LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    gone: set[str] = set()
    for begin in range(0, len(args.ids), 500):
        gone |= set(client.delete(args.ids[begin : begin + 500]))
    for id in args.ids:
        if console.json:
            console.data({"id": id, "deleted": id in gone})
        elif id not in gone:
            console.error(f"{id} was not stored.")
    if not console.json:
        console.text(f"{len(gone)} deleted")
    return OK if gone >= set(args.ids) else SOME_FAILED
