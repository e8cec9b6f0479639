"""Encoded frames to pictures and pictures to what a caller of `enhance` asked for."""

from __future__ import annotations

import io

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


def coded_bits(data: bytes) -> float | None:
    """Bits that were spent on a picture; None where nothing was lost, as with PNG."""
    return None if data[:8] == b"\x89PNG\r\n\x1a\n" else 8.0 * len(data)


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
