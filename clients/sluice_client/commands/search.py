"""The arguments that `retrieve` and `match` share, and how both show their results."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..client import Sluice
from ..console import Console
from ..errors import InvalidRequest
from ..pictures import NotAPicture, size
from ..query import Query, encoded
from ..results import Box, Match
from ..retrieve import Heatmaps
from ..wording import NOTHING, Words

__all__ = ["heatmaps", "pictured", "queries", "query_arguments", "roi", "save_heatmaps", "show"]


@dataclass(frozen=True)
class Share:
    """A region in hundredths of the picture's width and height, as long as its size is not known."""

    box: Box

    def of(self, width: int, height: int) -> Box:
        x0, y0, x1, y1 = self.box
        return Box(x0 * width / 100, y0 * height / 100, x1 * width / 100, y1 * height / 100)


def roi(text: str) -> Box | Share:
    """Return a region as the command line has it: four numbers of pixels, or four of percent."""
    words = [word.strip() for word in text.split(",")]
    shares = [word.endswith("%") for word in words]
    try:
        x0, y0, x1, y1 = (float(word.removesuffix("%")) for word in words)
    except ValueError:
        raise argparse.ArgumentTypeError(f"four numbers x0,y0,x1,y1 were expected, got {text!r}") from None
    if any(shares) != all(shares):
        raise argparse.ArgumentTypeError(f"a region is all pixels or all percent, got {text!r}")
    return Share(Box(x0, y0, x1, y1)) if all(shares) else Box(x0, y0, x1, y1)


