"""One HTML page of detections, or of a selection: boxes with two bars each, sortable by any of the four uncertainties.

    detection_page.write("found.html", found, lambda id: Path(id).read_bytes())
    detection_page.write("next.html", found, client.image, selection=selection)

The upper bar of an object is its place, the lower its class; the left half of a bar is the aleatoric part, the right
half the epistemic one. Lengths are standard deviations, the roots of the variances, and each half is filled against the
largest of its kind on the page, since the four have different scales.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from string import Template
from typing import Any

from ..answers.detect import TYPES, Detected, Detections, Object, Uncertainties, number
from ..answers.select import Pick, Selection
from ..drawing import pictures
from ..drawing.pictures import Picture
from ..frames import Frame
from . import document
from .document import Table, rectangle, seconds, svg, text

__all__ = ["render", "write"]

_NAMES = ("place, aleatoric", "place, epistemic", "class, aleatoric", "class, epistemic")
_ROWS = 60  # objects that a card lists; the table has them all


def write(
    path: str | os.PathLike,
    found: Detected,
    images: Callable[[str], bytes],
    *,
    selection: Selection | None = None,
    title: str | None = None,
    tables: Sequence[Table] = (),
) -> None:
    """Write the page. Arguments as of `render`. Raises InvalidRequest when the file cannot be written."""
    document.write(path, render(found, images, selection=selection, title=title, tables=tables))


def render(
    found: Detected,
    images: Callable[[str], bytes],
    *,
    selection: Selection | None = None,
    title: str | None = None,
    tables: Sequence[Table] = (),
) -> str:
    """The page as text.

    found:     of `detect`; with a selection, the objects of the picked images, of those that there are.
    images:    id -> encoded bytes; an image for which it raises is shown as missing, with the reason.
    selection: of `select`: one card a pick, in their order, with z-scores and reasons.
    title:     text for the top of the page. tables: shown below the results.
    """
    picks: dict[str, Pick] = {} if selection is None else {pick.id: pick for pick in selection}
    shown = list(found.images)
    if selection is not None:
        by_id = {one.id: one for one in found.images}
        shown = [_deciding(by_id.get(pick.id, Detections(pick.id, frame=pick.frame)), pick) for pick in selection]
    labels = found.labels or tuple(dict.fromkeys(thing.label for one in shown for thing in one))
    whose = "another pool" if selection is not None and selection.frozen else "the pool"
    scale = _scale(shown)
    side = document.side(len(shown))
    model = found.model or str((selection.statistics if selection else {}).get("detector", ""))
    top = Template(document.piece("detections.html")).substitute(
        orders="".join(
            f'<option value="{name}">{text(said)}</option>' for name, said in zip(TYPES, _NAMES, strict=True)
        ),
        first="pick" if selection is not None else "as given",
        scales=" · ".join(f"{said} {value:.3g}" for said, value in zip(_NAMES, scale, strict=True) if value > 0),
        objects="" if any(one.objects for one in shown) else "hidden",
    )
    return document.document(
        title=f"Sluice: {title}" if title else ("Sluice: label these next" if picks else "Sluice: detections"),
        summary=_summary(shown, selection),
        top=top,
        cards=[_card(i, one, picks.get(one.id), whose, images, side, scale, labels) for i, one in enumerate(shown)],
        empty="Nothing was picked." if selection is not None else "There are no images.",
        tables=tables,
        listing=_objects_table(shown) if selection is None else _picks_table(selection),
        footer=f"Made by {model}" if model else "Sluice",
        data={"model": model, "images": [_facts(one, picks.get(one.id)) for one in shown]},
        scripts=("copy.js", "cards.js", "detections.js"),
        styles=("page.css", "detections.css"),
        below=_others(selection),
    )


def _deciding(one: Detections, pick: Pick) -> Detections:
    """With the objects in the order of the type that stands out most, so that what made the pick stands on top."""
    kind = max(range(4), key=lambda i: pick.z[i] if math.isfinite(pick.z[i]) else -math.inf)
    return replace(one, objects=tuple(sorted(one, key=lambda thing: -thing.uncertainties[kind])))


def _scale(shown: Sequence[Detections]) -> list[float]:
    """The largest of each type on the page, 0 where there is none."""
    values = [thing.uncertainties for one in shown for thing in one]
    return [max((row[i] for row in values if math.isfinite(row[i])), default=0.0) for i in range(4)]


def _summary(shown: Sequence[Detections], selection: Selection | None) -> str:
    objects = sum(map(len, shown))
    if selection is None:
        failed = sum(one.error is not None for one in shown)
        empty = sum(one.error is None and not one.objects for one in shown)
        said = f"{objects:,} objects in {len(shown) - failed:,} images"
        said += f", {empty:,} of them without any" if empty else ""
        return said + (f"; {failed:,} could not be read" if failed else "")
    return selection.told()


def _facts(one: Detections, pick: Pick | None) -> dict[str, Any]:
    """What the page's script orders and hides by."""
    largest = one.maxima or _largest([thing.uncertainties for thing in one])
    maxima = pick.maxima if pick is not None else largest
    return {
        "id": one.id,
        "objects": len(one),
        "names": [thing.label for thing in one],
        "scores": [thing.score for thing in one],
        "drive": _frame(one, pick).drive,
        "time": _frame(one, pick).time,
        "maxima": None if maxima is None else [number(value) for value in maxima],
    }


