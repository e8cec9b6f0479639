"""The page of `retrieve` and `match`: the query with its regions, and each result with the places that match them.

retrieve.write("found.html", query_image, rois, found, client.image)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..answers.retrieve import Found, Match, Scores
from ..drawing import pictures
from ..drawing.pictures import Picture
from ..errors import InvalidRequest
from ..frames import Box
from ..query import ImageLike, Query, encoded
from . import cards, document
from .cards import Fact
from .document import Table

__all__ = ["Table", "render", "write"]


def write(
    path: str | os.PathLike,
    query_image: ImageLike | None,
    rois: Sequence[Sequence[float]],
    found: Found | Scores,
    images: Callable[[str], bytes],
    *,
    title: str | None = None,
    tables: Sequence[Table] = (),
    texts: Sequence[str] = (),
    others: Sequence[Query] = (),
) -> None:
    """Write the page to a file. Arguments are those of `render`.

    Raises InvalidRequest or CannotWrite when the file cannot be written.
    """
    document.write(
        path, render(query_image, rois, found, images, title=title, tables=tables, texts=texts, others=others)
    )


def render(
    query_image: ImageLike | None,
    rois: Sequence[Sequence[float]],
    found: Found | Scores,
    images: Callable[[str], bytes],
    *,
    title: str | None = None,
    tables: Sequence[Table] = (),
    texts: Sequence[str] = (),
    others: Sequence[Query] = (),
) -> str:
    """Return the page as text; it needs no other file and no network.

    query_image: encoded bytes or a path; None when the query had words alone.
    rois:        the regions of the query image, (x0, y0, x1, y1) in its pixels.
    found:       the answer of `retrieve` or `match`.
    images:      returns the encoded bytes of the image of an id; an image for which it raises is shown as missing, with
                 the reason.
    title:       text for the top of the page; None for "results".
    tables:      shown below the results.
    texts:       the words of the query.
    others:      the second query and those after it, each with an image (encoded bytes or a path).
    Raises InvalidRequest when a query image cannot be decoded.
    """
    boxes = [Box(*map(float, roi)) for roi in rois]
    asked = [(None if query_image is None else encoded(query_image), boxes)]
    asked += [(encoded(one.image or b""), [Box(*roi) for roi in one.rois]) for one in others]
    heats = _Range(*pictures.heat_range([png for match in found.matches for png in _heats(match).values()]))
    side = cards.side(len(found))
    # A search by words alone has neither heat maps nor best places, so the page must not offer buttons for them.
    drawn = any(match.heatmap_png for match in found.matches)
    placed = any(all(map(math.isfinite, box)) for match in found.matches for box in match.boxes)
    return document.render(
        "retrieve.html",
        title=f"Sluice: {title}" if title else "Sluice: results",
        summary=_summary(found),
        footer=f"Made by {found.model}" if found.model else "Sluice",
        tables=tables,
        listing=_listing(found),
        data={
            "model": found.model,
            "words": found.words.as_json() if isinstance(found, Found) else {},
            "matches": [match.as_json() for match in found.matches],
        },
        queries=_queries(asked, found, texts),
        heats=heats if drawn else None,
        places=placed,
        cards=[_card(i, match, images, side, heats) for i, match in enumerate(found.matches)],
        empty="No frame passed the filters and the threshold.",
    )


class _Range(NamedTuple):
    """The cosines at the two ends of the colours of the heat maps, -1..1."""

    low: float
    high: float


class _Region(NamedTuple):
    """A region of a query. place: counted over all queries, from 0; crop: data URL; share: of the image, in words."""

    place: int
    box: Box
    crop: str
    share: str


class _Asked(NamedTuple):
    """A query: its picture, None for words alone, its regions, and facts as name and value."""

    picture: Picture | None
    regions: list[_Region]
    facts: list[tuple[str, str]]


class _Ring(NamedTuple):
    """A circle, pixels of the image."""

    x: float
    y: float
    radius: float


class _Target(NamedTuple):
    """The place that matches a region best. ring: drawn around a place too small to be seen, else None."""

    place: int
    box: Box
    ring: _Ring | None


@dataclass(frozen=True, kw_only=True)
class _Card(cards.Card):
    """One result.

    score: -1..1. bar: the part of the score's bar that is filled, 0..1.
    roi_scores: the score of each region, none where there is one region.
    heats: query -> data URL of its heat map, in the order of `_heats`.
    """

    score: float
    bar: float
    roi_scores: tuple[float, ...]
    heats: dict[int | None, str]
    targets: list[_Target]


def _summary(found: Found | Scores) -> str:
    if isinstance(found, Scores):
        failed = sum(match.error is not None for match in found.matches)
        return f"{len(found) - failed} images compared" + (f"; {failed} could not be compared" if failed else "")
    if not found.matches:
        return f"nothing found among {found.searched:,} frames that passed the filters"
    return (
        f"the best {len(found)} of {found.searched:,} frames, searched in {_duration(found.seconds)}; "
        f"{found.rescored:,} scored again at full precision"
        + (f"; {found.lacking:,} more have no embedding yet" if found.lacking else "")
    )


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _queries(
    asked: Sequence[tuple[bytes | None, list[Box]]], found: Found | Scores, texts: Sequence[str]
) -> list[_Asked]:
    """Return the queries with their facts; words come with the first query, the model with the last."""
    words = [("words", "; ".join(texts))] if texts else []
    words += [("beware", line) for line in found.words.said()] if isinstance(found, Found) else []
    model = ("model", found.model or "unknown")
    shown, first = [], 0
    for i, (image, rois) in enumerate(asked):
        picture, regions, own = (None, [], []) if image is None else _query(image, rois, first)
        facts = [*(words if i == 0 else []), *([("query", str(i + 1))] if image and len(asked) > 1 else []), *own]
        shown.append(_Asked(picture, regions, facts))
        first += len(rois)
    shown[-1].facts.append(model)
    return shown


def _query(image: bytes, rois: list[Box], first: int) -> _Asked:
    """Return the picture of a query with its regions, which are counted from `first`, and their facts."""
    try:
        picture = pictures.shrink(image, 1280)
        crops = [pictures.crop(image, roi) for roi in rois]
    except pictures.NotAPicture as error:
        raise InvalidRequest(f"The query image cannot be shown: {error}.") from None
    regions = [
        _Region(i, roi, crop, _percent(roi, picture))
        for i, (roi, crop) in enumerate(zip(rois, crops, strict=True), first)
    ]
    facts = [
        ("image", f"{picture.width} × {picture.height} px"),
        ("regions", "; ".join(",".join(f"{v:.0f}" for v in roi) for roi in rois)),
    ]
    return _Asked(picture, regions, facts)


def _percent(roi: Box, picture: Picture) -> str:
    """Write which share of the picture a region covers."""
    width = min(roi.x1, picture.width) - max(roi.x0, 0)
    height = min(roi.y1, picture.height) - max(roi.y0, 0)
    share = 100 * max(width, 0) * max(height, 0) / (picture.width * picture.height)
    return f"{share:.2g} %" if share < 10 else f"{share:.0f} %"


def _heats(match: Match) -> dict[int | None, bytes]:
    """Return the heat maps of a match by query, first that of the query which gave the score.

    None stands for the query where the answer does not say which one it is.
    """
    if not match.heatmap_png:
        return {}
    return {match.heatmap_query: match.heatmap_png, **dict(enumerate(match.query_heatmap_pngs))}


def _card(place: int, match: Match, images: Callable[[str], bytes], side: int, heats: _Range) -> _Card:
    def drawn() -> tuple[Picture, dict[int | None, str]]:
        picture = pictures.shrink(images(match.id), side)
        return picture, {query: pictures.heat(png, *heats) for query, png in _heats(match).items()}

    made, missing = cards.attempt(drawn)
    picture, maps = made or (None, {})
    facts = [Fact(f"words {' '.join(f'{score:.3f}' for score in match.text_scores)}")] if match.text_scores else []
    facts += cards.frame_facts(match.frame) if match.frame is not None else []
    facts += [Fact(f"query {match.query + 1}")] if match.query is not None else []
    return _Card(
        place=place,
        id=match.id,
        picture=picture,
        missing=missing,
        error=match.error,
        facts=facts,
        score=match.score,
        bar=min(max(match.score, 0), 1),
        roi_scores=match.roi_scores if len(match.roi_scores) > 1 and not match.error else (),
        heats=maps,
        targets=[] if picture is None else _targets(match.boxes, picture),
    )


def _targets(boxes: Sequence[Box], picture: Picture) -> list[_Target]:
    """Return the places that match best, without those that are not known (NaN)."""
    radius = 0.035 * max(picture.width, picture.height)
    found = []
    for i, box in enumerate(boxes):
        if all(map(math.isfinite, box)):
            small = max(box.x1 - box.x0, box.y1 - box.y0) < radius
            ring = _Ring((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, radius) if small else None
            found.append(_Target(i, box, ring))
    return found


def _listing(found: Found | Scores) -> Table:
    """Return one row per match; columns after the third that are empty throughout are left out."""
    head = ["rank", "id", "score", "drive", "camera", "time [s]", "tags", "score of each region", "error"]
    rows: list[list[str | float | int]] = []
    for rank, match in enumerate(found.matches, 1):
        frame = match.frame
        rows.append(
            [
                rank,
                match.id,
                "" if match.error else f"{match.score:.6f}",
                frame.drive if frame else "",
                frame.camera if frame else "",
                "" if frame is None or frame.time is None else cards.seconds(frame.time),
                ", ".join(frame.tags) if frame else "",
                "" if match.error else " ".join(f"{score:.4f}" for score in match.roi_scores),
                match.error or "",
            ]
        )
    used = [i for i in range(len(head)) if i < 3 or any(row[i] for row in rows)]
    return Table("", [head[i] for i in used], [[row[i] for i in used] for row in rows])
