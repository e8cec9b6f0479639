"""Converts pictures of a diffusion network, [C, H, W] of about -1 to 1, to PNG and JPEG and back."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from sluice import images
from sluice.errors import InvalidArgument

PREVIEW_QUALITY = 85
FINE = 960  # pixels: a JPEG that is to be scaled is decoded with sides of at least twice this, if it has them


def bytes_of(picture: np.ndarray) -> np.ndarray:
    """Round a picture to bytes: float [C, H, W], clipped to -1 to 1 -> uint8 [H, W] if C is 1, else [H, W, C]."""
    levels = np.rint((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8)
    return levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)


def png(picture: np.ndarray) -> bytes:
    """Encode a picture, float [C, H, W] of -1 to 1 with C of 1 or 3, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(bytes_of(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def jpeg(picture: np.ndarray) -> bytes:
    """Encode a picture, float [C, H, W] of -1 to 1 with C of 1 or 3, as JPEG of PREVIEW_QUALITY."""
    buffer = io.BytesIO()
    Image.fromarray(bytes_of(picture)).save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return buffer.getvalue()


def read(data: bytes, shape: tuple[int, int, int], fit: bool, limits: images.Limits) -> np.ndarray:
    """Decode a JPEG, PNG or WebP as float32 [C, H, W] of -1 to 1.

    shape: (C, H, W) that the network takes; a picture in colour becomes grey if C is 1.
    fit: True cuts the middle out of a picture of another size and scales it; False refuses such a picture.
    limits: the bytes and pixels that are accepted.

    Raises InvalidArgument as `images.decode` does, and for another size without `fit`.
    """
    channels, height, width = shape
    picture = images.decode(data, limits, longest=max(FINE, height, width) if fit else None)
    if picture.size != (width, height):
        if not fit:
            raise InvalidArgument(
                f"the picture is {picture.width} x {picture.height} pixels, the network takes {width} x {height}; "
                "scale it, or let its middle be cut out and scaled with fit"
            )
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    levels = np.asarray(picture.convert("L") if channels == 1 else picture, np.float32) / 127.5 - 1
    return levels[None] if channels == 1 else np.ascontiguousarray(levels.transpose(2, 0, 1))
