"""Headers of encoded images: bounds, without decoding, how much work an image can be.

The parts of a file are walked as its decoder will walk them, so that the counts here bound the work there. Nothing is
decoded, and nothing but lengths is believed. So reading a header costs one search through the bytes, whatever they are.
Sources: ITU-T T.81, B.1 and B.2 (JPEG); W3C PNG, 5; RFC 9649, 2 (WebP).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

# A scan of 95 bytes makes the decoder go over every block of a progressive JPEG. Encoders write 10 scans, 20 at most.
MOST_SCANS = 64
MOST_PARTS = 256  # segments or chunks of a plain file: each costs a turn of an interpreted loop
MOST_METADATA = 1 << 18  # bytes of metadata of a plain file
MOST_ENTRIES = 256  # entries of its EXIF: each may name all of these bytes as its value
# Pixels that one core decodes in less than about 0.2 s, whatever the image shows: docs/decisions/serving.md. For a JPEG
# of several scans LIGHT_SCANS limits the pixels of all scans together.
LIGHT = {"JPEG": 1 << 23, "PNG": 1 << 21, "WEBP": 1 << 22}
LIGHT_SCANS = 1 << 25
LIGHT_BYTES = 8 << 20

TURNS = 64 * MOST_PARTS  # parts after which the count ends, because such a file is not plain
_EXIF = b"Exif\0\0"
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PIXELS = (b"IDAT", b"VP8 ", b"VP8L", b"ALPH")
_KNOWN = (*_PIXELS, b"IHDR", b"IEND", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"tIME",
          b"iCCP", b"eXIf", b"tEXt", b"iTXt", b"zTXt", b"VP8X", b"ICCP", b"EXIF", b"XMP ")  # fmt: skip


@dataclass(frozen=True)
class Header:
    """The facts that the parts of a file declare.

    form:  "JPEG", "PNG" or "WEBP".
    size:  (width, height) upright, pixels.
    scans: number of scans of a JPEG, counted up to MOST_SCANS + 1; 1 for other forms.
    plain: False if other parts of the file may cost more than its pixels: more parts or metadata than images have, or
           an animation.
    """

    form: str
    size: tuple[int, int]
    scans: int
    plain: bool

    @property
    def pixels(self) -> int:
        """Return width times height."""
        return self.size[0] * self.size[1]

    @property
    def light(self) -> bool:
        """Tell whether decoding takes milliseconds for sure. A file of too many scans does, because it is refused."""
        if self.scans > MOST_SCANS:
            return True
        return self.plain and self.pixels <= LIGHT[self.form] and self.pixels * max(self.scans, 4) <= LIGHT_SCANS


def read(data: bytes) -> Header | None:
    """Read the header of a JPEG, PNG or WebP; None for other bytes, which no decoder will take.

    A file that breaks off or contradicts itself is not plain.
    """
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _chunks(data, "PNG", 8, 4)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _chunks(data, "WEBP", 12, 0)
    return None


def _jpeg(data: bytes) -> Header:
    """Read the header of a JPEG by walking its segments."""
    said, place, parts, scans, ended = _Said(), 2, 0, 0, False
    while scans <= MOST_SCANS and parts < TURNS and (found := _MARKER.search(data, place)):
        marker, place, parts = data[found.start() + 1], found.end(), parts + 1
        if marker == 0xD9:  # the end of the image; bytes behind it are not decoded
            ended = True
            break
        length = int.from_bytes(data[place : place + 2], "big")
        if marker == 0xDA:
            scans += 1
        elif marker in _FRAME:
            height, width = struct.unpack(">HH", data[place + 3 : place + 7].ljust(4, b"\0"))
            said.sized(width, height)
        elif marker >= 0xE0:
            said.metadata += length
            if marker == 0xE1 and data[place + 2 : place + 8] == _EXIF:
                said.exif(data[place + 8 : place + length])
        place += length
    return said.header("JPEG", scans, ended and parts <= MOST_PARTS and len(data) <= LIGHT_BYTES)


def _chunks(data: bytes, form: str, place: int, behind: int) -> Header:
    """Read the header of a PNG or WebP by walking its chunks.

    form: "PNG" or "WEBP". place: of the first chunk in the bytes. behind: bytes of a chunk after its content.
    """
    said, turns, parts, whole = _Said(), 0, 0, True
    while place + 8 <= len(data) and parts <= MOST_PARTS and turns < TURNS:
        if form == "PNG":
            length, name = struct.unpack(">I4s", data[place : place + 8])
        else:
            name, length = struct.unpack("<4sI", data[place : place + 8])
        body = data[place + 8 : place + 8 + min(length, 1 << 16)]
        # Encoders cut the pixels of a PNG into thousands of chunks.
        turns, parts = turns + 1, parts + (name != b"IDAT")
        whole = whole and name in _KNOWN and b"Raw profile" not in body[:64]
        if name not in _PIXELS:
            said.metadata += length
        if name in (b"eXIf", b"EXIF"):
            said.exif(body[6:] if body[:6] == _EXIF else body)
        said.sized(*_size(name, body))
        place += 8 + length + behind + (length % 2 if form == "WEBP" else 0)
        if name == b"IEND":
            break
    return said.header(form, 1, whole and parts <= MOST_PARTS and turns < TURNS and len(data) <= LIGHT_BYTES)


class _Said:
    """The facts that have been read of a file so far.

    size: the greatest (width, height) declared. metadata: bytes. entries: of its EXIF. turned: whether the EXIF says
    that the image lies on its side.
    """

    def __init__(self) -> None:
        self.size, self.metadata, self.entries, self.turned = (0, 0), 0, 0, False

    def sized(self, width: int, height: int) -> None:
        """Take a declared size, pixels, if it is greater than the one before."""
        if width * height > self.size[0] * self.size[1]:
            self.size = width, height

    def exif(self, tiff: bytes) -> None:
        """Count the entries of the first directory, and see whether the image lies on its side. Source: TIFF 6.0, 2."""
        order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
        begin = int.from_bytes(tiff[4:8], order)
        count = int.from_bytes(tiff[begin : begin + 2].ljust(2, b"\xff"), order)
        self.entries += count
        for at in range(begin + 2, begin + 2 + 12 * min(count, MOST_ENTRIES), 12):
            if int.from_bytes(tiff[at : at + 2], order) == 0x0112:
                self.turned = 5 <= int.from_bytes(tiff[at + 8 : at + 10], order) <= 8

    def header(self, form: str, scans: int, plain: bool) -> Header:
        """Return the header. plain: whether its parts are those of a plain file; size and metadata are checked here."""
        size = self.size[::-1] if self.turned else self.size
        plain = plain and min(size) > 0 and self.metadata <= MOST_METADATA and self.entries <= MOST_ENTRIES
        return Header(form, (size[0], size[1]), scans, plain)


def _size(name: bytes, body: bytes) -> tuple[int, int]:
    """Return width and height as a chunk of a PNG or WebP declares them; (0, 0) for a chunk that declares no size."""
    if name == b"IHDR" and len(body) >= 8:
        return struct.unpack(">II", body[:8])
    if name == b"VP8X" and len(body) >= 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if name == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0
