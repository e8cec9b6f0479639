"""Pictures as callers send them: drawn streets and noise, encoded as JPEG."""

import io

import numpy as np
from PIL import Image

import scenes


def jpeg(seed, size=(480, 360), quality=90, **how):
    """Return a JPEG of a drawn street, a different one per seed; size is (width, height)."""
    buffer = io.BytesIO()
    Image.fromarray(scenes.render(seed, size).image).save(buffer, "JPEG", quality=quality, **how)
    return buffer.getvalue()


def noise_jpeg(seed, size=(64, 48)):
    """Return a JPEG of noise, a different one per seed, small to send and to store."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()
