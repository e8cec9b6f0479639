"""Puts many small pictures into one: a grid, filled row by row."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image

from ..errors import InvalidRequest

__all__ = ["ENDINGS", "encode", "sheet"]

ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

_GAP = 2  # pixels between two pictures


def sheet(images: Sequence[Image.Image | None], columns: int | None = None) -> Image.Image:
    """Return one picture with the images side by side and narrow grey gaps between them.

    images:  of one size, grey or RGB; None leaves a place grey. At least one is not None.
    columns: how many images a row has; None for a grid about as wide as high.
    """
    there = [image for image in images if image is not None]
    width, height = there[0].size
    across = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    down = math.ceil(len(images) / across)
    grey = all(image.mode == "L" for image in there)
    whole = Image.new(
        "L" if grey else "RGB",
        (across * (width + _GAP) - _GAP, down * (height + _GAP) - _GAP),
        128 if grey else (128, 128, 128),
    )
    for place, image in enumerate(images):
        if image is not None:
            row, column = divmod(place, across)
            whole.paste(image.convert(whole.mode), (column * (width + _GAP), row * (height + _GAP)))
    return whole


def encode(image: Image.Image, ending: str) -> bytes:
    """Encode a picture for a file with this ending, one of `ENDINGS`.

    Raises InvalidRequest for a picture that is too large for the format.
    """
    file = io.BytesIO()
    more = {"lossless": True} if ending == ".webp" else {"quality": 95} if ENDINGS[ending] == "JPEG" else {}
    try:
        image.save(file, ENDINGS[ending], **more)
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"A picture of {image.width} x {image.height} pixels cannot be written as {ending} ({error}); use .png.",
        ) from None
    return file.getvalue()
