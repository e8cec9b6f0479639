"""Pictures for the page: bounded in size, as data URLs; heat maps in colour."""

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
    """The bytes cannot be decoded."""


class Picture(NamedTuple):
    """width, height: of the original after its EXIF orientation, which is what boxes and regions refer to."""

    url: str
    width: int
    height: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height after the EXIF orientation; only the head of the file is read. Raises NotAPicture."""
    with _open(data) as image:
        return _oriented_size(image)


def upright(data: bytes) -> Image.Image:
    """RGB, after the EXIF orientation. Raises NotAPicture."""
    with _open(data) as image:
        return _rgb(image)


def shrink(data: bytes, side: int) -> Picture:
    """As a JPEG whose longer side has at most `side` pixels. Raises NotAPicture."""
    with _open(data) as image:
        width, height = _oriented_size(image)
        image.draft("RGB", (side, side))  # JPEG only: decode at a fraction of the size, which is many times as fast
        small = _rgb(image)
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        return Picture(_jpeg(small), width, height)


def crop(data: bytes, box: Box, margin: float = 0.0, side: int = 320) -> str:
    """The region as a data URL, its longer side `side` pixels at most, small ones enlarged. Raises NotAPicture."""
    full = upright(data)
    x0, y0 = max(0, int(box.x0 - margin)), max(0, int(box.y0 - margin))
    x1, y1 = min(full.width, int(np.ceil(box.x1 + margin))), min(full.height, int(np.ceil(box.y1 + margin)))
    part = full.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    scale = min(side / max(part.size), 6.0)
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    return _jpeg(part.resize(size, Image.Resampling.BICUBIC))


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NotAPicture("this is no JPEG, PNG or WebP" if isinstance(error, OSError) else str(error)) from None


# The orientations of EXIF (tag 0x0112) and what turns such a picture upright. Source: CIPA DC-008, 4.6.5.
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
    """1 (upright) to 8; None where the metadata cannot be read, which then count for nothing."""
    try:
        said = image.getexif().get(0x0112, 1)
        if data := image.info.get("exif"):
            Image.Exif().load(data)  # of its own, since an image says nothing the second time that it trips
    except Exception:  # Pillow raises whatever the bytes make it trip over; the pixels are another part of the file
        return None
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def unread(data: bytes) -> bool:
    """Whether a picture has EXIF data that cannot be read. The orientation that they may have told is lost."""
    if b"Exif\0\0" not in data and b"eXIf" not in data and b"EXIF" not in data:  # in JPEG, PNG, WebP; nearly free
        return False
    try:
        with _open(data) as image:
            return _orientation(image) is None
    except NotAPicture:
        return False


def _oriented_size(image: Image.Image) -> tuple[int, int]:
    turned = (_orientation(image) or 1) >= 5
    return (image.height, image.width) if turned else (image.width, image.height)


def _rgb(image: Image.Image) -> Image.Image:
    try:
        image.load()
        turn = _TURNS.get(_orientation(image) or 1)
        upright = image if turn is None else image.transpose(turn)
        if upright.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would make nearly all of it white
            upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        return upright.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise NotAPicture(str(error)) from None


def _jpeg(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# Dark violet over red and orange to pale yellow: rises evenly in brightness, so it also reads in grey.
_RAMP = np.array(
    [(30, 8, 60), (88, 15, 109), (150, 34, 100), (203, 61, 71), (240, 107, 30), (251, 173, 40), (252, 246, 160)],
    np.float64,
)


def ramp_css() -> str:
    return ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in _RAMP)


def heat_range(pngs: Sequence[bytes]) -> tuple[float, float]:
    """One range of cosines for all heat maps of a page, so that their colours can be compared: from what six cells in
    ten do not reach to the best cell. (0, 1) when there are none."""
    maps = [_grey(png).ravel() for png in pngs if png]
    if not maps:
        return 0.0, 1.0
    cells = np.concatenate(maps) / 255
    low, high = float(np.quantile(cells, 0.6)), float(cells.max())
    return (low, high) if high - low > 0.02 else (max(0.0, high - 0.02), high)


def heat(png: bytes, low: float, high: float) -> str:
    """A grey heat map in colour, as a data URL; what is below `low` is see-through."""
    value = np.clip((_grey(png) / 255 - low) / max(high - low, 1e-6), 0, 1)
    place = value * (len(_RAMP) - 1)
    below = np.minimum(place.astype(int), len(_RAMP) - 2)
    part = (place - below)[..., None]
    colour = _RAMP[below] * (1 - part) + _RAMP[below + 1] * part
    alpha = 255 * np.clip(1.4 * value, 0, 1)
    pixels = np.concatenate([colour, alpha[..., None]], -1).round().astype(np.uint8)
    # A few pixels a cell, so that browsers blend the cells smoothly instead of each in its own way.
    image = Image.fromarray(pixels, "RGBA")
    image = image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _grey(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L")).astype(np.float64)
