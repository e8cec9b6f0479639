"""Pictures whose files are not quite as they should be."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

BROKEN_EXIF = b"Exif\0\0" + bytes.fromhex("00080002011200030008") * 3


def broken_exif(size: tuple[int, int], form: str) -> bytes:
    """A picture of noise with EXIF data that are none."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(file, form, exif=BROKEN_EXIF, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()
