"""The page of `enhance`: a slider over each picture moves the border between before and after.

enhance.write("page.html", [Pair("frame 12", before, after, ("artifact_remover_weak",))])
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..drawing.pictures import Picture
from ..errors import InvalidRequest
from . import document
from .document import Table

__all__ = ["Pair", "jpeg", "render", "write"]

_LONGEST = 3840  # pixels of the longer side of a picture in the page


@dataclass(frozen=True)
class Pair:
    """A picture before and after `enhance`.

    before, after: encoded pictures; their sizes may differ.
    done:          names of the networks that made `after` out of `before`, in their order.
    """

    name: str
    before: bytes
    after: bytes
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shown:
    """The facts of one pair."""

    name: str
    before: Picture
    after: Picture
    done: tuple[str, ...]


def jpeg(image: Image.Image) -> bytes:
    """Encode a picture as JPEG at a quality at which differences on the page come from the networks, not from JPEG."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def write(path: str | os.PathLike, pairs: Sequence[Pair], *, title: str | None = None) -> None:
    """Write the page to a file. Arguments are those of `render`.

    Raises InvalidRequest when a picture cannot be decoded, and InvalidRequest or CannotWrite when the file cannot be
    written.
    """
    document.write(path, render(pairs, title=title))


def render(pairs: Sequence[Pair], *, title: str | None = None) -> str:
    """Return the page as text; it needs no other file and no network.

    title: text for the top of the page; None for "before and after".
    Raises InvalidRequest when a picture cannot be decoded.
    """
    count = "1 picture" if len(pairs) == 1 else f"{len(pairs)} pictures"
    return document.render(
        "enhance.html",
        title=f"Sluice: {title}" if title else "Sluice: before and after",
        summary=f"{count}, before and after; move the border with the slider",
        listing=Table("", ("picture", "done"), [(pair.name, ", ".join(pair.done)) for pair in pairs]),
        data={"pictures": [{"name": pair.name, "done": list(pair.done)} for pair in pairs]},
        pairs=[
            _Shown(pair.name, _picture(pair.before, pair.name), _picture(pair.after, pair.name), pair.done)
            for pair in pairs
        ],
    )


def _picture(data: bytes, name: str) -> Picture:
    """Return the picture for the page, with the width and height of `data`.

    What is larger than `_LONGEST` or not JPEG, PNG or WebP becomes a JPEG; everything else stays as it is.
    Raises InvalidRequest when `data` cannot be decoded.
    """
    try:
        image = Image.open(io.BytesIO(data))
        size, form = image.size, image.format
        if max(size) > _LONGEST or form not in ("JPEG", "PNG", "WEBP"):
            image.thumbnail((_LONGEST, _LONGEST))
            data, form = jpeg(image), "JPEG"
    except (OSError, SyntaxError):
        raise InvalidRequest(f"{name} cannot be decoded as a picture; expected JPEG, PNG or WebP.") from None
    return Picture(f"data:image/{form.lower()};base64,{base64.b64encode(data).decode()}", *size)
