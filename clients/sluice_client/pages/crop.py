"""The page of `sluice crop`: regions are drawn over a picture, and the command that searches for them is shown.

document.write("crop.html", crop.render("bike.jpg", data, ["sluice", "retrieve", "bike.jpg"]))
"""

from __future__ import annotations

from collections.abc import Sequence

from ..drawing import pictures
from ..errors import InvalidRequest
from . import document

__all__ = ["render"]

_SIDE = 1600  # pixels of the longer side of the picture in the page; regions are given in pixels of the original


def render(name: str, data: bytes, command: Sequence[str]) -> str:
    """Return the page as text; it needs no other file and no network.

    name:    of the picture, for the title.
    data:    the encoded bytes of the picture.
    command: the words of the command before its regions.
    Raises InvalidRequest when the bytes cannot be decoded as a picture.
    """
    try:
        picture = pictures.shrink(data, _SIDE)
    except pictures.NotAPicture as error:
        raise InvalidRequest(f"{name}: {error}.") from None
    size = f"{picture.width} x {picture.height}"
    return document.render(
        "crop.html",
        title=f"Sluice: regions of {name}",
        summary=f"{size} pixels. Draw a box around what to look for; draw several for several regions",
        data={"command": list(command), "width": picture.width, "height": picture.height},
        name=name,
        picture=picture,
    )
