"""Find the stored frames that show what a region of the query shows, best first.

examples:
  sluice retrieve bike.jpg --roi 210,80,260,140
  sluice retrieve --id 0016E5-000390 --roi 210,80,260,140 -k 50 --per-drive 5 --page found.html
  sluice retrieve a.jpg --roi 0,0,64,64 --roi 300,20,360,90 --combine mean --drive 0006R0 --to csv > found.csv
  sluice retrieve a.jpg --roi 0,0,64,64 --tag night --exclude 0016E5-000390 --json | jq -r .id
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import formats, page
from ..client import Sluice
from ..console import OK, Console
from ..query import encoded
from . import search

LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="the query: JPEG, PNG or WebP")
    search.query_arguments(parser)
    parser.add_argument("-k", type=int, default=10, help="the most results (default 10)")
    parser.add_argument(
        "--combine",
        choices=("max", "mean"),
        default="max",
        help="several regions: the best of their scores (default), or the mean",
    )
    parser.add_argument("--threshold", type=float, metavar="S", help="leave out results that score less, -1 to 1")
    parser.add_argument("--drive", action="append", metavar="NAME", help="only this drive; may be repeated")
    parser.add_argument("--camera", action="append", metavar="NAME", help="only this camera; may be repeated")
    parser.add_argument("--after", type=float, metavar="T", help="only frames of this time or later, seconds")
    parser.add_argument("--before", type=float, metavar="T", help="only frames before this time, seconds")
    parser.add_argument("--tag", action="append", metavar="TAG", help="only frames with this tag; repeated: with all")
    parser.add_argument("--exclude", action="append", metavar="ID", help="not this frame; may be repeated")
    parser.add_argument("--per-drive", type=int, metavar="N", help="the most results of one drive")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    query = search.query(args.image, args)
    found = client.retrieve(
        query,
        k=args.k,
        threshold=args.threshold,
        score=args.score,
        combine=args.combine,
        drives=args.drive,
        cameras=args.camera,
        after=args.after,
        before=args.before,
        tags=args.tag,
        exclude=args.exclude,
        per_drive=args.per_drive,
        heatmaps=bool(args.heatmaps or args.page or args.save),
    )
    search.show(found.matches, console, args)
    console.note(f"{len(found)} of {found.searched} frames in {found.seconds:.3f} s, {found.rescored} scored twice")
    if args.heatmaps:
        search.save_heatmaps(found.matches, args.heatmaps)
    if args.page or args.save:
        image = encoded(args.image) if args.image else client.image(args.id)
        if args.save:
            formats.save(args.save, image, query.rois, found)
        if args.page:
            with console.progress(len(found), " images", "fetching") as bar:

                def fetch(id: str) -> bytes:
                    bar.update()
                    return client.image(id)

                page.write(
                    args.page, image, query.rois, found, fetch, title=Path(args.image).name if args.image else args.id
                )
            console.note(f"wrote {args.page}")
    return OK
