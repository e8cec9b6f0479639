"""One HTML page on which regions are drawn over a picture, and the command that searches for them is shown.

markup.write("crop.html", crop_page.render("bike.jpg", data, ["sluice", "retrieve", "bike.jpg"]))
"""

from __future__ import annotations

from collections.abc import Sequence

from ..drawing import pictures
from ..errors import InvalidRequest
from . import document
from .document import text

__all__ = ["render"]

_SIDE = 1600  # pixels of the picture's longer side in the page; regions are told in pixels of the original


def render(name: str, data: bytes, command: Sequence[str]) -> str:
    """Return the page as text; it needs no other file, and no network.

    name: of the picture, for the title. data: its encoded bytes. command: the words before the regions.
    Raises InvalidRequest when the bytes are no picture.
    """
    try:
        picture = pictures.shrink(data, _SIDE)
    except pictures.NotAPicture as error:
        raise InvalidRequest(f"{name}: {error}.") from None
    size = f"{picture.width} x {picture.height}"
    stage = (
        f'<figure class="drawn"><div id="stage" style="aspect-ratio: {picture.width} / {picture.height}">'
        f'<img src="{picture.url}" alt="{text(name)}" draggable="false">{document.svg(picture, "")}</div></figure>'
    )
    says = (
        '<p class="command"><code id="command"></code> <button type="button" id="copy">Copy the command</button> '
        '<button type="button" id="undo">Remove the last region</button></p>'
        '<p id="told" class="told" role="status"></p>'
    )
    return document.document(
        title=f"Sluice: regions of {name}",
        summary=f"{size} pixels. Draw a box around what to look for; draw several for several regions",
        top=says,
        cards=[stage],
        empty="",
        tables=(),
        listing="",
        footer="Sluice",
        data={"command": list(command), "width": picture.width, "height": picture.height},
        scripts=("copy.js", "crop.js"),
        styles=("page.css", "crop.css"),
    )