class _Roi(argparse.Action):
    """A region of the query that was named last: of the first one before any --and."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        if namespace.others:
            *before, (name, rois) = namespace.others
            namespace.others = [*before, (name, [*rois, values])]
        else:
            namespace.roi = [*namespace.roi, values]


def query_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", metavar="ID", help="take a stored frame as the query instead of an image")
    parser.add_argument(
        "--roi",
        type=roi,
        action=_Roi,
        default=[],
        metavar="x0,y0,x1,y1",
        help="region to look for: pixels of the query image, or 10%%,20%%,30%%,40%% of its width and height; give "
        "several for several regions (sluice crop draws them)",
    )
    parser.add_argument(
        "--and",
        dest="others",
        type=lambda name: (name, []),
        action="append",
        default=[],
        metavar="QUERY",
        help="another query, to which each --roi behind it belongs: an image, or an id where the first is one",
    )
    parser.add_argument(
        "--score",
        choices=("roi", "image", "mean", "area"),
        default="roi",
        help="roi (default): how well each cell of the region is found in the image; image: the mirror of it; "
        "mean: of both; area: the literal form of the patent",
    )
    parser.add_argument("--heatmaps", metavar="DIR", help="write a heat map a result into this folder, as grey PNG")
    parser.add_argument(
        "--all-heatmaps",
        action="store_true",
        help="of several queries: in --heatmaps, --page and --save the heat map of each by itself, "
        "not only of the one that the image scored by",
    )
    parser.add_argument("--page", metavar="FILE", help="write a page of results (HTML, one file)")
    parser.add_argument("--save", metavar="FILE", help="write query and results as JSON, for `sluice page`")
    parser.add_argument("--to", choices=("jsonl", "csv"), help="print as JSON lines or CSV instead of a table")


def queries(image: str | None, args: argparse.Namespace, client: Sluice) -> list[Query]:
    """Return the queries of a command line; `image` is the first, unless --id names it. client: to fetch a stored
    picture whose size is needed, since a region is given in percent."""
    if (image is None) == (args.id is None):
        raise InvalidRequest("Give an image or --id, one of the two.", status="LOCAL")
    if not args.roi:
        raise InvalidRequest(
            "Say with --roi x0,y0,x1,y1 which part of the query to look for (pixels, x right, y down).", status="LOCAL"
        )
    for name, rois in args.others:
        if not rois:
            raise InvalidRequest(f"Say with --roi behind --and {name} which part of it to look for.", status="LOCAL")
    found = []
    for name, rois in ((image or args.id, args.roi), *args.others):
        if any(isinstance(one, Share) for one in rois):
            data = encoded(name) if args.id is None else client.image(name)
            try:
                width, height = size(data)
            except NotAPicture as error:
                raise InvalidRequest(f"{name}: {error}.", status="LOCAL") from None
            rois = [one.of(width, height) if isinstance(one, Share) else one for one in rois]
        found.append(Query(name, rois=rois) if args.id is None else Query(id=name, rois=rois))
    return found


def heatmaps(args: argparse.Namespace) -> Heatmaps:
    """Which heat maps to ask for."""
    if args.all_heatmaps and not (args.heatmaps or args.page or args.save):
        raise InvalidRequest("--all-heatmaps says what --heatmaps, --page or --save hold; give one.", status="LOCAL")
    return "all" if args.all_heatmaps else bool(args.heatmaps or args.page or args.save)


def pictured(asked: Sequence[Query], image: Callable[[str], bytes]) -> list[Query]:
    """The same queries with their encoded images. image: of a stored id."""
    return [Query(image(one.id) if one.image is None else encoded(one.image), rois=one.rois) for one in asked]  # type: ignore[arg-type]


def show(
    matches: Sequence[Match],
    console: Console,
    args: argparse.Namespace,
    words: Words = NOTHING,
    notes: Sequence[str] = (),
) -> None:
    """Print the results. words: what there is to say of the texts that were asked for; notes: of the regions."""
    if console.json or args.to == "jsonl":
        told: dict[str, Any] = {"words": words.as_json()} if words.texts else {}
        told |= {"notes": list(notes)} if notes else {}
        for rank, match in enumerate(matches, 1):
            console.data({"rank": rank, **match.as_json(), **told})
    elif args.to == "csv":
        _csv(matches)
    else:
        rows = [_row(rank, match) for rank, match in enumerate(matches, 1)]
        used = [i for i in range(len(_HEAD)) if i < 3 or any(row[i] for row in rows)]
        console.table([_HEAD[i] for i in used], [[row[i] for i in used] for row in rows])


_HEAD = ("rank", "score", "id", "drive", "camera", "time", "box where it shows")


def _row(rank: int, match: Match) -> list[str]:
    frame = match.frame
    if match.error:
        return [str(rank), "-", match.id, "", "", "", match.error]
    best = match.best_box or ()
    time = "" if frame is None or frame.time is None else f"{frame.time:.3f}".rstrip("0").rstrip(".")
    box = ",".join(f"{value:.0f}" for value in best)
    drive, camera = (frame.drive, frame.camera) if frame else ("", "")
    return [str(rank), f"{match.score:.4f}", match.id, drive, camera, time, box]


def _csv(matches: Sequence[Match]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["rank", "id", "score", "drive", "camera", "time", "tags", "roi_scores", "boxes", "error"])
    for rank, match in enumerate(matches, 1):
        frame = match.frame
        writer.writerow(
            [
                rank,
                match.id,
                "" if match.error else repr(match.score),
                frame.drive if frame else "",
                frame.camera if frame else "",
                "" if frame is None or frame.time is None else repr(frame.time),
                " ".join(frame.tags) if frame else "",
                "" if match.error else " ".join(repr(score) for score in match.roi_scores),
                "" if match.error else " ".join(",".join(f"{v:.2f}" for v in box) for box in match.boxes),
                match.error or "",
            ]
        )


def save_heatmaps(matches: Sequence[Match], folder: str) -> None:
    """One grey PNG a result: rank, then the id with what a file name cannot hold replaced; behind it, where there is a
    map for each of several queries, which one it is of."""
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for rank, match in enumerate(matches, 1):
            if match.heatmap_png:
                name = "".join(c if c.isalnum() or c in "._-" else "_" for c in Path(match.id).name)[:100]
                (target / f"{rank:03d}_{name}.png").write_bytes(match.heatmap_png)
                for i, png in enumerate(match.query_heatmap_pngs, 1):
                    (target / f"{rank:03d}_{name}_query{i}.png").write_bytes(png)
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be written: {error.strerror}.", status="LOCAL") from None
