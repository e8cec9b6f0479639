"""Gives the bytes of deleted frames and of dead writers back to the disk, while others add and search."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluice.gallery import ownership, records, shards
from sluice.gallery.catalogue import CHECK, Attempt, transaction
from sluice.gallery.errors import Damaged
from sluice.gallery.intake import Intake
from sluice.gallery.store import Gallery
from sluice.methods.scan.sums import sums

CHUNK = 256  # frames that are held in memory at once


def compact(gallery: Gallery, waste: float = 0.25) -> dict[str, Any]:
    """Give back the bytes that no frame needs.

    A shard that no writer holds is rewritten if no frame names at least `waste` of its bytes (0 to 1), if it is one of
    several that hold less than a quarter of a full shard, or if an older format wrote it. Files that no frame names are
    removed. A shard in which anything is damaged stays as it is, because it can only be repaired from a copy of itself.
    Needs space for the largest shard. Readers that hold the old files keep reading them until they let go.

    Returns {"shards": removed, "frames": moved, "freed": bytes, "damaged": {shard: why}}. Raises Full, ReadOnly, Busy,
    Moved; frames that have not been moved by then stay as they were. Raises NotAGallery if shards of another gallery
    lie here.
    """
    done: dict[str, Any] = {"shards": 0, "frames": 0, "freed": 0, "damaged": {}}
    with gallery.writing() as intake:
        editor, folder = intake.editor, intake.folder
        editor.check()
        ownership.refuse_foreign(editor, gallery.root)
        intake.close()
        locks: dict[str, int] = {}
        try:
            for name in sorted(shards.names(folder)):
                lock = shards.closed(folder, name)
                if lock is not None:
                    locks[name] = lock
            for name, number, shape in _worth_it(intake, set(locks), waste):
                try:
                    done["frames"] += _move(intake, number, shape)
                except (Damaged, FileNotFoundError) as damage:
                    done["damaged"][name] = str(damage) if isinstance(damage, Damaged) else "a file of it is missing"
            # This commit also overwrites what a dying writer may have left at the end of the log. Otherwise a recovered
            # row could name the files that are removed now.
            with transaction(editor):
                editor.execute("INSERT INTO changes(seq) VALUES(-1)")
                rows = editor.execute(
                    "SELECT shard, name, EXISTS(SELECT 1 FROM frames WHERE frames.shard = shards.shard) FROM shards"
                ).fetchall()
                # A shard without frames whose lock is not ours belongs to a living writer.
                empty = [(shard,) for shard, name, used in rows if name in locks and not used]
                editor.executemany("DELETE FROM shards WHERE shard = ?", empty)
                named = {name for _, name, used in rows if used}
            for name in set(locks) - named:
                done["freed"] += shards.unlink(folder, name)
                done["shards"] += 1
            shards.sync_folder(folder)
        finally:
            for lock in locks.values():
                os.close(lock)
            intake.close()
    return done


def _worth_it(intake: Intake, free: set[str], waste: float) -> list[tuple[str, int, records.Shape]]:
    """Return the shards to rewrite: name, number, shape."""
    found = intake.editor.execute(
        "SELECT shard, name, h, w, channels, version, count(*), sum(length + coalesce(head, 0)), count(head) "
        "FROM shards JOIN frames USING(shard, model) JOIN models USING(model) "
        "LEFT JOIN checks ON checks.seq = frames.seq GROUP BY shard"
    ).fetchall()
    chosen: list[Any] = []
    small: dict[Any, list[Any]] = {}
    for shard, name, h, w, channels, version, count, pictures, today in found:
        if name not in free:
            continue
        shape = records.Shape(intake.gallery, version, h, w, channels)
        named = 3 * h * w * channels * count + pictures
        size = sum(_size(intake.folder, name, kind) for kind in shards.KINDS)
        if size - named > waste * size or today < count or size < named:
            chosen.append((name, shard, shape))
        elif 2 * h * w * channels * count < intake.shard_bytes // 4:
            small.setdefault(shape, []).append((name, shard, shape))
    for group in small.values():
        chosen += group if len(group) > 1 else []
    return chosen


def _size(folder: Path, name: str, kind: str) -> int:
    """Return the size of a shard's file in bytes; 0 if it is missing."""
    try:
        return shards.path(folder, name, kind).stat().st_size
    except FileNotFoundError:
        return 0


