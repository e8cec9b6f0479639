"""Paints the classes of a mask over their image, and draws a legend of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import InvalidRequest
from . import palette, pictures

__all__ = ["key", "overlay", "painted"]

_LISTED = 24  # classes that a legend shows
_LETTERS = 40  # of a class name in the legend
_NARROWEST = 240  # pixels, width of a legend


class _Share(Protocol):
    """A class in an image: its name, its place among the classes, and its share of the pixels, 0..1."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> int: ...
    @property
    def area(self) -> float: ...


def overlay(
    image: bytes, mask: np.ndarray, shares: Sequence[_Share], *, strength: float = 0.5, legend: bool = True
) -> Image.Image:
    """Paint the classes of a mask over their image. Returns an RGB picture.

    image:    encoded bytes.
    mask:     [H, W] integers, for each pixel the place of its class; pixels whose class is not in `shares` keep their
              colour.
    shares:   the classes to paint and to list in the legend.
    strength: of the colours, 0 (the image alone) to 1 (the colours alone).
    legend:   True draws the legend below the image, so that the picture is higher than the image.
    Raises InvalidRequest when the image cannot be decoded or has another size than the mask.
    """
    if not 0 <= strength <= 1:
        raise InvalidRequest(f"strength must lie in 0..1; got {strength!r}.")
    try:
        picture = pictures.upright(image)
    except pictures.NotAPicture as error:
        raise InvalidRequest(f"The image cannot be shown: {error}.") from None
    if picture.size != mask.shape[::-1]:
        raise InvalidRequest(
            f"The image is {picture.width} x {picture.height} pixels, its mask {mask.shape[1]} x {mask.shape[0]}; "
            "give the image that was segmented.",
        )
    whole = painted(picture, mask, [one.place for one in shares], strength)
    return _below(whole, key(shares, max(whole.width, _NARROWEST))) if legend and shares else whole


def painted(picture: Image.Image, mask: np.ndarray, places: Sequence[int], strength: float) -> Image.Image:
    """Return the RGB picture with these classes in their colours, and a dark line between two classes.

    mask: [H, W], places of classes. places: the classes to paint. strength: 0..1.
    """
    lookup = np.zeros((int(mask.max()) + 1, 3), np.uint8)
    shown = np.zeros(len(lookup), bool)
    for place in places:
        if place < len(lookup):
            lookup[place], shown[place] = palette.colour(place), True
    colours = lookup[mask]
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] = mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    colours[edge & shown[mask]] //= 3
    alpha = np.where(shown[mask], np.uint8(round(255 * strength)), np.uint8(0))
    alpha[edge & shown[mask]] = min(255, round(255 * strength * 1.5))
    return Image.composite(Image.fromarray(colours), picture, Image.fromarray(alpha))


def key(shares: Sequence[_Share], width: int) -> Image.Image:
    """Draw the legend, `width` pixels wide: names and shares beside their colours, in as many columns as fit."""
    size = min(max(13, width // 60), 40)
    font = _font(size)
    rows = [(_short(one.name), f"{100 * one.area:.1f} %", palette.colour(one.place)) for one in shares[:_LISTED]]
    more = len(shares) - len(rows)
    gap = size // 2
    wide = max(font.getlength(f"{name}  ") + font.getlength(share) for name, share, _ in rows) + size + 3 * gap
    columns = max(1, min(len(rows), int(width // wide)))
    down = -(-len(rows) // columns)
    line = round(size * 1.6)
    strip = Image.new("RGB", (width, line * (down + (more > 0)) + 2 * gap), (24, 26, 29))
    draw = ImageDraw.Draw(strip)
    for i, (name, share, colour) in enumerate(rows):
        column, row = divmod(i, down)
        left, top = gap + column * (width // columns), gap + row * line
        draw.rectangle([left, top + size // 5, left + size, top + size // 5 + size], fill=colour)
        # Drawn apart, because within one text a name that is read from right to left would reorder the number.
        draw.text((left + size + gap, top), name, font=font, fill=(236, 236, 232))
        draw.text((left + size + gap + font.getlength(f"{name}  "), top), share, font=font, fill=(236, 236, 232))
    if more > 0:
        draw.text((gap, gap + down * line), f"and {more} more", font=font, fill=(160, 166, 172))
    return strip


def _short(name: str) -> str:
    """Cut a name to `_LETTERS` letters, the last an ellipsis."""
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load a font of this machine that has more than Latin letters, or Pillow's own if there is none. size: pixels."""
    for name in ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _below(above: Image.Image, strip: Image.Image) -> Image.Image:
    """Return one picture of two, `strip` below `above`."""
    whole = Image.new("RGB", (max(above.width, strip.width), above.height + strip.height), (24, 26, 29))
    whole.paste(above, (0, 0))
    whole.paste(strip, (0, above.height))
    return whole
