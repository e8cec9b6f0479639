"""Stores per frame a vector that words can be compared with: written with the frame or later, read block by block.

A frame that a network has embedded has one row in the table `embeddings`, which names the block of its vector and the
place in the block. A block holds up to 256 vectors of one version of the network, and which frame each belongs to. So a
scan reads a few large values instead of one row per frame, ten times as fast. Everything lies in the catalogue, so a
vector and its row are one commit. The place of a deleted frame is given to a later frame.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.gallery.notes import Notes

PLACES = 256  # vectors per block
MAX_SIZE = 4096  # greatest E
UNIT = 0.01  # how far from 1 the length of an embedding may be


@dataclass(frozen=True)
class Embedding:
    """The embedding of one frame: the network's version, as 'image_grouper/1/ab12cd34ef56', and its vector, float16
    [E].
    """

    embedder: str
    vector: np.ndarray


def checked(vectors: Any) -> np.ndarray:
    """Return embeddings as they are stored, float16 [n, E]. Raises InvalidArgument for rows that are not of unit
    length.
    """
    try:
        rows = np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        raise InvalidArgument("embeddings are rows of numbers") from None
    if rows.ndim != 2 or not 0 < rows.shape[1] <= MAX_SIZE:
        raise InvalidArgument(f"embeddings are rows of 1 to {MAX_SIZE:,} numbers; got {list(rows.shape)}")
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(rows, axis=1)
        wrong = np.flatnonzero(~(np.abs(length - 1) <= UNIT))  # NaN is not near 1
    if len(wrong):
        raise InvalidArgument(f"embeddings have length 1; row {wrong[0]} has {length[wrong[0]]:.4g}; scale it to 1")
    return rows.astype(np.float16)


NOTES = Notes("embeddings", "embedders", "embedder", "size", "sum(live) FROM blocks", 3)


# --------------------------------------------------------------------------------------------------------- writing


def write(editor: sqlite3.Connection, embedder: str, rows: Sequence[tuple[int, np.ndarray]]) -> None:
    """Enter embeddings of frames, each (seq, float16 [E]), in place of those that are there. Call it in a transaction.

    Raises InvalidArgument if the version of the network is stored with another E; then nothing was written.
    """
    if not rows:
        return
    size = len(rows[0][1])
    number = _number(editor, embedder, size)
    for seq, _ in rows:
        forget(editor, seq)
    while rows:
        block, free = _room(editor, number, size)
        here, rows = list(zip(free.tolist(), rows, strict=False)), rows[len(free) :]
        with editor.blobopen("vectors", "vectors", block) as blob:
            for place, (_, vector) in here:
                blob.seek(place * 2 * size)
                blob.write(vector.astype("<f2").tobytes())
        for place, (seq, _) in here:
            _name(editor, block, place, seq)
        entries = [(seq, number, block, place) for place, (seq, _) in here]
        editor.executemany("INSERT INTO embeddings(seq, embedder, block, place) VALUES(?, ?, ?, ?)", entries)
        editor.execute("UPDATE blocks SET live = live + ? WHERE block = ?", (len(here), block))


def _number(editor: sqlite3.Connection, embedder: str, size: int) -> int:
    """Return the number of a version of a network, entered if it is new. Raises InvalidArgument for another E."""
    number, stored = NOTES.enter_version(editor, embedder, size)
    if stored != size:
        raise InvalidArgument(
            f"the embeddings of {embedder} are stored with {stored} numbers, now they have {size}; give another "
            "network another version"
        )
    return number


def _room(editor: sqlite3.Connection, number: int, size: int) -> tuple[int, np.ndarray]:
    """Return a block with room, a new one if there is none, and its free places."""
    query = "SELECT block FROM blocks WHERE embedder = ? AND live < ? ORDER BY live DESC LIMIT 1"
    found = editor.execute(query, (number, PLACES)).fetchone()
    if found is None:
        block = editor.execute("INSERT INTO blocks(embedder, live) VALUES(?, 0)", (number,)).lastrowid
        query = "INSERT INTO vectors(block, seqs, vectors) VALUES(?, zeroblob(?), zeroblob(?))"
        editor.execute(query, (block, 8 * PLACES, 2 * size * PLACES))
        return int(block or 0), np.arange(PLACES)
    with editor.blobopen("vectors", "seqs", found[0], readonly=True) as blob:
        return int(found[0]), np.flatnonzero(np.frombuffer(blob.read(), "<i8") == 0)


def _name(editor: sqlite3.Connection, block: int, place: int, seq: int) -> None:
    """Write which frame a place belongs to. seq: 0 for no frame."""
    with editor.blobopen("vectors", "seqs", block) as blob:
        blob.seek(8 * place)
        blob.write(seq.to_bytes(8, "little"))


def forget(editor: sqlite3.Connection, seq: int) -> None:
    """Remove the embedding of a frame that is being deleted. Call it inside a transaction."""
    found = editor.execute("SELECT block, place FROM embeddings WHERE seq = ?", (seq,)).fetchone()
    if found is None:
        return
    block, place = found
    editor.execute("DELETE FROM embeddings WHERE seq = ?", (seq,))
    editor.execute("UPDATE blocks SET live = live - 1 WHERE block = ?", (block,))
    if editor.execute("DELETE FROM blocks WHERE block = ? AND live = 0", (block,)).rowcount:
        editor.execute("DELETE FROM vectors WHERE block = ?", (block,))
    else:
        _name(editor, block, place, 0)


# --------------------------------------------------------------------------------------------------------- reading


def embedder_of(connection: sqlite3.Connection, version: str) -> tuple[int, int] | None:
    """Return the number in the catalogue and E of a network's version; None if it has embedded no frame here."""
    if not NOTES.kept(connection):
        return None
    found = connection.execute("SELECT embedder, size FROM embedders WHERE version = ?", (version,)).fetchone()
    return (int(found[0]), int(found[1])) if found else None


