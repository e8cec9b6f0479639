"""Writes what a row says of its frame once more, in front of the frame's image in its shard.

The catalogue alone judges what is stored. But a shard whose catalogue was lost must not be a heap of images without
names, so each image is preceded by a record:

    8 bytes    MAGIC
    uint16     VERSION of this form, 1
    uint16     0
    uint32     n, bytes of the text
    n bytes    JSON: the row's columns of `FIELDS`, and gallery (its name), model, h, w, channels
    uint32     CRC-32 of everything before

all little-endian. Shards of older formats have no records until `python -m sluice.gallery compact FOLDER` rewrites
them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"\x89SLUICE\n"
VERSION = 1
HEAD = struct.Struct("<8sHHI")
TAIL = struct.Struct("<I")
MAX_TEXT = 1 << 20  # bytes; a frame's fields are bounded well below

# The columns of a row. Those in BYTES are bytes, written in hexadecimal.
FIELDS = (
    *("id", "sha256", "drive", "camera", "time", "tags", "added"),
    *("slot", "length", "geometry", "extent", "scale", "error", "crc", "exact_sum", "codes_sum"),
)
BYTES = ("sha256", "geometry", "extent")


@dataclass(frozen=True)
class Shape:
    """The values that all records of a batch share: the gallery's name, the model's version, the grid of cells, C."""

    gallery: str
    model: str
    h: int
    w: int
    channels: int


@dataclass(frozen=True)
class Record:
    """A record that was found: its values, and where the record and its image lie in the file."""

    values: Mapping[str, Any]
    shape: Shape
    start: int
    offset: int  # of the image

    @property
    def end(self) -> int:
        """The offset at which the image ends."""
        return self.offset + int(self.values["length"])


def written(values: Sequence[Any], shape: Shape) -> bytes:
    """Return the bytes of one record. values: in the order of `FIELDS`, digests and arrays as bytes."""
    told = {name: value.hex() if name in BYTES else value for name, value in zip(FIELDS, values, strict=True)}
    text = json.dumps({**told, **vars(shape)}, separators=(",", ":")).encode()
    body = HEAD.pack(MAGIC, VERSION, 0, len(text)) + text
    return body + TAIL.pack(zlib.crc32(body))


def read(data: Any, at: int) -> Record | None:
    """Return the record that begins at `at` of a file's bytes (or map); None if there is no whole record."""
    head = data[at : at + HEAD.size]
    if len(head) < HEAD.size:
        return None
    magic, version, _, length = HEAD.unpack(head)
    end = at + HEAD.size + length
    if magic != MAGIC or version != VERSION or length > MAX_TEXT or end + TAIL.size > len(data):
        return None
    if TAIL.unpack(data[end : end + TAIL.size])[0] != zlib.crc32(data[at:end]):
        return None
    try:
        told = json.loads(data[at + HEAD.size : end])
        values = {name: bytes.fromhex(told[name]) if name in BYTES else told[name] for name in FIELDS}
        shape = Shape(*(told[name] for name in ("gallery", "model", "h", "w", "channels")))
    except (ValueError, KeyError, TypeError):
        return None
    return Record(values, shape, at, end + TAIL.size)


def walk(data: Any) -> Iterator[Record | range]:
    """Yield all of a shard's .images in order: records, and ranges of bytes that no record claims.

    After a record whose image is whole the walk goes on behind the image, so bytes inside an image are never taken for
    a record. After a torn image, which is claimed as far as it reaches, the next record is searched for.
    """
    at = 0
    while at < len(data):
        record = read(data, at)
        if record is not None:
            yield record
            if whole(data, record):
                at = record.end
                continue
        found = data.find(MAGIC, at + 1)
        end = len(data) if found < 0 else found
        if data[at : at + len(MAGIC)] != MAGIC[: end - at]:
            yield range(at, end)
        at = end


def whole(data: Any, record: Record) -> bool:
    """Return whether the record's image lies behind it as it was stored."""
    image = data[record.offset : record.end]
    return hashlib.sha256(image).digest() == record.values["sha256"]


# ------------------------------------------------------------------------------------------------ deleted frames

FORGOTTEN = "forgotten"  # a file beside the catalogue; one line per deleted frame: its shard and slot


def forget(root: Path, places: Sequence[tuple[str, int]]) -> None:
    """Note that the records at some places, (shard, slot), count no more because their frames were deleted.

    Call it after the deletion was committed. A note that a power failure loses brings a deleted frame back into a
    rebuilt catalogue, but no note ever removes a stored frame.
    """
    if not places:
        return
    with contextlib.suppress(OSError):  # the deletion holds even if there is no space for its note
        file = os.open(root / FORGOTTEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, "".join(f"{shard} {slot}\n" for shard, slot in places).encode())
            os.fdatasync(file)
        finally:
            os.close(file)


def forgotten(root: Path) -> set[tuple[str, int]]:
    """Return the places that `forget` has noted."""
    try:
        lines = (root / FORGOTTEN).read_text().splitlines()
    except FileNotFoundError:
        return set()
    pairs = (line.split() for line in lines)
    return {(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
