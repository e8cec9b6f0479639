"""Finds out which images and ids the catalogue has already, and whether their bytes are there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sluice.frames import Frame
from sluice.gallery import embeddings, scores, shards


def taken(
    connection: sqlite3.Connection, digests: Sequence[bytes], ids: Sequence[str]
) -> tuple[dict[bytes, Frame], dict[str, bytes]]:
    """Return which keys are taken.

    digests: SHA-256 of images. Returns the stored frame per image that was asked for, and the image's digest per id.
    """
    by_image: dict[bytes, Frame] = {}
    by_id: dict[str, bytes] = {}
    wanted = set(digests)  # the rows found by id name other images, too, which were not asked for
    for column, asked in (("sha256", digests), ("id", ids)):
        for start in range(0, len(asked), 500):
            some = asked[start : start + 500]
            marks = ",".join("?" * len(some))
            rows = connection.execute(
                f"SELECT sha256, id, drive, camera, time, tags FROM frames WHERE {column} IN ({marks})", some
            )
            for sha, id_, drive, camera, when, tags in rows:
                by_id[id_] = sha
                if sha in wanted:
                    by_image[sha] = Frame(id_, drive, camera, when, tuple(json.loads(tags)))
    return by_image, by_id


def lost(connection: sqlite3.Connection, folder: Path, digests: Sequence[bytes]) -> dict[bytes, int]:
    """Return the stored images whose bytes are gone, with the `seq` of each.

    The bytes are gone if a file of their shard is missing or ends before them. Such an image may be stored again, in
    place of the lost one.
    """
    found: dict[bytes, int] = {}
    for start in range(0, len(digests), 500):
        some = digests[start : start + 500]
        marks = ",".join("?" * len(some))
        for sha, seq, name, slot, row, end in connection.execute(
            "SELECT sha256, seq, name, slot, h * w * channels, offset + length FROM frames JOIN shards USING(shard) "
            f"WHERE sha256 IN ({marks})",
            some,
        ).fetchall():
            if shards.trouble(folder, name, shards.least(slot + 1, row, end)):
                found[sha] = seq
    return found


def remove(editor: sqlite3.Connection, seq: int) -> bool:
    """Remove a frame's row and everything that is stored of it. Call it inside a transaction.

    Returns False if the row is gone already.
    """
    if not editor.execute("DELETE FROM frames WHERE seq = ?", (seq,)).rowcount:
        return False
    editor.execute("INSERT INTO changes(seq) VALUES(?)", (seq,))
    editor.execute("DELETE FROM checks WHERE seq = ?", (seq,))
    scores.forget(editor, seq)
    embeddings.forget(editor, seq)
    return True
