"""The page of `detect` or `select`: boxes with two bars each, ordered by any of the four uncertainties.

    detect.write("found.html", found, lambda id: Path(id).read_bytes())
    detect.write("next.html", found, client.image, selection=selection)

The upper bar of an object is its place, the lower its class; the left half of a bar is the aleatoric part, the right
half the epistemic part. Lengths are standard deviations, the roots of the variances. Each half is filled against the
largest of its type on the page, because the four types have different scales.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..answers.detect import TYPES, Detected, Detections, Object, Uncertainties, number
from ..answers.select import Pick, Selection
from ..drawing import pictures
from ..drawing.pictures import Picture
from ..frames import Box, Frame
from . import cards, document
from .cards import Fact
from .document import Table

__all__ = ["Table", "render", "write"]

_NAMES = ("place, aleatoric", "place, epistemic", "class, aleatoric", "class, epistemic")
_FULL = 5  # standard deviations at which the bar of a z-score is full


def write(
    path: str | os.PathLike,
    found: Detected,
    images: Callable[[str], bytes],
    *,
    selection: Selection | None = None,
    title: str | None = None,
    tables: Sequence[Table] = (),
) -> None:
    """Write the page to a file. Arguments are those of `render`.

    Raises InvalidRequest or CannotWrite when the file cannot be written.
    """
    document.write(path, render(found, images, selection=selection, title=title, tables=tables))


def render(
    found: Detected,
    images: Callable[[str], bytes],
    *,
    selection: Selection | None = None,
    title: str | None = None,
    tables: Sequence[Table] = (),
) -> str:
    """Return the page as text; it needs no other file and no network.

    found:     the answer of `detect`. With a selection, the objects of the picked images; a pick that is not among them
               is shown without objects.
    images:    returns the encoded bytes of the image of an id; an image for which it raises is shown as missing, with
               the reason.
    selection: the answer of `select`, for a page with one card per pick, in their order, with z-scores and reasons.
               None for a page of all images in `found`.
    title:     text for the top of the page; None for "detections" or "label these next".
    tables:    shown below the results.
    """
    picks: dict[str, Pick] = {} if selection is None else {pick.id: pick for pick in selection}
    shown = list(found.images)
    if selection is not None:
        by_id = {one.id: one for one in found.images}
        shown = [_deciding(by_id.get(pick.id, Detections(pick.id, frame=pick.frame)), pick) for pick in selection]
    labels = found.labels or tuple(dict.fromkeys(thing.label for one in shown for thing in one))
    colours = {label: i % 7 for i, label in enumerate(labels)}
    pool = "another pool" if selection is not None and selection.frozen else "the pool"
    scale = _scale(shown)
    side = cards.side(len(shown))
    model = found.model or str((selection.statistics if selection else {}).get("detector", ""))
    return document.render(
        "detect.html",
        title=f"Sluice: {title}" if title else ("Sluice: label these next" if picks else "Sluice: detections"),
        summary=_summary(shown, selection),
        footer=f"Made by {model}" if model else "Sluice",
        tables=tables,
        listing=_objects_table(shown) if selection is None else _picks_table(selection),
        data={"model": model, "images": [_ordered_by(one, picks.get(one.id)) for one in shown]},
        given="pick" if selection is not None else "as given",
        orders=list(zip(TYPES, _NAMES, strict=True)),
        scales=[(name, value) for name, value in zip(_NAMES, scale, strict=True) if value > 0],
        objects=any(one.objects for one in shown),
        cards=[_card(i, one, picks.get(one.id), pool, images, side, scale, colours) for i, one in enumerate(shown)],
        empty="Nothing was picked." if selection is not None else "There are no images.",
        others=_others(selection),
    )


class _Tag(NamedTuple):
    """The place of the bars over a box: percent from the left, and percent from the edge ("top" or "bottom")."""

    left: float
    edge: str
    far: float


class _Shown(NamedTuple):
    """An object of a card.

    colour: 0..6. shares: the filled part of each of the four halves, 0..1.
    values: the four variances as text, for ordering. title: label, score and variances for the pointer.
    """

    label: str
    colour: int
    score: float
    box: Box
    tag: _Tag | None
    shares: list[float]
    values: str
    title: str


class _Row(NamedTuple):
    """A z-score of a pick. side: "above" or "below" the mean; share: the filled part of the bar, 0..1."""

    name: str
    largest: str
    z: str
    side: str
    share: float


class _Picked(NamedTuple):
    """The reason for which an image was picked. score: standard deviations above `pool`."""

    score: float
    pool: str
    rows: list[_Row]
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Card(cards.Card):
    """pick: None on a page without a selection."""

    objects: list[_Shown]
    pick: _Picked | None


def _deciding(one: Detections, pick: Pick) -> Detections:
    """Order the objects by the uncertainty that stands out most, so that the object that made the pick comes first."""
    kind = max(range(4), key=lambda i: pick.z[i] if math.isfinite(pick.z[i]) else -math.inf)
    return replace(one, objects=tuple(sorted(one, key=lambda thing: -thing.uncertainties[kind])))


def _scale(shown: Sequence[Detections]) -> list[float]:
    """Return the largest variance of each type on the page, 0 for a type that no object has."""
    values = [thing.uncertainties for one in shown for thing in one]
    return [max((row[i] for row in values if math.isfinite(row[i])), default=0.0) for i in range(4)]


def _summary(shown: Sequence[Detections], selection: Selection | None) -> str:
    if selection is not None:
        return selection.told()
    objects = sum(map(len, shown))
    failed = sum(one.error is not None for one in shown)
    empty = sum(one.error is None and not one.objects for one in shown)
    said = f"{objects:,} objects in {len(shown) - failed:,} images"
    said += f", {empty:,} of them without any" if empty else ""
    return said + (f"; {failed:,} could not be read" if failed else "")


def _ordered_by(one: Detections, pick: Pick | None) -> dict[str, Any]:
    """Return what the page's script orders and hides a card by."""
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
    pool: str,
    images: Callable[[str], bytes],
    side: int,
    scale: Sequence[float],
    colours: dict[str, int],
) -> _Card:
    picture, missing = cards.attempt(lambda: pictures.shrink(images(one.id), side))
    facts = []
    if one.objects or (pick is None and one.error is None):
        facts.append(Fact(f"{len(one)} object{'' if len(one) == 1 else 's'}"))
    return _Card(
        place=place,
        id=one.id,
        picture=picture,
        missing=missing,
        error=one.error,
        facts=facts + cards.frame_facts(_frame(one, pick)),
        objects=[_shown(thing, picture, scale, colours) for thing in one],
        pick=None if pick is None else _Picked(pick.score, pool, _rows(pick), pick.reason),
    )


