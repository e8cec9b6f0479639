"""Which pictures and ids are stored already, by the catalogue's word, and whether their bytes are there."""

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
    """Which keys are taken: what is stored by picture, and picture by id."""
    by_picture: dict[bytes, Frame] = {}
    by_id: dict[str, bytes] = {}
    wanted = set(digests)  # a picture under one of the ids is stored too, but only the pictures asked for count
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
                    by_picture[sha] = Frame(id_, drive, camera, when, tuple(json.loads(tags)))
    return by_picture, by_id


def lost(connection: sqlite3.Connection, folder: Path, digests: Sequence[bytes]) -> dict[bytes, int]:
    """Those of the pictures that are stored but whose bytes are not there any more, with the `seq` of each: a file of
    their shard is missing, or ends before them. They may be stored again, in place of what was lost."""
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
    """Take a frame's row away, with all that is stored of it; False where it is gone. Call it inside a transaction."""
    if not editor.execute("DELETE FROM frames WHERE seq = ?", (seq,)).rowcount:
        return False
    editor.execute("INSERT INTO changes(seq) VALUES(?)", (seq,))
    editor.execute("DELETE FROM checks WHERE seq = ?", (seq,))
    scores.forget(editor, seq)
    embeddings.forget(editor, seq)
    return True
