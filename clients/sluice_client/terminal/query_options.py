"""The options that `retrieve` and `match` share, and the forms in which both print their results."""

from __future__ import annotations

import argparse
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answers.no_effect import NoEffect
from ..answers.retrieve import Match
from ..answers.words import NOTHING, Words
from ..client import Sluice
from ..drawing.pictures import NotAPicture, size
from ..errors import InvalidRequest, unwritten
from ..frames import Box
from ..query import Query, encoded
from ..verbs.retrieve import Heatmaps
from .console import Console

__all__ = ["called", "heatmaps", "pictured", "queries", "query_arguments", "roi", "save_heatmaps", "show"]


@dataclass(frozen=True)
class Share:
    """A region in percent of the image's width and height, for as long as the image's size is not known."""

    box: Box

    def of(self, width: int, height: int) -> Box:
        """Return the region in pixels of an image of this size."""
        x0, y0, x1, y1 = self.box
        return Box(x0 * width / 100, y0 * height / 100, x1 * width / 100, y1 * height / 100)


def roi(text: str) -> Box | Share:
    """Return the region of a command line: four numbers in pixels, or four in percent."""
    words = [word.strip() for word in text.split(",")]
    shares = [word.endswith("%") for word in words]
    try:
        x0, y0, x1, y1 = (float(word.removesuffix("%")) for word in words)
    except ValueError:
        raise argparse.ArgumentTypeError(f"four numbers x0,y0,x1,y1 were expected, got {text!r}") from None
    if any(shares) != all(shares):
        raise argparse.ArgumentTypeError(f"a region is all pixels or all percent, got {text!r}")
    return Share(Box(x0, y0, x1, y1)) if all(shares) else Box(x0, y0, x1, y1)


@dataclass(frozen=True)
class Asked:
    """Queries that a command line names one after the other, and the regions behind them; each query has them all.

    names: (kind, name) of each query; the kind is "image" or "id", or "and" for the kind of the first query.
    rois:  the regions.
    """

    names: tuple[tuple[str, str], ...] = ()
    rois: tuple[Box | Share, ...] = ()


class _Named(argparse.Action):
    """Reads a query. It joins the queries before it if no region stands behind them yet."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        name = (str(self.const), values)
        *before, last = namespace.asked or [Asked()]
        # Before --and there may be a query without an option, which argparse reads later.
        if last.rois and (last.names or self.const == "and"):
            namespace.asked = [*before, last, Asked((name,))]
        else:
            namespace.asked = [*before, Asked((*last.names, name), last.rois)]


class _Roi(argparse.Action):
    """Reads a region. It belongs to the queries that are named before it, since the last region of other queries."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        *before, last = namespace.asked or [Asked()]
        namespace.asked = [*before, Asked(last.names, (*last.rois, values))]


def image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add images as queries, each in its place among the options; see `usage.Parser.words_as`."""
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="the query, or several queries: JPEG, PNG or WebP")
    parser.add_argument(
        "--image",
        action=_Named,
        const="image",
        default=argparse.SUPPRESS,
        metavar="IMAGE",
        help="a query, the same as IMAGE without an option",
    )
    parser.words_as = "--image"  # type: ignore[attr-defined]  # a usage.Parser has it


def query_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for queries, scores and outputs to a command's parser."""
    parser.set_defaults(asked=())
    parser.add_argument(
        "--id",
        action=_Named,
        const="id",
        default=argparse.SUPPRESS,
        metavar="ID",
        help="take a stored frame as the query instead of an image; may be repeated",
    )
    parser.add_argument(
        "--roi",
        type=roi,
        action=_Roi,
        default=argparse.SUPPRESS,
        metavar="x0,y0,x1,y1",
        help="a region of the query named before it, or of each query named since the last region: pixels of the query "
        "image, or percent of its width and height, as in 10%%,20%%,30%%,40%%; repeat it for several regions (sluice "
        "crop draws them)",
    )
    parser.add_argument(
        "--and",
        action=_Named,
        const="and",
        default=argparse.SUPPRESS,
        metavar="QUERY",
        help="another query, to which each --roi behind it belongs: an image, or an id if the first query is an id",
    )
    parser.add_argument(
        "--score",
        choices=("roi", "image", "mean", "area"),
        default="roi",
        help="roi (default): how well the image shows each cell of the region; image: how well the region shows each "
        "cell of the image; mean: the mean of both; area: the literal form of the patent",
    )
    parser.add_argument("--heatmaps", metavar="DIR", help="write a heat map per result into this folder, as grey PNG")
    parser.add_argument(
        "--all-heatmaps",
        action="store_true",
        help="if there are several queries: put the heat map of each query into --heatmaps, --page and --save, not "
        "only that of the query which gave the image its score",
    )
    parser.add_argument("--page", metavar="FILE", help="write a page of results (HTML, one file)")
    parser.add_argument("--save", metavar="FILE", help="write the query and the results as JSON, for `sluice page`")
    parser.add_argument("--to", choices=("jsonl", "csv"), help="print as JSON lines or CSV instead of a table")