def _shown(thing: Object, picture: Picture | None, scale: Sequence[float], colours: dict[str, int]) -> _Shown:
    four = thing.uncertainties
    known = "; ".join(f"{name} {value:.3g}" for name, value in zip(_NAMES, four, strict=True) if math.isfinite(value))
    return _Shown(
        label=thing.label,
        colour=colours.get(thing.label, 6),
        score=thing.score,
        box=thing.box,
        tag=None if picture is None else _tag(thing.box, picture),
        shares=_shares(four, scale),
        values=" ".join(f"{value:.6g}" for value in four),
        title=f"{thing.label} {thing.score:.2f}; {known}",
    )


def _tag(box: Box, picture: Picture) -> _Tag:
    """Place the two bars above a box, or inside it when there is no room above."""
    left, top = min(max(box.x0 / picture.width, 0.0), 0.86), box.y0 / picture.height
    return _Tag(100 * left, *(("bottom", 100 * (1 - top)) if top > 0.08 else ("top", 100 * max(top, 0))))


def _shares(four: Uncertainties, scale: Sequence[float]) -> list[float]:
    """Return each uncertainty as a share of the largest on the page, 0..1, both as standard deviations."""
    return [
        math.sqrt(min(max(value, 0.0) / most, 1.0)) if most > 0 and math.isfinite(value) else 0.0
        for value, most in zip(four, scale, strict=True)
    ]


def _rows(pick: Pick) -> list[_Row]:
    """Return the four z-scores of a pick."""
    return [
        _Row(
            name=name,
            largest=_short(most),
            z=_short(z, "+.1f"),
            side="below" if z < 0 else "above",
            share=min(abs(z) / _FULL, 1) if math.isfinite(z) else 0.0,
        )
        for name, z, most in zip(_NAMES, pick.z, pick.maxima, strict=True)
    ]


def _short(value: float, form: str = ".4g") -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _objects_table(shown: Sequence[Detections]) -> Table:
    """Return one row per object, and one per image without objects."""
    head = ["image", "label", "score", "x0 y0 x1 y1", *_NAMES]
    lines: list[list[str]] = []
    for one in shown:
        for thing in one:
            box = " ".join(f"{value:.0f}" for value in thing.box)
            four = [_short(value) for value in thing.uncertainties]
            lines.append([one.id, thing.label, f"{thing.score:.4f}", box, *four])
        if not one.objects:
            lines.append([one.id, one.error or "nothing found", *[""] * 6])
    return Table("", head, lines)


def _picks_table(selection: Selection) -> Table:
    """Return one row per pick."""
    head = ["rank", "id", "drive", "score", *(f"z {name}" for name in _NAMES), *(f"largest {n}" for n in _NAMES), "why"]
    lines = [
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
    ]
    return Table("", head, lines)


def _others(selection: Selection | None) -> list[tuple[str, Sequence[str]]]:
    """Return the ids of images that could not be ranked, which the page lists under these titles."""
    if selection is None:
        return []
    lists = (
        ("Without an object, so nothing to rank them by", selection.without_objects),
        ("Not scored by this detector", selection.unscored),
    )
    return [(title, ids) for title, ids in lists if ids]
