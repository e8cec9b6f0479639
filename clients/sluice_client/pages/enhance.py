"""One HTML page that compares frames before and after: a slider moves the border between the two over each picture.

enhanced_page.write("page.html", [Pair("frame 12", before, after, ("artifact_remover_weak",))])
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..errors import InvalidRequest
from . import document
from .document import text

__all__ = ["Pair", "jpeg", "render", "write"]

_LONGEST = 3840  # pixels of a picture's longer side in the page


@dataclass(frozen=True)
class Pair:
    """before, after: encoded pictures of any sizes. done: the networks between them."""

    name: str
    before: bytes
    after: bytes
    done: tuple[str, ...] = ()


def jpeg(image: Image.Image) -> bytes:
    """Encoded so well that what is compared is not the page's own coding."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def write(path: str | os.PathLike, pairs: Sequence[Pair], *, title: str | None = None) -> None:
    """Raises InvalidRequest when the file cannot be written."""
    document.write(path, render(pairs, title=title))


def render(pairs: Sequence[Pair], *, title: str | None = None) -> str:
    """The page as text; it needs no other file, and no network."""
    count = "1 picture" if len(pairs) == 1 else f"{len(pairs)} pictures"
    return document.document(
        title=f"Sluice: {title}" if title else "Sluice: before and after",
        summary=f"{count}, before and after; move the border with the slider",
        top="",
        cards=[_card(pair) for pair in pairs],
        empty="There are no pictures.",
        tables=(),
        listing=document.rows(("picture", "done"), [(pair.name, ", ".join(pair.done)) for pair in pairs]),
        footer="Sluice",
        data={"pictures": [{"name": pair.name, "done": list(pair.done)} for pair in pairs]},
        scripts=("compared.js",),
        styles=("page.css", "compared.css"),
    )


def _card(pair: Pair) -> str:
    before, after = _shown(pair.before, pair.name), _shown(pair.after, pair.name)
    width, height = after[1]
    return (
        f'<figure class="compared"><div class="pair" style="aspect-ratio: {width} / {height}">'
        f'<img src="{after[0]}" alt="{text(pair.name)}, after">'
        f'<img class="before" src="{before[0]}" alt="{text(pair.name)}, before">'
        '<span class="border" aria-hidden="true"></span>'
        f'<input type="range" min="0" max="1000" value="500" aria-label="{text(pair.name)}: share of before">'
        "</div>"
        f"<figcaption><b>{text(pair.name)}</b> {before[2]} before, {after[2]} after"
        f"{': ' + text(', '.join(pair.done)) if pair.done else ''}</figcaption></figure>"
    )


def _shown(data: bytes, name: str) -> tuple[str, tuple[int, int], str]:
    """The picture as an address, its size, and the size in words."""
    try:
        image = Image.open(io.BytesIO(data))
        size, form = image.size, image.format
        if max(size) > _LONGEST or form not in ("JPEG", "PNG", "WEBP"):
            image.thumbnail((_LONGEST, _LONGEST))
            data, form = jpeg(image), "JPEG"
    except (OSError, SyntaxError):
        raise InvalidRequest(f"{name} is no picture.") from None
    address = f"data:image/{form.lower()};base64,{base64.b64encode(data).decode()}"
    return address, size, f"{size[0]} x {size[1]}"
