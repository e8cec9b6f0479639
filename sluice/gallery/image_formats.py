"""Tells the format of a stored image from its first bytes, because the catalogue does not keep it."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.gallery import shards
from sluice.gallery.store import Gallery

HEAD = 12  # bytes that tell the format


def of(gallery: Gallery, ids: Sequence[str]) -> list[str | None]:
    """Return per stored frame "jpeg", "png" or "webp"; None if its bytes are of another format or cannot be read."""
    return [_of(gallery, id_) for id_ in ids]


def _of(gallery: Gallery, id_: str) -> str | None:
    """Return the format of one stored frame, or None."""
    for _ in range(8):
        with gallery.reading() as connection:
            found = connection.execute(
                "SELECT name, offset, length FROM frames JOIN shards USING(shard) WHERE id = ?", (id_,)
            ).fetchone()
            if found is None:
                return None
            name, offset, length = found
            try:
                return named(shards.read(gallery.folder, name, offset, min(length, HEAD)))
            except FileNotFoundError:  # a compaction moved it
                continue
    return None  # its file is missing, which a caller learns that asks for the bytes


def named(head: bytes) -> str | None:
    """Return the format of an image from its first bytes, or None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None