def queries(args: argparse.Namespace, client: Sluice, first: str | None = None) -> list[Query]:
    """Return the queries of a command line.

    client: fetches a stored image whose size is needed because a region is given in percent.
    first:  path of the image that is the first query; None if the options name all queries.
    Raises InvalidRequest if there is no query, or a query without a region.
    """
    asked: list[Asked] = list(args.asked) or [Asked()]
    if first is not None:
        asked[0] = Asked((("image", first), *asked[0].names), asked[0].rois)
    named = [(kind, name, one.rois) for one in asked for kind, name in one.names]
    if not all(one.names for one in asked) or {"image", "id"} <= {kind for kind, _, _ in named}:
        raise InvalidRequest("Give an image or --id, one of the two.")
    by_id = named[0][0] == "id"
    found = []
    for place, (kind, name, rois) in enumerate(named):
        if not rois:
            behind = f"behind {'--and ' if kind == 'and' else ''}{name} which part of it"
            which = behind if place else "which part of the query"
            raise InvalidRequest(f"Say with --roi {which} to look for (x0,y0,x1,y1 in pixels, x right, y down).")
        found.append(_query(name, by_id, rois, client))
    return found


def _query(name: str, by_id: bool, rois: Sequence[Box | Share], client: Sluice) -> Query:
    width = height = 0
    if any(isinstance(one, Share) for one in rois):
        try:
            width, height = size(client.image(name) if by_id else encoded(name))
        except NotAPicture as error:
            raise InvalidRequest(f"{name}: {error}.") from None
    boxes = [one.of(width, height) if isinstance(one, Share) else one for one in rois]
    return Query(id=name, rois=boxes) if by_id else Query(name, rois=boxes)


def called(queries: Sequence[Query]) -> str:
    """Return the names of the queries, for titles and notes."""
    return ", ".join(one.id or Path(str(one.image)).name for one in queries)


def heatmaps(args: argparse.Namespace) -> Heatmaps:
    """Return which heat maps to ask for. Raises InvalidRequest if --all-heatmaps would have no effect."""
    if args.all_heatmaps and not (args.heatmaps or args.page or args.save):
        raise InvalidRequest("--all-heatmaps says what --heatmaps, --page or --save hold; give one of these.")
    return "all" if args.all_heatmaps else bool(args.heatmaps or args.page or args.save)


def pictured(asked: Sequence[Query], image: Callable[[str], bytes]) -> list[Query]:
    """Return the same queries with encoded images. image: returns the encoded image of a stored frame."""
    return [Query(image(str(one.id)) if one.image is None else encoded(one.image), rois=one.rois) for one in asked]


def show(
    matches: Sequence[Match],
    console: Console,
    args: argparse.Namespace,
    words: Words = NOTHING,
    notes: Sequence[str] = (),
    no_effect: Sequence[NoEffect] = (),
) -> None:
    """Print the results as a table, JSON lines or CSV.

    words:     which words of the texts the server's network has learned.
    notes:     sentences of the server about the regions.
    no_effect: the options that had no effect.
    """
    if console.json or args.to == "jsonl":
        told: dict[str, Any] = {"words": words.as_json()} if words.texts else {}
        told |= {"notes": list(notes)} if notes else {}
        told |= {"no_effect": [one.as_json() for one in no_effect]} if no_effect else {}
        for rank, match in _ranked(matches):
            console.data({"rank": rank, **match.as_json(), **told})
    elif args.to == "csv":
        console.write(_csv(matches))
    else:
        rows = [_row(rank, match) for rank, match in _ranked(matches)]
        used = [i for i in range(len(_HEAD)) if i < 3 or any(row[i] for row in rows)]
        console.table([_HEAD[i] for i in used], [[row[i] for i in used] for row in rows])


def _ranked(matches: Sequence[Match]) -> Iterator[tuple[int, Match]]:
    """Yield (rank, match); ranks begin with 1 in each query's list."""
    ranks: Counter[int | None] = Counter()
    for match in matches:
        ranks[match.query] += 1
        yield ranks[match.query], match


_HEAD = ("rank", "score", "id", "query", "drive", "camera", "time", "box where it shows")


def _row(rank: int, match: Match) -> list[str]:
    frame = match.frame
    if match.error:
        return [str(rank), "-", match.id, "", "", "", "", match.error]
    best = match.best_box or ()
    time = "" if frame is None or frame.time is None else f"{frame.time:.3f}".rstrip("0").rstrip(".")
    box = ",".join(f"{value:.0f}" for value in best)
    drive, camera = (frame.drive, frame.camera) if frame else ("", "")
    query = "" if match.query is None else str(match.query + 1)
    return [str(rank), f"{match.score:.4f}", match.id, query, drive, camera, time, box]


def _csv(matches: Sequence[Match]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "id", "score", "drive", "camera", "time", "tags", "roi_scores", "boxes", "error", "query"])
    for rank, match in _ranked(matches):
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
                "" if match.query is None else match.query + 1,
            ]
        )
    return text.getvalue()


def save_heatmaps(matches: Sequence[Match], folder: str) -> None:
    """Write one grey PNG per result into a folder.

    A file is called by rank and id; letters that a file name cannot hold are replaced. If there is a heat map of each
    of several queries, those files also bear the number of their query.
    """
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
        raise unwritten(folder, error) from None
