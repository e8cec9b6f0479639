"""Shows Sluice through the real server: stores drives, finds an object, asks what to label next, paints masks.

It writes three pages. Without arguments the pictures are generated. With your own: make demo FRAMES=folder
QUERY=image.jpg ROI=x0,y0,x1,y1
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sluice_client import Query, Sluice, SluiceError
from sluice_client.pages import detect, retrieve, segment

import sluice.server
from demo import drives

HERE = Path(__file__).resolve().parent
WORDS = ("road", "sky", "building", "tree", "car", "pavement", "pedestrian", "bicyclist")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def region(text: str) -> tuple[float, float, float, float]:
    """Read a region x0,y0,x1,y1, pixels, from the command line."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected x0,y0,x1,y1 in pixels of the query image; got {text!r}") from None
    return x0, y0, x1, y1


def story(args: argparse.Namespace) -> drives.Story:
    """Return the caller's own pictures, or generated drives."""
    if not (args.frames or args.query or args.roi):
        say("drawing two drives of generated street scenes ...")
        return drives.generated(HERE / "frames")
    if not (args.frames and args.query and args.roi):
        raise ValueError("your own pictures need all three: FRAMES=folder QUERY=image ROI=x0,y0,x1,y1")
    return drives.own(args.frames, args.query, args.roi)


def run(wanted: drives.Story, out: Path, k: int) -> None:
    """Store the drives, search, and write the pages. k: results of the search."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sluice_demo_") as gallery, sluice.server.start(gallery=gallery) as server:
        say(f"tritonserver answers on {server.grpc} after {server.seconds['answer']:.1f} s")
        with Sluice(server.grpc, timeout=120) as client:
            start = time.perf_counter()
            receipts = list(client.ingest(wanted.frames))
            seconds = time.perf_counter() - start
            stored = sum(receipt.status == "stored" for receipt in receipts)
            say(f"stored {stored} frames in {seconds:.1f} s ({stored / seconds:.1f} a second)")
            for receipt in receipts:
                if receipt.status == "refused":
                    say(f"  refused {receipt.id}: {receipt.error}")
            start = time.perf_counter()
            found = client.retrieve(Query(wanted.query, rois=wanted.rois), k=k)
            say(f"searched {found.searched} frames; the answer took {(time.perf_counter() - start) * 1000:.0f} ms\n")
            shown = wanted.shows
            head = ["rank", "frame", "score", *([f"shows a {drives.WANTED}"] if shown else [])]
            rows: list[list[str | float | int]] = [
                [rank, match.id, f"{match.score:.3f}", *([("yes" if shown(match.id) else "-")] if shown else [])]
                for rank, match in enumerate(found, 1)
            ]
            show(head, rows)
            if wanted.shows:
                every = sum(wanted.shows(frame.id) for frame in wanted.frames if frame.id)
                hits = sum(wanted.shows(match.id) for match in found)
                say(f"\n{hits} of the first {len(rows)} show a {drives.WANTED}; {every} of all {stored} frames do")
            table = retrieve.Table("Results", head, rows)
            retrieve.write(out, wanted.query, wanted.rois, found, client.image, title=wanted.title, tables=[table])
            label_next(client, out.with_name("select.html"))
            by_words(client, [match.id for match in found][:6], out.with_name("segment.html"))
    pages = [out, out.with_name("select.html"), out.with_name("segment.html")]
    say(f"\nthe server has stopped; open {', '.join(map(str, pages))}")


def label_next(client: Sluice, out: Path, n: int = 6) -> None:
    """Ask which frames deserve a label, print why, and write their page."""
    start = time.perf_counter()
    picks = client.select(n=n)
    seconds = time.perf_counter() - start
    say(f"\nwhat to label next, of {picks.statistics['frames']} frames ({1000 * seconds:.0f} ms):\n")
    show(["rank", "frame", "score", "why"], [[i, p.id, f"{p.score:.1f}", p.reason] for i, p in enumerate(picks, 1)])
    objects = client.detect(ids=[pick.id for pick in picks])
    detect.write(out, objects, client.image, selection=picks, title="What to label next")


def by_words(client: Sluice, ids: list[str], out: Path) -> None:
    """Name classes, print how much of the frames each covers, and write the page with their masks."""
    start = time.perf_counter()
    found = client.segment(ids=ids, classes=WORDS)
    seconds = time.perf_counter() - start
    say(f"\nmasks of the first {len(found)} by words alone ({seconds / max(len(found), 1) * 1000:.0f} ms a frame):\n")
    rows = [[found.classes[share.place], f"{share.area:.1%}"] for share in found.shares()]
    show(["class", "share of the pixels"], rows)
    segment.write(out, found, client.image, title="Masks by words")


def show(head: list[str], rows: list[list[Any]]) -> None:
    """Print a table in columns."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        say("  " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main(argv: list[str]) -> int:
    """Run the demo that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=Path, help="folder of your own pictures instead of generated ones")
    parser.add_argument("--query", type=Path, help="image that shows the object to look for")
    parser.add_argument(
        "--roi", type=region, action="append", help="x0,y0,x1,y1 in pixels of the query; may be given several times"
    )
    parser.add_argument("--out", type=Path, default=HERE / "index.html", help="page to write (default demo/index.html)")
    parser.add_argument("-k", type=int, default=12, help="results to show (default 12)")
    args = parser.parse_args(argv)
    try:
        run(story(args), args.out, args.k)
    except (ValueError, sluice.server.StartError, SluiceError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