_SAID = "id, sha256, drive, camera, time, tags, added"
_FORM = "geometry, extent, scale, error, crc"


def _move(intake: Intake, number: int, shape: records.Shape) -> int:
    """Copy the frames of a shard behind those of this process's own shard. Returns how many.

    Raises Damaged before anything of the shard was moved, if a part of it is not as it was stored.
    """
    rows = intake.editor.execute(
        f"SELECT frames.seq, slot, offset, length, name, exact_sum, codes_sum, {_SAID}, {_FORM} FROM frames "
        "JOIN shards USING(shard) LEFT JOIN checks ON checks.seq = frames.seq WHERE shard = ? ORDER BY slot",
        (number,),
    ).fetchall()
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    for chunk in chunks:
        _read(intake.folder, chunk, shape)
    for chunk in chunks:
        _copy(intake, chunk, shape, *_read(intake.folder, chunk, shape))
    return len(rows)


def _read(
    folder: Path, rows: Sequence[Any], shape: records.Shape
) -> tuple[list[bytes], np.ndarray, np.ndarray, np.ndarray]:
    """Return images, exact features, codes and their sums [n, 2] of some frames of one shard. Raises Damaged."""
    name = rows[0][4]
    exact, codes = shards.features(folder, name, [row[1] for row in rows], shape.h * shape.w, shape.channels)
    images = [shards.read(folder, name, row[2], row[3]) for row in rows]
    both = np.stack([sums(exact), sums(codes)], axis=1)
    for i, row in enumerate(rows):
        crc, stored = row[-1], row[5:7]
        good = zlib.crc32(codes[i].data, zlib.crc32(exact[i].data)) == crc
        if not good or len(images[i]) < row[3] or (stored[0] is not None and tuple(both[i].tolist()) != stored):
            raise Damaged(
                f"{row[7]!r} in slot {row[1]} of it is not as it was stored; `python -m sluice.gallery verify FOLDER` "
                "names all such frames"
            )
    return images, exact, codes, both


def _copy(
    intake: Intake,
    rows: Sequence[Any],
    shape: records.Shape,
    images: list[bytes],
    exact: np.ndarray,
    codes: np.ndarray,
    both: np.ndarray,
) -> None:
    """Write frames into this process's shard, and point their rows at it in one commit."""
    editor = intake.editor
    writer = intake.shard((shape.h, shape.w), shape.channels, shape.model)
    attempt = Attempt()
    try:
        first = writer.file.next
        heads = [
            records.written((*row[7:14], first + i, row[3], *row[14:], *both[i].tolist()), shape)
            for i, row in enumerate(rows)
        ]
        offsets = writer.file.append(heads, images, codes, exact)
        writer.file.sync()
        shards.sync_folder(intake.folder)
        with transaction(editor, attempt=attempt):
            model = editor.execute("SELECT model FROM models WHERE version = ?", (shape.model,)).fetchone()[0]
            target = intake.number(writer, model)
            for i, (row, offset, head) in enumerate(zip(rows, offsets, heads, strict=True)):
                place = (target, first + i, offset, row[0])
                if editor.execute("UPDATE frames SET shard = ?, slot = ?, offset = ? WHERE seq = ?", place).rowcount:
                    editor.execute("INSERT INTO changes(seq) VALUES(?)", row[:1])
                    editor.execute(CHECK, (row[0], *both[i].tolist(), len(head)))
            writer.file.check()
        writer.file.check()
    except BaseException:
        intake.abandon([writer], attempt)
        raise
    writer.number = target
    writer.file.keep()
