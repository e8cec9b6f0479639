"""The page of `segment`: each image under the colours of its classes, with a legend that hides and highlights classes.

segment.write("found.html", found, lambda id: Path(id).read_bytes())
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..answers.segment import Segmentation, Segmented, Share
from ..answers.words import Words
from ..drawing import palette, pictures
from . import cards, document
from .cards import Fact
from .document import Table

__all__ = ["Table", "render", "write"]

_LISTED = 200  # classes of the legend; each card lists its own


def write(
    path: str | os.PathLike,
    found: Segmented,
    images: Callable[[str], bytes],
    *,
    title: str | None = None,
    tables: Sequence[Table] = (),
) -> None:
    """Write the page to a file. Arguments are those of `render`.

    Raises InvalidRequest or CannotWrite when the file cannot be written.
    """
    document.write(path, render(found, images, title=title, tables=tables))


def render(
    found: Segmented, images: Callable[[str], bytes], *, title: str | None = None, tables: Sequence[Table] = ()
) -> str:
    """Return the page as text; it needs no other file and no network.

    found:  the answer of `segment`.
    images: returns the encoded bytes of the image of an id; an image for which it raises is shown as missing, with the
            reason.
    title:  text for the top of the page; None for "segmentation".
    tables: shown below the results.
    """
    side = cards.side(len(found))
    shares = found.shares()
    return document.render(
        "segment.html",
        title=f"Sluice: {title}" if title else "Sluice: segmentation",
        summary=_summary(found, shares),
        footer=f"Made by {found.model}" if found.model else "Sluice",
        tables=tables,
        listing=_listing(found),
        data={
            "model": found.model,
            "classes": list(found.classes),
            "words": found.words.as_json(),
            "images": [
                {"id": one.id, "shares": [{"place": s.place, "area": s.area, "score": s.score} for s in one.shares()]}
                for one in found
            ],
        },
        classes=[_coloured(share, found.words) for share in shares[:_LISTED]],
        cards=[_card(i, one, images, side) for i, one in enumerate(found)],
        empty="There are no images.",
    )


@dataclass(frozen=True)
class _Coloured:
    """A class in an image or, in the legend, in all images.

    colour: #rrggbb. area, score: 0..1. doubt: what the network misunderstands about the name; "" for nothing.
    """

    name: str
    place: int
    colour: str
    area: float
    score: float
    doubt: str


@dataclass(frozen=True, kw_only=True)
class _Card(cards.Card):
    """layers: place of a class -> data URL of the picture that colours the class."""

    layers: dict[int, str]
    shares: list[_Coloured]


def _summary(found: Segmented, shares: Sequence[Share]) -> str:
    failed = sum(one.error is not None for one in found)
    said = f"{len(shares):,} of {len(found.classes):,} classes in {len(found) - failed:,} images"
    said += f"; {failed:,} could not be read" if failed else ""
    said += f"; too long to be read whole: {', '.join(found.truncated)}" if found.truncated else ""
    return "; ".join([said, *found.words.said()])


def _coloured(share: Share, words: Words) -> _Coloured:
    colour = palette.hexadecimal(share.place)
    return _Coloured(share.name, share.place, colour, share.area, share.score, words.mark(share.place))


def _card(place: int, one: Segmentation, images: Callable[[str], bytes], side: int) -> _Card:
    def drawn() -> tuple[pictures.Picture, dict[int, str]]:
        return pictures.shrink(images(one.id), side), {} if one.error is not None else _layers(one, side)

    made, missing = cards.attempt(drawn)
    picture, layers = made or (None, {})
    shares = one.shares()
    left = 1 - sum(share.area for share in shares)
    facts = [] if one.error is not None else [Fact(f"{len(shares)} class{'' if len(shares) == 1 else 'es'}")]
    facts += [Fact(f"{one.width} × {one.height} px")] if one.width is not None else []
    facts += [Fact(f"background {100 * left:.1f} %")] if one.error is None and left > 0.0005 else []
    return _Card(
        place=place,
        id=one.id,
        picture=picture,
        missing=missing,
        error=one.error,
        facts=facts,
        layers=layers,
        shares=[_coloured(share, one.words) for share in shares],
    )


def _layers(one: Segmentation, side: int) -> dict[int, str]:
    """Draw each class as a transparent picture of one colour, whose longer side has at most `side` pixels."""
    mask = one.mask
    step = max(1.0, max(mask.shape) / side)
    rows, columns = (np.minimum((np.arange(int(n / step) or 1) + 0.5) * step, n - 1).astype(int) for n in mask.shape)
    small = mask[np.ix_(rows, columns)]
    return {share.place: _layer(small == share.place, palette.colour(share.place)) for share in one.shares()}


def _layer(where: np.ndarray, colour: tuple[int, int, int]) -> str:
    """Return the data URL of a PNG of one bit per pixel: `colour` where `where` [H, W] is True, else transparent."""
    image = Image.fromarray(where.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, *colour])
    file = io.BytesIO()
    image.save(file, "PNG", bits=1, transparency=0, optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _listing(found: Segmented) -> Table:
    """Return one row per image and class, with a column for doubtful words when there are any."""
    lines: list[list[str | float | int]] = []
    for one in found:
        lines += [
            [one.id, s.name, s.place, f"{100 * s.area:.2f}", f"{s.score:.4f}", one.words.mark(s.place)]
            for s in one.shares()
        ]
        if not one.shares():
            lines.append([one.id, one.error or "none of the classes", "", "", "", ""])
    head = ["image", "class", "place", "area [%]", "score", "words"]
    used = len(head) if found.words else len(head) - 1
    return Table("", head[:used], [line[:used] for line in lines])
