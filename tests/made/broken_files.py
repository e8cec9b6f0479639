"""Pictures whose files are not as they should be: broken EXIF data, many scans, a size too large to decode."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

BROKEN_EXIF = b"Exif\0\0" + bytes.fromhex("00080002011200030008") * 3


def broken_exif(size: tuple[int, int], form: str) -> bytes:
    """Return an encoded picture of noise whose EXIF data cannot be parsed."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(file, form, exif=BROKEN_EXIF, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


def many_scans(size: tuple[int, int], scans: int) -> bytes:
    """Return a progressive grey JPEG: small and complete, but its decoder walks over all blocks once per scan."""
    file = io.BytesIO()
    Image.new("L", size, 128).save(file, "JPEG", progressive=True, quality=50)
    data = file.getvalue()
    begins = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    cheapest = min(zip(begins, [*begins[1:], len(data) - 2], strict=True), key=lambda scan: scan[1] - scan[0])
    return data[: begins[1]] + data[slice(*cheapest)] * (scans - 1) + data[-2:]


def bomb(width, height):
    """Return a PNG whose header declares a size that must not be decoded."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))
