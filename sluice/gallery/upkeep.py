"""Looking after a gallery: `python -m sluice.gallery describe|verify|compact FOLDER`.

describe  what it holds, as JSON
verify    reads every frame's bytes again and checks them; exit code 1 if anything is damaged
compact   gives the bytes of deleted frames and of writers that died back to the disk, and joins small shards

Each of them may run beside servers that add and search.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sluice.errors import Refusal
from sluice.gallery import shards
from sluice.gallery.catalogue import Attempt, transaction, translated
from sluice.gallery.frames import Damaged
from sluice.gallery.store import Gallery
from sluice.scan.codes import ZERO

CHUNK = 256  # frames that a compaction holds in memory at once


def verify(gallery: Gallery) -> Iterator[tuple[str, str]]:
    """Check every frame against the disk; yields (id, what is wrong) of each that is damaged.

    Checked: the picture's SHA-256, the features' and codes' CRC-32, that features are finite, and that no cell is
    farther from its codes than the stored bound.
    """
    last = 0
    while True:
        with gallery._read_lock, translated():
            rows = gallery._reader.execute(
                f"SELECT {_ROW} FROM frames JOIN shards USING(shard) WHERE seq > ? ORDER BY seq LIMIT ?", (last, CHUNK)
            ).fetchall()
        if not rows:
            return
        for row in rows:
            trouble = _trouble(gallery, row)
            if trouble:
                # The frame may have been deleted or moved since its row was read: then its new row counts.
                with gallery._read_lock, translated():
                    again = gallery._reader.execute(
                        f"SELECT {_ROW} FROM frames JOIN shards USING(shard) WHERE seq = ?", row[:1]
                    ).fetchone()
                trouble = _trouble(gallery, again) if again else None
            if trouble:
                yield row[1], trouble
        last = rows[-1][0]


_ROW = "seq, id, name, slot, offset, length, sha256, scale, error, crc, h * w, channels, shard"


def _trouble(gallery: Gallery, row: Sequence[Any]) -> str | None:
    _, _, name, slot, offset, length, sha, scale, error, crc, cells, channels, _ = row
    try:
        image = shards.read(gallery.folder, name, offset, length)
        exact, codes = _features(gallery, name, [slot], cells, channels)
    except (OSError, ValueError):
        return "its files are missing or too short"
    if hashlib.sha256(image).digest() != sha:
        return "the picture is not the one that was added"
    if zlib.crc32(codes.data, zlib.crc32(exact.data)) != crc:
        return "the features are not those that were stored"
    wide = exact[0].astype(np.float64)
    if not np.isfinite(wide).all():
        return "the features are not finite"
    distance = np.sqrt(np.square(wide - (codes[0].astype(np.float64) - ZERO) * scale).sum(axis=1).max())
    if not distance <= error:
        return f"its codes are {distance:.3g} off, more than the bound of {error:.3g}"
    return None


def _features(
    gallery: Gallery, name: str, slots: list[int], cells: int, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Copies of the exact features and the codes of some slots, [len(slots), P, C] each."""
    exact, codes = (
        shards.view(gallery.folder, name, kind, max(slots) + 1, cells, channels)[slots] for kind in ("exact", "codes")
    )
    return exact, codes


def compact(gallery: Gallery, waste: float = 0.25) -> dict[str, int]:
    """Give back the bytes that no frame needs, while others add and search.

    A shard that no writer holds is rewritten when at least `waste` of its bytes (0 to 1) are not named by any frame, or
    when it is one of several that hold less than a quarter of a full shard. Files that no frame names are removed.
    Needs room for the largest shard. Readers that hold the old files go on with them until they let go.

    Returns {"shards": removed, "frames": moved, "freed": bytes}. Raises Full, ReadOnly, Busy; what has not been moved
    by then stays as it was.
    """
    gallery._may_write()
    done = {"shards": 0, "frames": 0, "freed": 0}
    with gallery._write_lock, translated():
        gallery._intake.close()
        locks: dict[str, int] = {}
        try:
            for name in sorted(shards.names(gallery.folder)):
                lock = shards.closed(gallery.folder, name)
                if lock is not None:
                    locks[name] = lock
            for number, grid, channels, version in _worth_it(gallery, set(locks), waste):
                done["frames"] += _move(gallery, number, grid, channels, version)
            # This commit also overwrites whatever a dying writer may have left at the end of the log, so that no row
            # can come to life that names the files that go now.
            with transaction(gallery._editor):
                gallery._editor.execute("INSERT INTO changes(seq) VALUES(-1)")
                rows = gallery._editor.execute(
                    "SELECT shard, name, EXISTS(SELECT 1 FROM frames WHERE frames.shard = shards.shard) FROM shards"
                ).fetchall()
                # A shard without frames whose lock we have not got is a living writer's.
                empty = [(shard,) for shard, name, used in rows if name in locks and not used]
                gallery._editor.executemany("DELETE FROM shards WHERE shard = ?", empty)
                named = {name for _, name, used in rows if used}
            for name in set(locks) - named:
                done["freed"] += shards.unlink(gallery.folder, name)
                done["shards"] += 1
            shards.sync_folder(gallery.folder)
        finally:
            for lock in locks.values():
                os.close(lock)
            gallery._intake.close()
    return done


