"""Score the stored frames that the server's detector has not scored, so that `sluice select` can rank them.

examples:
  sluice score
  sluice score -n 1000 --json

`sluice add` scores new frames when it stores them; this command scores the others, which have no scores or those of an
older detector, and frames without objects that an older server scored, since they could not be ranked. Scores are
stored at once. Stop with Ctrl-C at any time, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice

from ..answers.detect import Detections
from ..client import Sluice
from ..errors import InvalidRequest
from ..terminal.console import OK, SOME_FAILED, Console

PLACE = 31
LOCAL = False

_CHUNK = 256  # ids per call of the client, few enough that their answers are freed early


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("-n", type=int, metavar="N", help="the most frames to score (default: all)")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="frames per call (default 8)")
    parser.add_argument("--in-flight", type=int, default=2, metavar="N", help="calls at the same time (default 2)")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    if args.n is not None and args.n < 1:
        raise InvalidRequest(f"-n must be at least 1; got {args.n}.")
    counts = {"scored": 0, "failed": 0}
    objects = 0
    begin = time.monotonic()
    with console.progress(_total(client, args.n), " frames", "scoring") as bar:

        def progress(done: list[Detections]) -> None:
            nonlocal objects
            for one in done:
                counts["scored" if one.error is None else "failed"] += 1
                objects += len(one)
                if console.json:
                    console.data({"id": one.id, "objects": len(one), "detector": one.model, "error": one.error})
                elif one.error is not None:
                    console.error(f"{one.id}: {one.error}")
            bar.update(len(done))
            bar.set_postfix(counts, refresh=False)

        for ids in _chunks(islice(client.unscored(), args.n)):
            client.detect(ids=ids, keep_scores=True, progress=progress, batch=args.batch, in_flight=args.in_flight)
    if not console.json:
        seconds = time.monotonic() - begin
        console.text(f"{counts['scored']} scored, {counts['failed']} failed, {objects} objects in {seconds:.1f} s")
    return SOME_FAILED if counts["failed"] else OK


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    """Yield the ids in lists of bounded length."""
    while chunk := list(islice(ids, _CHUNK)):
        yield chunk


def _total(client: Sluice, most: int | None) -> int | None:
    """Return how many frames there are to score; None if the server does not tell. most: the limit of -n."""
    told = client.describe().get("unscored")
    if not isinstance(told, int):
        return most
    return told if most is None else min(told, most)
