"""Decodes images upright, shrinks and crops them for pages as data URLs, and colours heat maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..frames import Box

__all__ = [
    "UNREAD",
    "NotAPicture",
    "Picture",
    "crop",
    "heat",
    "heat_range",
    "ramp_css",
    "shrink",
    "size",
    "unread",
    "upright",
]


UNREAD = "its EXIF data cannot be read and was ignored"


class NotAPicture(ValueError):
    """Raised when bytes cannot be decoded as an image."""


class Picture(NamedTuple):
    """A picture of a page.

    url: data URL. width, height: pixels of the original image, upright; boxes and regions refer to these.
    """

    url: str
    width: int
    height: int


def size(data: bytes) -> tuple[int, int]:
    """Return width and height after the EXIF orientation, reading only the head of the file. Raises NotAPicture."""
    with _open(data) as image:
        return _oriented_size(image)


def upright(data: bytes) -> Image.Image:
    """Decode an image as RGB, turned as its EXIF orientation says. Raises NotAPicture."""
    with _open(data) as image:
        return _rgb(image)


def shrink(data: bytes, side: int) -> Picture:
    """Return the image as a JPEG whose longer side has at most `side` pixels. Raises NotAPicture."""
    with _open(data) as image:
        width, height = _oriented_size(image)
        image.draft("RGB", (side, side))  # JPEG only: decodes at a fraction of the size, many times faster
        small = _rgb(image)
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        return Picture(_jpeg(small), width, height)


def crop(data: bytes, box: Box, margin: float = 0.0, side: int = 320) -> str:
    """Cut out a region and return it as a data URL. Raises NotAPicture.

    box, margin: pixels of the upright image; the margin is added on each side.
    side: the longer side of the cutout has at most so many pixels; small cutouts are enlarged, up to six times.
    """
    full = upright(data)
    x0, y0 = max(0, int(box.x0 - margin)), max(0, int(box.y0 - margin))
    x1, y1 = min(full.width, int(np.ceil(box.x1 + margin))), min(full.height, int(np.ceil(box.y1 + margin)))
    part = full.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    scale = min(side / max(part.size), 6.0)
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    return _jpeg(part.resize(size, Image.Resampling.BICUBIC))


def _open(data: bytes) -> Image.Image:
    """Read the head of an encoded image. Raises NotAPicture."""
    try:
        return Image.open(io.BytesIO(data))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NotAPicture("this is no JPEG, PNG or WebP" if isinstance(error, OSError) else str(error)) from None


# EXIF orientation (tag 0x0112) -> the operation that turns such an image upright. Source: CIPA DC-008, 4.6.5.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, 1 (upright) to 8, or None if the metadata cannot be read."""
    try:
        said = image.getexif().get(0x0112, 1)
        if data := image.info.get("exif"):
            Image.Exif().load(data)  # by a fresh object, because `getexif` fails silently the second time
    except Exception:  # damaged EXIF makes Pillow raise nearly anything; the pixels may still be good
        return None
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def unread(data: bytes) -> bool:
    """Tell whether an image has EXIF data that cannot be read, so that its orientation is lost."""
    if (
        b"Exif\0\0" not in data and b"eXIf" not in data and b"EXIF" not in data
    ):  # of JPEG, PNG, WebP; this test is nearly free
        return False
    try:
        with _open(data) as image:
            return _orientation(image) is None
    except NotAPicture:
        return False


def _oriented_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height after the EXIF orientation."""
    turned = (_orientation(image) or 1) >= 5
    return (image.height, image.width) if turned else (image.width, image.height)


def _rgb(image: Image.Image) -> Image.Image:
    """Decode the pixels as RGB, upright. Raises NotAPicture."""
    try:
        image.load()
        turn = _TURNS.get(_orientation(image) or 1)
        upright = image if turn is None else image.transpose(turn)
        if upright.mode.startswith(
            "I"
        ):  # 16 bits per pixel, of which Pillow's own conversion would make nearly all white
            upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        return upright.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise NotAPicture(str(error)) from None


def _jpeg(image: Image.Image) -> str:
    """Encode a picture as the data URL of a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# Dark violet over red and orange to pale yellow. Brightness rises evenly, so that heat maps can be read in grey, too.
_RAMP = np.array(
    [(30, 8, 60), (88, 15, 109), (150, 34, 100), (203, 61, 71), (240, 107, 30), (251, 173, 40), (252, 246, 160)],
    np.float64,
)


def ramp_css() -> str:
    """Return the colours of heat maps as the stops of a CSS gradient, low to high."""
    return ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in _RAMP)


def heat_range(pngs: Sequence[bytes]) -> tuple[float, float]:
    """Return one range of cosines for all heat maps of a page, so that their colours can be compared.

    The range reaches from the 0.6 quantile of all cells to the best cell; it is (0, 1) when there is no heat map.
    """
    maps = [_grey(png).ravel() for png in pngs if png]
    if not maps:
        return 0.0, 1.0
    cells = np.concatenate(maps) / 255
    low, high = float(np.quantile(cells, 0.6)), float(cells.max())
    return (low, high) if high - low > 0.02 else (max(0.0, high - 0.02), high)


def heat(png: bytes, low: float, high: float) -> str:
    """Colour a grey heat map and return it as a data URL. Cells below the cosine `low` are transparent."""
    value = np.clip((_grey(png) / 255 - low) / max(high - low, 1e-6), 0, 1)
    place = value * (len(_RAMP) - 1)
    below = np.minimum(place.astype(int), len(_RAMP) - 2)
    part = (place - below)[..., None]
    colour = _RAMP[below] * (1 - part) + _RAMP[below + 1] * part
    alpha = 255 * np.clip(1.4 * value, 0, 1)
    pixels = np.concatenate([colour, alpha[..., None]], -1).round().astype(np.uint8)
    # Four pixels per cell: browsers differ in how they enlarge, and so the cells are blended alike in all of them.
    image = Image.fromarray(pixels, "RGBA")
    image = image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _grey(png: bytes) -> np.ndarray:
    """Decode a grey PNG as float64 [h, w], 0..255."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L")).astype(np.float64)