def _largest(rows: Sequence[Uncertainties]) -> Uncertainties | None:
    if not rows:
        return None
    return Uncertainties(*(max((row[i] for row in rows if math.isfinite(row[i])), default=math.nan) for i in range(4)))


def _frame(one: Detections, pick: Pick | None) -> Frame:
    return one.frame or (pick.frame if pick is not None else None) or Frame(one.id)


def _card(
    place: int,
    one: Detections,
    pick: Pick | None,
    whose: str,
    images: Callable[[str], bytes],
    side: int,
    scale: Sequence[float],
    labels: Sequence[str],
) -> str:
    colours = {label: i % 7 for i, label in enumerate(labels)}
    try:
        picture = pictures.shrink(images(one.id), side)
        marks = "".join(
            f'<g class="r{colours.get(thing.label, 6)}" data-object="{i}"><rect class="halo" {rectangle(thing.box)}/>'
            f'<rect class="mark" {rectangle(thing.box)}/></g>'
            for i, thing in enumerate(one)
        )
        figure = (
            f'<figure class="picture" style="aspect-ratio:{picture.width}/{picture.height}">'
            f'<img src="{picture.url}" loading="lazy" alt="Image {place + 1}: {text(one.id)}">{svg(picture, marks)}'
            + "".join(_tag(i, thing, picture, scale, colours) for i, thing in enumerate(one))
            + "</figure>"
        )
    except Exception as error:  # the reasons are as many as there are sources of images; one must not spoil the page
        figure = f'<div class="missing">The image is missing: {text(error) or type(error).__name__}</div>'
    frame = _frame(one, pick)
    facts = (
        [f"{len(one)} object{'' if len(one) == 1 else 's'}"]
        if one.objects or (pick is None and one.error is None)
        else []
    )
    facts += [f"drive <b>{text(frame.drive)}</b>"] if frame.drive else []
    facts += [text(frame.camera)] if frame.camera else []
    facts += [f"{seconds(frame.time)} s"] if frame.time is not None else []
    facts += [text(", ".join(frame.tags))] if frame.tags else []
    first = f'<span class="wrong">{text(one.error)}</span>' if one.error is not None else ""
    more = ""
    if pick is not None:
        first = (
            f'<span class="score">{pick.score:.2f}</span><span class="unit">standard deviations above {whose}</span>'
        )
        more = f'{_z(pick)}<p class="reason">{text(pick.reason)}</p>'
    return (
        f'<article class="card" data-place="{place}">{figure}<div class="body">'
        f'<div class="first"><span class="rank">{place + 1}</span>{first}</div>'
        f'<span class="id">{text(one.id)}</span><div class="facts">{" · ".join(facts)}</div>{more}'
        f"{_listed(one, scale, colours)}"
        '<div class="actions"><button type="button" data-do="wide" aria-pressed="false">Large</button></div>'
        "</div></article>"
    )


def _tag(i: int, thing: Object, picture: Picture, scale: Sequence[float], colours: dict[str, int]) -> str:
    """The two bars above a box; inside it where there is no room above."""
    left = min(max(thing.box.x0 / picture.width, 0.0), 0.86)
    top = thing.box.y0 / picture.height
    place = f"bottom:{100 * (1 - top):.2f}%" if top > 0.08 else f"top:{100 * max(top, 0):.2f}%"
    return (
        f'<span class="tag r{colours.get(thing.label, 6)}" data-object="{i}" style="left:{100 * left:.2f}%;{place}" '
        f'title="{text(_told(thing))}"><b>{text(thing.label)}</b>{_bars(thing, scale)}</span>'
    )


