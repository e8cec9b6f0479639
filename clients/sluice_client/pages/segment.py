"""One HTML page of segmented images: each under the colours of its classes, with a legend that hides and lights them.

segmentation_page.write("found.html", found, lambda id: Path(id).read_bytes())
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from string import Template

import numpy as np
from PIL import Image

from ..answers.segment import Segmentation, Segmented, Share
from ..answers.words import Words
from ..drawing import palette, pictures
from . import document
from .document import Table, text

__all__ = ["render", "write"]

_LISTED = 200  # classes of the legend; each card lists its own


def write(
    path: str | os.PathLike,
    found: Segmented,
    images: Callable[[str], bytes],
    *,
    title: str | None = None,
    tables: Sequence[Table] = (),
) -> None:
    """Write the page. Arguments as of `render`. Raises InvalidRequest when the file cannot be written."""
    document.write(path, render(found, images, title=title, tables=tables))


def render(
    found: Segmented, images: Callable[[str], bytes], *, title: str | None = None, tables: Sequence[Table] = ()
) -> str:
    """The page as text.

    found:  of `segment`.
    images: id -> encoded bytes; an image for which it raises is shown as missing, with the reason.
    title:  text for the top of the page. tables: shown below the results.
    """
    side = document.side(len(found))
    shares = found.shares()
    return document.document(
        title=f"Sluice: {title}" if title else "Sluice: segmentation",
        summary=_summary(found, shares),
        top=Template(document.piece("segments.html")).substitute(
            classes="".join(_class(share, found.words) for share in shares[:_LISTED]),
            coloured="" if shares else "hidden",
        ),
        cards=[_card(i, one, images, side) for i, one in enumerate(found)],
        empty="There are no images.",
        tables=tables,
        listing=_listing(found),
        footer=f"Made by {found.model}" if found.model else "Sluice",
        data={
            "model": found.model,
            "classes": list(found.classes),
            "words": found.words.as_json(),
            "images": [
                {"id": one.id, "shares": [{"place": s.place, "area": s.area, "score": s.score} for s in one.shares()]}
                for one in found
            ],
        },
        scripts=("copy.js", "cards.js", "segments.js"),
        styles=("page.css", "segments.css"),
    )


def _summary(found: Segmented, shares: Sequence[Share]) -> str:
    failed = sum(one.error is not None for one in found)
    said = f"{len(shares):,} of {len(found.classes):,} classes in {len(found) - failed:,} images"
    said += f"; {failed:,} could not be read" if failed else ""
    said += f"; too long to be read whole: {', '.join(found.truncated)}" if found.truncated else ""
    return "; ".join([said, *found.words.said()])


def _class(share: Share, words: Words) -> str:
    mark = words.mark(share.place)
    return (
        f'<li><button type="button" value="{share.place}" aria-pressed="true" '
        f'title="{text(f"{share.name} ({mark})" if mark else share.name)}">'
        f'<i class="swatch" style="--c:{palette.hexadecimal(share.place)}"></i>'
        f"<span>{text(share.name)}</span>{document.doubt(mark)}<small>{_percent(share.area)}</small></button></li>"
    )


def _card(place: int, one: Segmentation, images: Callable[[str], bytes], side: int) -> str:
    try:
        picture = pictures.shrink(images(one.id), side)
        layers = "" if one.error is not None else "".join(_layers(one, side))
        figure = (
            f'<figure class="picture" style="aspect-ratio:{picture.width}/{picture.height}">'
            f'<img src="{picture.url}" loading="lazy" alt="Image {place + 1}: {text(one.id)}">{layers}</figure>'
        )
    except Exception as error:  # the reasons are as many as there are sources of images; one must not spoil the page
        figure = f'<div class="missing">The image is missing: {text(error) or type(error).__name__}</div>'
    shares, words = one.shares(), one.words
    first = f'<span class="wrong">{text(one.error)}</span>' if one.error is not None else ""
    left = 1 - sum(share.area for share in shares)
    facts = [] if one.error is not None else [f"{len(shares)} class{'' if len(shares) == 1 else 'es'}"]
    facts += [f"{one.width} × {one.height} px"] if one.width is not None else []
    facts += [f"background {_percent(left)}"] if one.error is None and left > 0.0005 else []
    return (
        f'<article class="card" data-place="{place}">{figure}<div class="body">'
        f'<div class="first"><span class="rank">{place + 1}</span>{first}</div>'
        f'<span class="id">{text(one.id)}</span><div class="facts">{" · ".join(facts)}</div>{_shares(shares, words)}'
        '<div class="actions"><button type="button" data-do="wide" aria-pressed="false">Large</button></div>'
        "</div></article>"
    )


def _layers(one: Segmentation, side: int) -> list[str]:
    """A see-through picture of one colour for each class, no larger than the picture that it lies over."""
    mask = one.mask
    step = max(1.0, max(mask.shape) / side)
    rows, columns = (np.minimum((np.arange(int(n / step) or 1) + 0.5) * step, n - 1).astype(int) for n in mask.shape)
    small = mask[np.ix_(rows, columns)]
    return [
        f'<img class="layer" data-class="{share.place}" loading="lazy" alt="" '
        f'src="{_layer(small == share.place, palette.colour(share.place))}">'
        for share in one.shares()
    ]


def _layer(where: np.ndarray, colour: tuple[int, int, int]) -> str:
    """One bit a pixel: nothing, or the colour."""
    image = Image.fromarray(where.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, *colour])
    file = io.BytesIO()
    image.save(file, "PNG", bits=1, transparency=0, optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _shares(shares: Sequence[Share], words: Words) -> str:
    rows = "".join(
        f'<li data-class="{share.place}" tabindex="0" style="--c:{palette.hexadecimal(share.place)}" '
        f'title="{text(share.name)}: {_percent(share.area)} of the pixels, score of the image {share.score:.3f}">'
        f'<i class="swatch"></i><span class="label">{text(share.name)}{document.doubt(words.mark(share.place))}</span>'
        f'<span class="bar" aria-hidden="true"><i style="--v:{share.area:.4f}"></i></span>'
        f'<span class="n">{_percent(share.area)}</span></li>'
        for share in shares
    )
    return f'<ol class="shares">{rows}</ol>' if rows else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _listing(found: Segmented) -> str:
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
    return document.rows(head[:used], [line[:used] for line in lines])
