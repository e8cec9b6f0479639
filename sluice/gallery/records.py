"""What a row says of its frame, once more in front of the frame's picture in its shard.

The catalogue alone judges what is stored. But a shard whose catalogue was lost must not be a heap of pictures without
names, so each picture is preceded by a record:

    8 bytes    MAGIC
    uint16     VERSION of this form, 1
    uint16     0
    uint32     n, bytes of the text
    n bytes    JSON: the row's columns of `FIELDS`, and gallery (its name), model, h, w, channels
    uint32     CRC-32 of everything before

all little-endian. Shards of older formats have none; `python -m sluice.gallery compact FOLDER` writes them anew with.
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

# Columns of a row; and those of them that are bytes, which are written in hexadecimal.
FIELDS = (
    *("id", "sha256", "drive", "camera", "time", "tags", "added"),
    *("slot", "length", "geometry", "extent", "scale", "error", "crc", "exact_sum", "codes_sum"),
)
BYTES = ("sha256", "geometry", "extent")


@dataclass(frozen=True)
class Shape:
    """What all records of a batch share: the gallery's name, the model's version, the grid of cells and its C."""

    gallery: str
    model: str
    h: int
    w: int
    channels: int


@dataclass(frozen=True)
class Record:
    """A record that was found: its values, and where it and its picture lie in the file."""

    values: Mapping[str, Any]
    shape: Shape
    start: int
    offset: int  # of the picture

    @property
    def end(self) -> int:
        """Where the picture ends."""
        return self.offset + int(self.values["length"])


def written(values: Sequence[Any], shape: Shape) -> bytes:
    """One record. values: of `FIELDS`, bytes as bytes."""
    told = {name: value.hex() if name in BYTES else value for name, value in zip(FIELDS, values, strict=True)}
    text = json.dumps({**told, **vars(shape)}, separators=(",", ":")).encode()
    body = HEAD.pack(MAGIC, VERSION, 0, len(text)) + text
    return body + TAIL.pack(zlib.crc32(body))


def read(data: Any, at: int) -> Record | None:
    """The record that begins at `at` of a file's bytes (or map); None where there is no whole one."""
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
    """All of a shard's .images in its order: records, and ranges of bytes that no record claims.

    After a record whose picture is whole comes what lies behind the picture, so what a picture holds is never taken
    for a record; after one that is torn, which is claimed as far as it reaches, the next is looked for.
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
    """Whether the record's picture lies behind it as it was stored."""
    picture = data[record.offset : record.end]
    return hashlib.sha256(picture).digest() == record.values["sha256"]


# ------------------------------------------------------------------------------------------- what is stored no more

FORGOTTEN = "forgotten"  # beside the catalogue: a line a frame that was deleted, its shard and slot


def forget(root: Path, places: Sequence[tuple[str, int]]) -> None:
    """Note that the records at some places, (shard, slot), count no more: their frames were deleted.

    After the deletion was committed: a note that is lost with the power brings a deleted frame back into a rebuilt
    catalogue, but no note ever takes one away that is stored.
    """
    if not places:
        return
    with contextlib.suppress(OSError):  # the deletion holds, whether or not its note finds space
        file = os.open(root / FORGOTTEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, "".join(f"{shard} {slot}\n" for shard, slot in places).encode())
            os.fdatasync(file)
        finally:
            os.close(file)


def forgotten(root: Path) -> set[tuple[str, int]]:
    """The places of which `forget` was told."""
    try:
        lines = (root / FORGOTTEN).read_text().splitlines()
    except FileNotFoundError:
        return set()
    pairs = (line.split() for line in lines)
    return {(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