def _shares(thing: Object, scale: Sequence[float]) -> list[float]:
    """0..1 of the largest on the page, as standard deviations."""
    return [
        math.sqrt(min(max(value, 0.0) / most, 1.0)) if most > 0 and math.isfinite(value) else 0.0
        for value, most in zip(thing.uncertainties, scale, strict=True)
    ]


def _bars(thing: Object, scale: Sequence[float]) -> str:
    """Two bars of two halves: place and class, aleatoric and epistemic."""
    halves = [
        f'<i class="{kind}" style="--v:{share:.3f}"></i>'
        for kind, share in zip("aeae", _shares(thing, scale), strict=True)
    ]
    return (
        f'<span class="two"><span class="where">{halves[0]}{halves[1]}</span>'
        f'<span class="what">{halves[2]}{halves[3]}</span></span>'
    )


def _told(thing: Object) -> str:
    four = "; ".join(
        f"{said} {value:.3g}" for said, value in zip(_NAMES, thing.uncertainties, strict=True) if math.isfinite(value)
    )
    return f"{thing.label} {thing.score:.2f}; {four}"


def _listed(one: Detections, scale: Sequence[float], colours: dict[str, int]) -> str:
    rows = "".join(
        f'<li class="r{colours.get(thing.label, 6)}" data-object="{i}" data-score="{thing.score:.4f}" '
        f'data-values="{text(" ".join(f"{value:.6g}" for value in thing.uncertainties))}" title="{text(_told(thing))}">'
        f'<i class="dot"></i><span class="label">{text(thing.label)}</span><span class="p">{thing.score:.2f}</span>'
        f"{_bars(thing, scale)}</li>"
        for i, thing in enumerate(one.objects[:_ROWS])
    )
    return f'<ol class="objects">{rows}</ol>' if rows else ""


def _z(pick: Pick) -> str:
    """The four z-scores, each as a bar to the right (above the pool's mean) or to the left, full at 5."""
    cells = []
    for said, z, most in zip(_NAMES, pick.z, pick.maxima, strict=True):
        share = min(abs(z) / 5, 1) if math.isfinite(z) else 0.0
        cells.append(
            f'<div title="largest {said}: {_short(most)}"><span>{said}</span><span class="z" aria-hidden="true">'
            f'<i class="{"below" if z < 0 else "above"}" style="--v:{share:.3f}"></i></span>'
            f'<span class="n">{_short(z, "+.1f")}</span></div>'
        )
    return f'<div class="zs">{"".join(cells)}</div>'


def _short(value: float, form: str = ".4g") -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _objects_table(shown: Sequence[Detections]) -> str:
    head = ["image", "label", "score", "x0 y0 x1 y1", *_NAMES]
    lines: list[list[str]] = []
    for one in shown:
        for thing in one:
            box = " ".join(f"{value:.0f}" for value in thing.box)
            four = [_short(value) for value in thing.uncertainties]
            lines.append([one.id, thing.label, f"{thing.score:.4f}", box, *four])
        if not one.objects:
            lines.append([one.id, one.error or "nothing found", *[""] * 6])
    return document.rows(head, lines)


def _picks_table(selection: Selection) -> str:
    head = ["rank", "id", "drive", "score", *(f"z {said}" for said in _NAMES), *(f"largest {s}" for s in _NAMES), "why"]
    return document.rows(
        head,
        [
            [
                str(rank),
                pick.id,
                pick.frame.drive if pick.frame is not None else "",
                f"{pick.score:.3f}",
                *(_short(value, ".3f") for value in pick.z),
                *(_short(value) for value in pick.maxima),
                pick.reason,
            ]
            for rank, pick in enumerate(selection, 1)
        ],
    )


def _others(selection: Selection | None) -> str:
    """Images that could not be ranked are listed, not dropped."""
    if selection is None:
        return ""
    lists = (
        ("Without an object, so nothing to rank them by", selection.without_objects),
        ("Not scored by this detector", selection.unscored),
    )
    return "".join(document.listed(title, ids) for title, ids in lists if ids)