def _worth_it(gallery: Gallery, free: set[str], waste: float) -> list[tuple[int, tuple[int, int], int, str]]:
    """The shards to rewrite: number, grid, channels, version."""
    found = gallery._editor.execute(
        "SELECT shard, name, h, w, channels, version, count(*), sum(length) "
        "FROM shards JOIN frames USING(shard, model) JOIN models USING(model) GROUP BY shard"
    ).fetchall()
    chosen: list[Any] = []
    small: dict[Any, list[Any]] = {}
    for shard, name, h, w, channels, version, count, pictures in found:
        if name not in free:
            continue
        one = (shard, (h, w), channels, version)
        named = 3 * h * w * channels * count + pictures
        size = sum(shards.path(gallery.folder, name, kind).stat().st_size for kind in shards.KINDS)
        if size - named > waste * size:
            chosen.append(one)
        elif 2 * h * w * channels * count < gallery._intake.shard_bytes // 4:
            small.setdefault((h, w, channels, version), []).append(one)
    for group in small.values():
        chosen += group if len(group) > 1 else []
    return chosen


def _move(gallery: Gallery, number: int, grid: tuple[int, int], channels: int, version: str) -> int:
    """Copy the frames of a shard behind those of this process's own; returns how many."""
    editor, cells = gallery._editor, grid[0] * grid[1]
    moved = 0
    while True:
        rows = editor.execute(
            f"SELECT {_ROW} FROM frames JOIN shards USING(shard) WHERE shard = ? ORDER BY slot LIMIT ?", (number, CHUNK)
        ).fetchall()
        if not rows:
            return moved
        name, slots = rows[0][2], [row[3] for row in rows]
        try:
            exact, codes = _features(gallery, name, slots, cells, channels)
        except ValueError:
            raise Damaged(
                "a shard is shorter than the catalogue says; `python -m sluice.gallery verify FOLDER` names the frames"
            ) from None
        images = [shards.read(gallery.folder, name, row[4], row[5]) for row in rows]
        writer = gallery._intake.shard(grid, channels, version)
        attempt = Attempt()
        try:
            slot, offsets = writer.file.append(images, codes, exact)
            writer.file.sync()
            shards.sync_folder(gallery.folder)
            with transaction(editor, attempt=attempt):
                model = editor.execute("SELECT model FROM models WHERE version = ?", (version,)).fetchone()[0]
                target = gallery._intake.number(writer, model)
                for i, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
                    editor.execute(
                        "UPDATE frames SET shard = ?, slot = ?, offset = ? WHERE seq = ?",
                        (target, slot + i, offset, row[0]),
                    )
                    editor.execute("INSERT INTO changes(seq) VALUES(?)", row[:1])
        except BaseException:
            gallery._intake.abandon([writer], attempt)
            raise
        writer.number = target
        writer.file.keep()
        moved += len(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sluice.gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("describe", "verify", "compact"))
    parser.add_argument("folder", help="the gallery's folder")
    given = parser.parse_args(arguments)
    if not os.path.exists(os.path.join(given.folder, "frames.sqlite")):
        print("there is no gallery in that folder; give the folder that holds frames.sqlite", file=sys.stderr)
        return 2
    try:
        with Gallery(given.folder) as gallery:
            if given.what == "compact":
                print(json.dumps(compact(gallery)))
            elif given.what == "describe":
                print(json.dumps(gallery.describe(), indent=2))
            else:
                damaged = 0
                for id_, trouble in verify(gallery):
                    damaged += 1
                    print(json.dumps({"id": id_, "damage": trouble}))
                frames = gallery.describe()["frames"]
                print(f"{frames} frames, {damaged} damaged", file=sys.stderr)
                return 1 if damaged else 0
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0
