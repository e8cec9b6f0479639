"""Makes a new catalogue from what the shards say of their frames, after the catalogue was lost.

Restored: every frame whose image, features and codes are whole, with its id, drive, camera, time and tags, and its
descriptor, which is computed anew. Not restored: the objects of detectors and the embeddings, which lie in the
catalogue alone; frames that older formats stored, whose images have no record; and damaged frames, which are named.
Deleted frames stay deleted, as far as `records.forget` has noted them.

Of two whole records of one image the one that was written last counts. Two images under one id are both kept, because
nothing here says which was deleted. The last one has the id, the other is named after its bytes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sluice.gallery import catalogue, records, scores, shards
from sluice.gallery.catalogue import CHECK, FILE, INSERT, connect, transaction, translated
from sluice.gallery.errors import Busy, Damaged, NotAGallery, ReadOnly
from sluice.gallery.ownership import refuse_lost

ASIDE = "aside"  # the folder beside `shards` for files that the new catalogue does not name
BEGUN = "frames.sqlite.new"


@dataclass(frozen=True)
class Place:
    """A record and the shard in which it lies."""

    shard: str
    record: records.Record

    @property
    def at(self) -> tuple[str, int]:
        """Shard and slot."""
        return self.shard, int(self.record.values["slot"])


def rebuild(root: Path) -> dict[str, Any]:
    """Make the catalogue of a folder anew from its shards. An old catalogue is moved to the folder `aside`.

    Returns {"frames": entered, "forgotten": deleted before, "older": records that a later one of the same image
    replaces, "renamed": {id: new id}, "lost": {id: why}, "unread": {shard: bytes of images without a record},
    "remedy"}. Shards with unread bytes are also linked into `aside`, so that no compaction removes the last name of
    them. Raises NotAGallery if there are no shards, Busy if the catalogue has frames or a server has the folder open,
    ReadOnly, Full.
    """
    folder = root / "shards"
    with translated():
        _may_rebuild(root)
        with _locked(folder) as names:
            places, unread = _found(folder, names)
            deleted = records.forgotten(root)
            live = [place for place in places if place.at not in deleted]
            whole, lost = _judged(folder, live)
            chosen = _last(whole)
            renamed = _enter(root, chosen)
            _set_aside(root, unread)
            os.replace(root / BEGUN, root / FILE)
            shards.sync_folder(root)
    for place, _ in chosen:  # a later record of the image may be damaged while an earlier one is whole
        lost.pop(str(place.record.values["id"]), None)
    return {
        "frames": len(chosen),
        "forgotten": len(places) - len(live),
        "older": len(whole) - len(chosen),
        "renamed": renamed,
        "lost": lost,
        "unread": unread,
        "remedy": _remedy(lost, unread),
    }


def _remedy(lost: dict[str, str], unread: dict[str, int]) -> str:
    """Return what to do about the things that were not restored."""
    told = [
        "what detectors found and the embeddings were in the old catalogue alone: run `sluice score`, and `sluice "
        "compare` with keep_embeddings, to have them again"
    ]
    if lost:
        told.append("add the images again of the frames that are lost")
    if unread:
        told.append(
            "images that are unread were stored by an older format without a record of them: only the old catalogue "
            f"knows what they are; their shards are kept in the folder {ASIDE}, where they lie one after another"
        )
    return "; ".join(told)


def _may_rebuild(root: Path) -> None:
    """Raise NotAGallery, ReadOnly or Busy for a folder whose catalogue must not be made anew."""
    if not (root / "shards").is_dir() or not shards.names(root / "shards"):
        raise NotAGallery("there are no shards in that folder to make a catalogue of; give the gallery's folder")
    if not catalogue.writable(root):
        raise ReadOnly("the gallery's folder cannot be written; make it writable first")
    try:
        refuse_lost(root)
        with contextlib.closing(connect(root, writable=False, timeout=1)) as old:
            count = old.execute("SELECT count(*) FROM frames").fetchone()[0]
    except (NotAGallery, ReadOnly, sqlite3.DatabaseError):  # a missing, empty or damaged catalogue is to be rebuilt
        return
    if count:
        raise Busy(
            f"the catalogue is there and has {count} frames, so nothing was done; if it belongs to another gallery, "
            "move frames.sqlite and the files frames.sqlite-* away first"
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[list[str]]:
    """Lock every shard of a folder and yield their names, sorted. Raises Busy if a writer has one."""
    locks: dict[str, int] = {}
    try:
        for name in sorted(shards.names(folder)):
            lock = shards.closed(folder, name)
            if lock is not None:
                locks[name] = lock
            elif shards.path(folder, name, "exact").exists():
                raise Busy("a server has the gallery open for writing; stop it, then rebuild")
        yield sorted(shards.names(folder))
    finally:
        for lock in locks.values():
            os.close(lock)


def _found(folder: Path, names: list[str]) -> tuple[list[Place], dict[str, int]]:
    """Return all records, and per shard the bytes that no record claims."""
    places: list[Place] = []
    unread: dict[str, int] = {}
    for name in names:
        for found in _walk(shards.path(folder, name, "images")):
            if isinstance(found, records.Record):
                places.append(Place(name, found))
            else:
                unread[name] = unread.get(name, 0) + len(found)
    return places, unread


def _walk(file: Path) -> Iterator[records.Record | range]:
    """Yield the records and the unclaimed ranges of one file."""
    if not file.exists() or not file.stat().st_size:
        return
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from records.walk(data)


Whole = tuple[Place, np.ndarray]  # a whole frame and its descriptor, float16 [C]


def _judged(folder: Path, places: list[Place]) -> tuple[list[Whole], dict[str, str]]:
    """Return the places whose frames are whole, and per id of the others what is damaged."""
    whole, lost = [], {}
    for place in places:
        try:
            whole.append((place, _checked(folder, place)))
        except Damaged as damage:
            lost[str(place.record.values["id"])] = str(damage)
    return whole, lost


def _last(whole: list[Whole]) -> list[Whole]:
    """Return the last frame per image, in the order in which they were written."""
    ordered = sorted(whole, key=lambda one: (one[0].record.values["added"], *one[0].at))
    last = {place.record.values["sha256"]: place for place, _ in ordered}
    return [one for one in ordered if last[one[0].record.values["sha256"]] is one[0]]


def _enter(root: Path, chosen: list[Whole]) -> dict[str, str]:
    """Write a new catalogue beside the old one's place. Returns new ids by old ids."""
    for name in (BEGUN, f"{BEGUN}-wal", f"{BEGUN}-shm"):
        (root / name).unlink(missing_ok=True)
    ids = {place.record.values["id"]: place for place, _ in chosen}  # the last image of an id keeps it
    renamed: dict[str, str] = {}
    with contextlib.closing(connect(root, writable=True, timeout=1, name=BEGUN)) as editor:
        with transaction(editor):
            if chosen:
                gallery = chosen[-1][0].record.shape.gallery
                editor.execute("UPDATE facts SET value = ? WHERE name = 'gallery'", (gallery,))
            for place, descriptor in chosen:
                id_ = place.record.values["id"]
                if ids[id_] is not place:
                    renamed[id_] = id_ = place.record.values["sha256"].hex()
                _row(editor, place, id_, descriptor)
        editor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return renamed


