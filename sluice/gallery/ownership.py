"""Checks, whenever a gallery is opened, that a catalogue and the shards beside it belong together.

A catalogue that was removed, emptied or copied in from elsewhere names none of the bytes beside it, and a compaction
would remove them as unused. Such a folder is refused before anything is written to it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sluice.gallery import records, shards
from sluice.gallery.catalogue import FILE, connect, pragma, translated
from sluice.gallery.errors import GalleryError, NotAGallery

REMEDY = (
    "put frames.sqlite back from a copy, or let `python -m sluice.gallery rebuild FOLDER` make a new one of what the "
    "shards say of their frames; nothing was changed"
)


def refuse_lost(root: Path, create: bool = True) -> None:
    """Raise NotAGallery for a folder whose shards have bytes but whose catalogue is missing or empty.

    create: whether a new gallery may be made; if not, also raise NotAGallery for a folder without one.
    """
    # The shards are looked at first, because a new gallery gets its catalogue before its shards.
    full = _with_bytes(root / "shards")
    file = root / FILE
    if full and (not file.exists() or not file.stat().st_size):
        raise NotAGallery(
            f"the gallery's catalogue, frames.sqlite, is {'empty' if file.exists() else 'missing'}, but {_told(full)} "
            f"lie beside it; {REMEDY}"
        )
    if not create and not file.exists():
        raise NotAGallery(
            "the gallery's folder was removed while it was open; put it back, or start the server again, which begins "
            "a new one"
        )


def refuse_foreign(connection: sqlite3.Connection, root: Path) -> None:
    """Raise NotAGallery if shards that the catalogue does not name belong to another or a lost catalogue.

    Shards that the catalogue does not name but that carry its name were left by a writer that was killed. Shards that
    carry no name (older formats) may have been left so, too, unless the catalogue has never had a frame.
    """
    folder = root / "shards"
    full = _with_bytes(folder)
    if not full:
        return
    named = {name for (name,) in connection.execute("SELECT name FROM shards")}
    lost = {name: size for name, size in full.items() if name not in named}
    if not lost:
        return
    own, fresh = gallery_name(connection), not named and not _ever(connection)
    owners = {name: owner(folder, name) for name in lost}
    foreign = {name: lost[name] for name, of in owners.items() if of not in ("", own) or (of == "" and fresh)}
    if foreign:
        has = "has no frame" if fresh else "is that of another gallery"
        raise NotAGallery(f"the gallery's catalogue {has}, but {_told(foreign)} of others lie beside it; {REMEDY}")


def owner(folder: Path, name: str) -> str | None:
    """Return the gallery that a shard's first record names.

    Returns "" if the shard has images without a record, and None if it holds nothing whole.
    """
    try:
        with open(shards.path(folder, name, "images"), "rb") as file:
            data = file.read(records.HEAD.size + records.MAX_TEXT)
    except FileNotFoundError:
        return None
    if not data.startswith(records.MAGIC):
        return "" if len(data) >= len(records.MAGIC) else None
    record = records.read(data, 0)
    return None if record is None else record.shape.gallery


def gallery_name(connection: sqlite3.Connection) -> str:
    """Return the random name of the gallery, which its records carry.

    Returns "" for a catalogue of format 1 that is open for reading alone.
    """
    if pragma(connection, "user_version") < 2:
        return ""
    return str(connection.execute("SELECT value FROM facts WHERE name = 'gallery'").fetchone()[0])


def _ever(connection: sqlite3.Connection) -> bool:
    """Return whether the catalogue has ever had a frame."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'frames'").fetchone()
    return found is not None and found[0] > 0


def _with_bytes(folder: Path) -> dict[str, int]:
    """Return the sizes, in bytes, of the shards whose files are not all empty."""
    if not folder.is_dir():
        return {}
    sizes: dict[str, int] = {}
    with os.scandir(folder) as files:
        for file in files:
            stem, _, kind = file.name.rpartition(".")
            if kind in shards.KINDS:
                sizes[stem] = sizes.get(stem, 0) + _size(Path(file.path))
    return {name: size for name, size in sizes.items() if size}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a compaction is at work
        return 0


def _told(full: dict[str, int]) -> str:
    size = sum(full.values())
    return f"{len(full)} {'shard' if len(full) == 1 else 'shards'} with {size:,} bytes"


def trouble(root: Path) -> str | None:
    """Return why a folder's gallery would be refused, or None if it would be opened. Writes nothing."""
    try:
        with translated():
            refuse_lost(root)
            if (root / FILE).exists() and (root / FILE).stat().st_size:
                with contextlib.closing(connect(root, writable=False, timeout=1)) as connection:
                    refuse_foreign(connection, root)
    except GalleryError as error:
        return str(error)
    return None
