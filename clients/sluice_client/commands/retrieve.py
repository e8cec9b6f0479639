"""Find the stored frames that show what a region of the query shows, or what a text says, the best first.

examples:
  sluice retrieve bike.jpg --roi 210,80,260,140
  sluice retrieve --id 0016E5-000390 --roi 210,80,260,140 -k 50 --per-drive 5 --page found.html
  sluice retrieve a.jpg --roi 0,0,64,64 --roi 300,20,360,90 --combine mean --drive 0006R0 --to csv > found.csv
  sluice retrieve a.jpg --roi 0,0,64,64 b.jpg --roi 9,9,60,60 --all-heatmaps --page found.html    either of two
  sluice retrieve crops/*.jpg --roi 0%,0%,100%,100% --combine query    a list for each image
  sluice retrieve a.jpg --roi 0,0,64,64 --tag night --exclude 0016E5-000390 --json | jq -r .id
  sluice retrieve --text "a fence"
  sluice retrieve bike.jpg --roi 210,80,260,140 --text "trees" --fuse 0.3    both; the text counts 0.3

Each image is a query of its own. A --roi belongs to the image (or --id, or --and) named before it; if several images
are named one after the other, it is a region of each of them. A query without a region is refused.

A text finds only frames that have an embedding; `sluice compare --unembedded` embeds the frames that have none. A text
with a word that the network has not learned is refused; `sluice words` lists the words that it has learned.
"""

from __future__ import annotations

import argparse

from ..client import Sluice
from ..files import saved_results
from ..pages import retrieve
from ..query import encoded
from ..terminal import filter_options, query_options
from ..terminal.console import OK, Console
from ..verbs.segment import TEMPLATES

PLACE = 20
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    query_options.image_arguments(parser)
    query_options.query_arguments(parser)
    parser.add_argument(
        "--text",
        action="append",
        metavar="TEXT",
        help="words for what the frames show; repeat it for frames that show any of several",
    )
    parser.add_argument(
        "--fuse", type=float, metavar="F", help="share of --text in the score beside a query, 0..1 (default 0.5)"
    )
    parser.add_argument(
        "--templates",
        choices=TEMPLATES,
        help="put the texts, as class names, into this set of sentences (default: as they are)",
    )
    parser.add_argument(
        "--allow-unknown", action="store_true", help="go on even if the network has not learned a word of --text"
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="the most results (default 10)")
    parser.add_argument(
        "--combine",
        choices=("max", "mean", "query"),
        default="mean",
        help="score of several regions or texts: the mean of their scores (default, for examples of one thing), or the "
        "best (for any of several things); query: a list of -k results per query",
    )
    parser.add_argument("--threshold", type=float, metavar="S", help="least score of a result, -1 to 1")
    parser.add_argument("--per-drive", type=int, metavar="N", help="the most results of one drive")
    filter_options.add(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    queries = [] if args.text is not None and not args.asked else query_options.queries(args, client)
    found = client.retrieve(
        queries or None,
        texts=args.text,
        templates=args.templates,
        fuse=args.fuse,
        allow_unknown=args.allow_unknown,
        k=args.k,
        threshold=args.threshold,
        score=args.score,
        combine=args.combine,
        per_drive=args.per_drive,
        heatmaps=query_options.heatmaps(args),
        **filter_options.given(args),
    )
    query_options.show(found.matches, console, args, found.words, found.notes, found.no_effect)
    if len(queries) > 1:
        regions = ", ".join(f"{query_options.called([one])} ({len(one.rois)})" for one in queries)
        console.note(f"{len(queries)} queries, each with its count of regions: {regions}")
    console.note(f"{len(found)} of {found.searched} frames in {found.seconds:.3f} s, {found.rescored} scored twice")
    if found.lacking:
        console.note(f"{found.lacking} frames have no embedding and were not ranked: run `sluice compare --unembedded`")
    for line in (*found.no_effect, *found.notes, *found.words.said()):
        console.note(f"warning: {line}")
    if args.heatmaps:
        query_options.save_heatmaps(found.matches, args.heatmaps)
    if args.page or args.save:
        shown = query_options.pictured(queries, client.image)
        image, rois, others = (encoded(shown[0].image or b""), shown[0].rois, shown[1:]) if shown else (None, (), ())
        if args.save:
            saved_results.save(args.save, image or b"", rois, found, args.text or (), others)
        if args.page:
            with console.progress(len(found), " images", "fetching") as bar:

                def fetch(id: str) -> bytes:
                    bar.update()
                    return client.image(id)

                title = query_options.called(queries[:1]) or ", ".join(args.text)
                retrieve.write(args.page, image, rois, found, fetch, title=title, texts=args.text or (), others=others)
            console.note(f"wrote {args.page}")
    return OK