def _checked(folder: Path, place: Place) -> np.ndarray:
    """Return a frame's descriptor, float16 [C]. Raises Damaged if a part of the frame is not as it was stored."""
    values, shape = place.record.values, place.record.shape
    data = shards.read(folder, place.shard, place.record.start, place.record.end - place.record.start)
    found = records.read(data, 0)
    if found is None or not records.whole(data, found):
        raise Damaged(f"its image in {place.shard}.images is not whole")
    try:
        exact, codes = shards.features(folder, place.shard, [place.at[1]], shape.h * shape.w, shape.channels)
    except FileNotFoundError:
        raise Damaged(f"a file of its shard {place.shard} is missing") from None
    if zlib.crc32(codes.data, zlib.crc32(exact.data)) != values["crc"]:
        raise Damaged(f"its features in {place.shard} are not whole")
    top, bottom, left, right = np.frombuffer(values["extent"], "<i2")
    map_ = exact.reshape(shape.h, shape.w, shape.channels)
    return scores.descriptor(map_[top:bottom, left:right])


def _row(editor: catalogue.Connection, place: Place, id_: str, descriptor: np.ndarray) -> None:
    """Enter one frame in the new catalogue."""
    values, shape = place.record.values, place.record.shape
    editor.execute("INSERT OR IGNORE INTO models(version) VALUES(?)", (shape.model,))
    model = editor.execute("SELECT model FROM models WHERE version = ?", (shape.model,)).fetchone()[0]
    editor.execute(
        "INSERT OR IGNORE INTO shards(name, model, h, w, channels) VALUES(?, ?, ?, ?, ?)",
        (place.shard, model, shape.h, shape.w, shape.channels),
    )
    shard = editor.execute("SELECT shard FROM shards WHERE name = ?", (place.shard,)).fetchone()[0]
    said = [values[name] for name in ("sha256", "drive", "camera", "time", "tags", "added")]
    form = [values[name] for name in ("geometry", "extent", "scale", "error", "crc")]
    where = [model, shard, values["slot"], place.record.offset, values["length"]]
    seq = editor.execute(INSERT, [id_, *said, *where, *form]).lastrowid
    head = place.record.offset - place.record.start
    editor.execute(CHECK, (seq, values["exact_sum"], values["codes_sum"], head))
    scores.describe_frames(editor, [(int(seq or 0), descriptor)])


def _set_aside(root: Path, unread: dict[str, int]) -> None:
    """Move the old catalogue to `aside`, and link the shards into it that hold more than the new catalogue knows."""
    old = [file for file in root.glob(f"{FILE}*") if not file.name.startswith(BEGUN)]
    if not old and not unread:
        return
    aside = root / ASIDE
    aside.mkdir(exist_ok=True)
    number = len(list(aside.iterdir()))
    for file in old:
        file.rename(aside / f"{number}-{file.name}")
    for name in unread:
        for kind in shards.KINDS:
            source, target = shards.path(root / "shards", name, kind), aside / f"{name}.{kind}"
            if source.exists() and not target.exists():
                os.link(source, target)
    shards.sync_folder(aside)
