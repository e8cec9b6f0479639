"""One HTML page of results that needs nothing else: no network, no other file, no framework.

    page.write("found.html", query_image, rois, found, client.image)

What all pages share stands in `markup`; the page of `detect` and `select` in `detection_page`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from string import Template

from ..answers.retrieve import Found, Match, Scores
from ..drawing import pictures
from ..drawing.pictures import Picture
from ..errors import InvalidRequest
from ..frames import Box
from ..query import ImageLike, Query, encoded
from . import document
from .document import Table, rectangle, seconds, svg, text

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
    """Write the page. Arguments as of `render`. Raises InvalidRequest when the file cannot be written."""
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
    """The page as text.

    query_image: encoded bytes or a path, None when words alone were asked for; rois: (x0, y0, x1, y1), pixels of it.
    found:       of `retrieve` or `match`.
    images:      id -> encoded bytes; an image for which it raises is shown as missing, with the reason.
    title:       text for the top of the page.
    tables:      shown below the results. texts: the words that were asked for.
    others:      the second query and those behind it, each with an image (encoded bytes or a path).
    """
    boxes = [Box(*map(float, roi)) for roi in rois]
    asked = [(None if query_image is None else encoded(query_image), boxes)]
    asked += [(encoded(one.image or b""), [Box(*roi) for roi in one.rois]) for one in others]
    low, high = pictures.heat_range([png for match in found.matches for png in _heats(match).values()])
    side = document.side(len(found))
    # A search by words alone says neither where in a picture something is nor how like it is: no button promises it.
    drawn = any(match.heatmap_png for match in found.matches)
    placed = any(all(map(math.isfinite, box)) for match in found.matches for box in match.boxes)
    top = Template(document.piece("found.html")).substitute(
        query=_queries(asked, found, texts),
        legend=_legend(low, high) if drawn else "",
        heats="" if drawn else "hidden",
        places="" if placed else "hidden",
    )
    return document.document(
        title=f"Sluice: {title}" if title else "Sluice: results",
        summary=_summary(found),
        top=top,
        cards=[_card(i, match, images, side, low, high) for i, match in enumerate(found.matches)],
        empty="No frame passed the filters and the threshold.",
        tables=tables,
        listing=_listing(found),
        footer=f"Made by {found.model}" if found.model else "Sluice",
        data={
            "model": found.model,
            "words": found.words.as_json() if isinstance(found, Found) else {},
            "matches": [match.as_json() for match in found.matches],
        },
        scripts=("copy.js", "cards.js", "found.js"),
    )


def _summary(found: Found | Scores) -> str:
    if isinstance(found, Scores):
        failed = sum(match.error is not None for match in found.matches)
        return f"{len(found)} images compared" + (f", {failed} of them could not be" if failed else "")
    if not found.matches:
        return f"nothing found among {found.searched:,} frames that passed the filters"
    return (
        f"the best {len(found)} of {found.searched:,} frames, searched in {_duration(found.seconds)}; "
        f"{found.rescored:,} scored again at full precision"
        + (f"; {found.lacking:,} more have no embedding yet" if found.lacking else "")
    )


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _queries(asked: Sequence[tuple[bytes | None, list[Box]]], found: Found | Scores, texts: Sequence[str]) -> str:
    words = [("words", "; ".join(texts))] if texts else []
    words += [("beware", line) for line in found.words.said()] if isinstance(found, Found) else []
    (image, _), model = asked[0], ("model", found.model or "unknown")
    if image is None:
        return f"<div>{_facts([*words, model])}</div>"
    shown, first = [], 0
    for i, (image, rois) in enumerate(asked):
        assert image is not None
        facts = [*(words if i == 0 else []), *([("query", str(i + 1))] if len(asked) > 1 else [])]
        shown.append(_query(image, rois, first, facts, [model] if i == len(asked) - 1 else []))
        first += len(rois)
    return "".join(shown)


def _query(
    image: bytes, rois: list[Box], first: int, before: list[tuple[str, str]], behind: list[tuple[str, str]]
) -> str:
    """One query: its picture with its regions, which are counted from `first`, and facts around its own."""
    try:
        picture = pictures.shrink(image, 1280)
        crops = [pictures.crop(image, roi) for roi in rois]
    except pictures.NotAPicture as error:
        raise InvalidRequest(f"The query image cannot be shown: {error}.") from None
    marks = "".join(
        f'<g class="r{i % 7}"><rect class="halo" {rectangle(roi)}/><rect class="mark" {rectangle(roi)}/></g>'
        for i, roi in enumerate(rois, first)
    )
    listed = "".join(
        f'<li class="r{i % 7}"><img src="{crop}" alt="Region {i + 1} of the query">'
        f"<span>region {i + 1}: {roi.x1 - roi.x0:.0f} × {roi.y1 - roi.y0:.0f} px, "
        f"{_percent(roi, picture)} of the image</span></li>"
        for i, (roi, crop) in enumerate(zip(rois, crops, strict=True), first)
    )
    facts = [
        *before,
        ("image", f"{picture.width} × {picture.height} px"),
        ("regions", "; ".join(",".join(f"{v:.0f}" for v in roi) for roi in rois)),
        *behind,
    ]
    return (
        f'<figure class="picture" style="aspect-ratio:{picture.width}/{picture.height}">'
        f'<img src="{picture.url}" alt="The query image with the regions that were looked for">'
        f"{svg(picture, marks)}</figure>"
        f'<div><ul class="crops">{listed}</ul>{_facts(facts)}</div>'
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts) + "</dl>"


def _percent(roi: Box, picture: Picture) -> str:
    width = min(roi.x1, picture.width) - max(roi.x0, 0)
    height = min(roi.y1, picture.height) - max(roi.y0, 0)
    share = 100 * max(width, 0) * max(height, 0) / (picture.width * picture.height)
    return f"{share:.2g} %" if share < 10 else f"{share:.0f} %"


def _heats(match: Match) -> dict[int | None, bytes]:
    """The heat maps of a card by their queries, first that of the query it scored by; None: which one goes unsaid."""
    if not match.heatmap_png:
        return {}
    return {match.heatmap_query: match.heatmap_png, **dict(enumerate(match.query_heatmap_pngs))}


def _card(place: int, match: Match, images: Callable[[str], bytes], side: int, low: float, high: float) -> str:
    frame = match.frame
    try:
        picture = pictures.shrink(images(match.id), side)
        heats = {query: pictures.heat(png, low, high) for query, png in _heats(match).items()}
        figure = (
            f'<figure class="picture" style="aspect-ratio:{picture.width}/{picture.height}">'
            f'<img src="{picture.url}" loading="lazy" alt="Result {place + 1}: {text(match.id)}">'
            + "".join(
                f'<img class="heat"{_of(query)} src="{heat}" alt="Heat map of the likeness"{" hidden" * (i > 0)}>'
                for i, (query, heat) in enumerate(heats.items())
            )
            + svg(picture, "".join(_target(i, box, picture) for i, box in enumerate(match.boxes)))
            + "</figure>"
        )
    except (
        Exception
    ) as error:  # the reasons are as many as there are sources of images, and one must not spoil the page
        heats = {}
        figure = f'<div class="missing">The image is missing: {text(error) or type(error).__name__}</div>'
    if match.error:
        first = f'<span class="wrong">{text(match.error)}</span>'
    else:
        first = (
            f'<span class="score">{match.score:.4f}</span>'
            f'<span class="bar" aria-hidden="true"><i style="--v:{min(max(match.score, 0), 1):.4f}"></i></span>'
        )
    chips = ""
    if len(match.roi_scores) > 1 and not match.error:
        chips = "".join(
            f'<span class="r{i % 7}" title="region {i + 1}"><i></i><em>{score:.3f}</em></span>'
            for i, score in enumerate(match.roi_scores)
        )
        chips = f'<div class="chips">{chips}</div>'
    facts = [f"words {' '.join(f'{score:.3f}' for score in match.text_scores)}"] if match.text_scores else []
    if frame is not None:
        facts += [f"drive <b>{text(frame.drive)}</b>"] if frame.drive else []
        facts += [text(frame.camera)] if frame.camera else []
        facts += [f"{seconds(frame.time)} s"] if frame.time is not None else []
        facts += [text(", ".join(frame.tags))] if frame.tags else []
    if match.query is not None:
        facts.append(f"query {match.query + 1}")
    buttons = "".join(
        f'<button type="button" data-do="heat"{_of(query)} aria-pressed="false">Heat map'
        f"{'' if query is None else f' of query {query + 1}'}</button>"
        for query in heats
    )
    buttons += '<button type="button" data-do="wide" aria-pressed="false">Large</button>'
    return (
        f'<article class="card" data-place="{place}">{figure}<div class="body">'
        f'<div class="first"><span class="rank">{place + 1}</span>{first}</div>'
        f'<span class="id">{text(match.id)}</span><div class="facts">{" · ".join(facts)}</div>{chips}'
        f'<div class="actions">{buttons}</div></div></article>'
    )


def _of(query: int | None) -> str:
    return "" if query is None else f' data-of="{query}"'


def _target(i: int, box: Box, picture: Picture) -> str:
    """The place that matches best; around one that could hardly be seen goes a ring."""
    if not all(map(math.isfinite, box)):
        return ""
    marks = f'<rect class="halo" {rectangle(box)}/><rect class="mark" {rectangle(box)}/>'
    radius = 0.035 * max(picture.width, picture.height)
    if max(box.x1 - box.x0, box.y1 - box.y0) < radius:
        ring = f'cx="{(box.x0 + box.x1) / 2:.2f}" cy="{(box.y0 + box.y1) / 2:.2f}" r="{radius:.2f}"'
        marks = f'<circle class="halo" {ring}/><circle class="mark" {ring}/>{marks}'
    return f'<g class="r{i % 7}">{marks}</g>'


def _legend(low: float, high: float) -> str:
    return f'<span class="legend">cosine {low:.2f}<i></i>{high:.2f}</span>'


def _listing(found: Found | Scores) -> str:
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
                "" if frame is None or frame.time is None else seconds(frame.time),
                ", ".join(frame.tags) if frame else "",
                "" if match.error else " ".join(f"{score:.4f}" for score in match.roi_scores),
                match.error or "",
            ]
        )
    used = [i for i in range(len(head)) if i < 3 or any(row[i] for row in rows)]
    return document.rows([head[i] for i in used], [[row[i] for i in used] for row in rows])
