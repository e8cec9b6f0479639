"""Looks after a gallery: `python -m sluice.gallery describe|verify|compact|rebuild FOLDER`.

describe  prints what it holds, as JSON
verify    reads every frame's bytes again and checks them; exit code 1 if anything is damaged
compact   gives the bytes of deleted frames and of dead writers back to the disk, joins small shards, and rewrites
          shards of older formats; damaged shards are left as they are, and named
rebuild   makes a new catalogue of what the shards say of their frames, after the catalogue was lost

The first three may run beside servers that add and search; rebuild needs the folder for itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluice.errors import Refusal
from sluice.gallery import records, shards
from sluice.gallery.catalogue import FILE, Connection, checks
from sluice.gallery.compaction import compact
from sluice.gallery.errors import Damaged
from sluice.gallery.rebuilding import rebuild
from sluice.gallery.shards import features
from sluice.gallery.store import Gallery
from sluice.methods.scan.codes import ZERO
from sluice.methods.scan.sums import sums

CHUNK = 256  # frames whose rows are held in memory at once


def verify(gallery: Gallery) -> Iterator[tuple[str, str]]:
    """Check every frame against the disk. Yields (id, what is wrong) per damaged frame.

    Checked are the image's SHA-256 and its record, the CRC-32 and the sums of features and codes, that features are
    finite, and that no cell is farther from its codes than the stored bound.
    """
    last = 0
    while True:
        with gallery.reading() as connection:
            connection.check()
            query = f"SELECT {_row(connection)} WHERE frames.seq > ? ORDER BY frames.seq LIMIT ?"
            rows = connection.execute(query, (last, CHUNK)).fetchall()
        if not rows:
            return
        for row in rows:
            trouble = _trouble(gallery, row)
            if trouble:
                # The frame may have been deleted or moved since its row was read. Then its new row counts.
                with gallery.reading() as connection:
                    query = f"SELECT {_row(connection)} WHERE frames.seq = ?"
                    again = connection.execute(query, row[:1]).fetchone()
                trouble = _trouble(gallery, again) if again else None
            if trouble:
                yield row[1], trouble
        last = rows[-1][0]


def _row(connection: Connection) -> str:
    """Return the columns and tables of the query for a frame."""
    sums = "exact_sum, codes_sum, head" if checks(connection) else "NULL, NULL, 0"
    join = "LEFT JOIN checks ON checks.seq = frames.seq" if checks(connection) else ""
    return (
        "frames.seq, id, name, slot, offset, length, sha256, scale, error, crc, h * w, channels, "
        f"{sums} FROM frames JOIN shards USING(shard) {join}"
    )


def _trouble(gallery: Gallery, row: Sequence[Any]) -> str | None:
    """Return what is wrong with a frame's bytes, or None."""
    _, _, name, slot, offset, length, sha, scale, error, crc, cells, channels, *stored, head = row
    try:
        said = shards.read(gallery.folder, name, offset - (head or 0), head or 0)
        image = shards.read(gallery.folder, name, offset, length)
        exact, codes = features(gallery.folder, name, [slot], cells, channels)
    except (OSError, Damaged) as refusal:
        return str(refusal) if isinstance(refusal, Damaged) else f"a file of its shard {name} is missing"
    if hashlib.sha256(image).digest() != sha:
        return f"the image is not the one that was added ({name}.images, byte {offset})"
    if head and records.read(said, 0) is None:
        return f"the record before its image is damaged, from which a lost catalogue is rebuilt ({name}.images)"
    if zlib.crc32(codes.data, zlib.crc32(exact.data)) != crc:
        return f"the features are not those that were stored ({name}, slot {slot})"
    if stored[0] is not None and [int(sums(exact)[0]), int(sums(codes)[0])] != stored:
        return f"the check sums are not those of its features ({name}, slot {slot})"
    wide = exact[0].astype(np.float64)
    if not np.isfinite(wide).all():
        return "the features are not finite"
    distance = np.sqrt(np.square(wide - (codes[0].astype(np.float64) - ZERO) * scale).sum(axis=1).max())
    if not distance <= error:
        return f"its codes are {distance:.3g} off, more than the bound of {error:.3g}"
    return None


def _describe(folder: Path) -> int:
    with Gallery(folder) as gallery:
        print(json.dumps(gallery.describe(), indent=2))
    return 0


def _verify(folder: Path) -> int:
    damaged = 0
    with Gallery(folder) as gallery:
        for id_, trouble in verify(gallery):
            damaged += 1
            print(json.dumps({"id": id_, "damage": trouble}))
        frames = gallery.describe()["frames"]
    print(f"{frames} frames, {damaged} damaged", file=sys.stderr)
    return 1 if damaged else 0


def _compact(folder: Path) -> int:
    with Gallery(folder) as gallery:
        done = compact(gallery)
    print(json.dumps(done))
    return 1 if done["damaged"] else 0


def _rebuild(folder: Path) -> int:
    told = rebuild(folder)
    print(json.dumps(told, indent=2))
    return 1 if told["lost"] or told["unread"] else 0


COMMANDS = {"describe": _describe, "verify": _verify, "compact": _compact, "rebuild": _rebuild}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sluice.gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("describe", "verify", "compact", "rebuild"))
    parser.add_argument("folder", help="the gallery's folder")
    given = parser.parse_args(arguments)
    folder = Path(given.folder)
    if not (folder / FILE).exists() and not (folder / "shards").is_dir():
        print("there is no gallery in that folder; give the folder that holds frames.sqlite", file=sys.stderr)
        return 2
    try:
        return COMMANDS[given.what](folder)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0