def stream(
    connection: sqlite3.Connection, embedder: tuple[int, int], seqs: np.ndarray, whole: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the embeddings of some frames, a block at a time: positions in `seqs`, and vectors float16 [m, E].

    seqs: int64 [n], ascending. embedder: the pair that `embedder_of` returns.
    whole: True reads every block, which is faster when most frames are wanted; False reads only the blocks that hold
    `seqs`.
    """
    number, size = embedder
    read = _all(connection, number) if whole else _some(connection, number, seqs)
    for owners, vectors in read:
        owner = np.frombuffer(owners, "<i8")
        position = np.searchsorted(seqs, owner)
        position[position == len(seqs)] = 0
        wanted = (seqs[position] == owner) & (owner > 0) if len(seqs) else np.zeros(len(owner), bool)
        rows = np.frombuffer(vectors, "<f2").reshape(-1, size)
        if wanted.all():
            yield position, rows
        elif wanted.any():
            yield position[wanted], rows[wanted]


def _all(connection: sqlite3.Connection, number: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield every block of a network's version."""
    query = "SELECT seqs, vectors FROM blocks JOIN vectors USING(block) WHERE embedder = ?"
    yield from connection.execute(query, (number,))


def _some(connection: sqlite3.Connection, number: int, seqs: np.ndarray) -> Iterator[tuple[bytes, bytes]]:
    """Yield the blocks that hold some frames."""
    blocks: set[int] = set()
    for start in range(0, len(seqs), 500):
        some = seqs[start : start + 500].tolist()
        marks = ",".join("?" * len(some))
        query = f"SELECT DISTINCT block FROM embeddings WHERE seq IN ({marks}) AND +embedder = ?"
        blocks.update(block for (block,) in connection.execute(query, (*some, number)))
    for block in sorted(blocks):
        yield from connection.execute("SELECT seqs, vectors FROM vectors WHERE block = ?", (block,))
