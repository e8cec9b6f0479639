"""Encoded frames to pictures and pictures to what a caller of `enhance` asked for."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from sluice import images
from sluice.calls import Tensors, strings
from sluice.video import Colour, Picture

FORMATS = ("png", "jpeg", "rgb", "yuv420")


def decode(data: bytes, max_bytes: int, max_pixels: int) -> Picture:
    """A JPEG, PNG or WebP, upright, at its full size. Raises InvalidArgument as `images.decode` does."""
    # The decoder scales a picture down while it decodes where that leaves twice the canvas; this canvas never does.
    limits = images.Config(canvases=f"{max_pixels}x1", multiple=1, max_bytes=max_bytes, max_pixels=max_pixels)
    return Picture.of_rgb(np.asarray(images.decode(data, limits)))


class Coded(NamedTuple):
    """What a picture says of itself before it is decoded.

    size: (width, height), None where that cannot be read. bits: that were spent on it, None where nothing was lost.
    """

    size: tuple[int, int] | None
    bits: float | None


def coded(data: bytes) -> Coded:
    """From an encoded picture's header."""
    try:
        size = images.original_size(data)
    except Exception:  # whatever is wrong with it is said when it is decoded
        return Coded(None, None)
    lossless = data[:8] == b"\x89PNG\r\n\x1a\n" or data[12:16] == b"VP8L"
    return Coded(size, None if lossless else 8.0 * len(data))


def answer(picture: Picture, form: str, quality: int, colour: Colour) -> Tensors:
    """The picture as a tensor of the verb's answer. colour: of yuv420, where the picture is RGB."""
    if form == "rgb":
        return {"RGB": picture.rgb()}
    if form == "yuv420":
        return {"PLANES": picture.planes(picture.colour if picture.halved else colour)}
    file, image = io.BytesIO(), Image.fromarray(picture.rgb())
    if form == "jpeg":
        image.save(file, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
    else:
        image.save(file, "PNG", compress_level=1)
    return {"IMAGE": strings([file.getvalue()])}
