"""Score how much given images show what a region of the query shows; nothing is stored.

examples:
  sluice match bike.jpg --roi 210,80,260,140 frames/*.jpg
  sluice match --id 0016E5-000390 --roi 210,80,260,140 a.jpg b.jpg --page matched.html
  sluice match bike.jpg --roi 0,0,64,64 frames/*.jpg --json | jq -r 'select(.score > 0.8) | .id'

The best image comes first. With --id every path is an image to score; without it the first path is the query. Each
--roi belongs to the query named before it: the first, or that of --and.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..client import Sluice
from ..errors import InvalidRequest
from ..files import saved_results
from ..files.image_files import images_in
from ..pages import retrieve
from ..query import encoded
from ..terminal import query_options
from ..terminal.console import OK, SOME_FAILED, Console

PLACE = 21
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument(
        "paths", nargs="+", metavar="IMAGE", help="the query, then images to score, and folders of them"
    )
    query_options.query_arguments(parser)
    parser.add_argument("-k", type=int, metavar="N", help="show only the N best images (default: all)")
    parser.add_argument(
        "--combine",
        choices=("max", "mean"),
        default="mean",
        help="score of several regions: the mean of their scores (default), or the best",
    )


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    by_id = any(kind == "id" for one in args.asked for kind, _ in one.names)
    image, paths = (None, args.paths) if by_id else (args.paths[0], args.paths[1:])
    queries = query_options.queries(args, client, image)
    if args.k is not None and args.k < 1:
        raise InvalidRequest(f"-k must be at least 1; got {args.k}.")
    files = images_in([Path(path) for path in paths], console.note)
    if not files:
        raise InvalidRequest("Give images to score after the query.")
    with console.progress(len(files), " images", "matching") as bar:
        scores = client.match(
            queries,
            files,
            score=args.score,
            combine=args.combine,
            heatmaps=query_options.heatmaps(args),
            progress=lambda done: bar.update(len(done)),
        )
    failed = [match for match in scores if match.error]
    best = scores.best()[: args.k]
    query_options.show(best, console, args, notes=scores.notes)
    for line in scores.notes:
        console.note(f"warning: {line}")
    if args.heatmaps:
        query_options.save_heatmaps(best, args.heatmaps)
    if args.page or args.save:
        first, *others = query_options.pictured(queries, client.image)
        data, shown = encoded(first.image or b""), replace(scores, matches=best)
        if args.save:
            saved_results.save(args.save, data, first.rois, shown, others=others)
        if args.page:
            retrieve.write(
                args.page,
                data,
                first.rois,
                shown,
                lambda id: Path(id).read_bytes(),
                title=query_options.called(queries[:1]),
                others=others,
            )
            console.note(f"wrote {args.page}")
    return SOME_FAILED if failed else OK
