"""The way in: a batch of frames judged by their keys, written to shards, and entered in the catalogue in one commit."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sluice import matching
from sluice.errors import InvalidArgument
from sluice.gallery import embeddings, scores, shards
from sluice.gallery.catalogue import INSERT, Attempt, transaction
from sluice.gallery.frames import Busy, Frame, Receipt, VersionMismatch
from sluice.images import Geometry, valid_cells
from sluice.scan.codes import Codes, quantise


class Intake:
    """What one process adds, with the shards that only it writes. Not safe for threads: its owner locks."""

    def __init__(
        self,
        editor: sqlite3.Connection,
        folder: Path,
        model: str | None,
        channels: int | None,
        mixed: bool,
        shard_bytes: int,
    ) -> None:
        self.editor, self.folder, self.shard_bytes = editor, folder, shard_bytes
        self.model, self.channels, self.mixed = model, channels or 0, mixed
        self.growing: dict[Any, Growing] = {}  # by grid, channels and model

    def close(self) -> None:
        """End all shards of this process."""
        for shard in self.growing.values():
            shard.file.close()
        self.growing.clear()

    def add(
        self,
        frames: Sequence[Frame],
        images: Sequence[bytes],
        features: Sequence[Any],
        geometries: Sequence[Any],
        found: Sequence[scores.Score | None],
        embedded: Sequence[embeddings.Embedding | None],
    ) -> list[Receipt]:
        """As `Gallery.add`."""
        refuse_versions(self._others(), self.model, self.mixed)
        batch = [Entry(*one) for one in zip(frames, map(bytes, images), found, embedded, strict=True)]
        self._judge(batch, features, geometries)
        fresh = [entry for entry in batch if entry.receipt is None and entry.twin is None]
        if fresh:
            self._store(fresh)
        return [entry.final() for entry in batch]

    def _judge(self, batch: list[Entry], features: Sequence[np.ndarray], geometries: Sequence[Any]) -> None:
        """Give receipts to what is known or cannot be stored, and make ready what is left."""
        stored, owner = keys(self.editor, [e.sha for e in batch], [e.id for e in batch])
        ours: dict[bytes, Entry] = {}
        for entry, map_, geometry in zip(batch, features, geometries, strict=True):
            if entry.sha in stored:
                entry.known(stored[entry.sha])
            elif entry.sha in ours:
                entry.twin = ours[entry.sha]
            elif owner.get(entry.id, entry.sha) != entry.sha:
                entry.taken()
            else:
                try:
                    entry.prepare(map_, geometry, self.channels)
                except InvalidArgument as error:
                    entry.answer("refused", entry.id, str(error), "mend this frame and send it again")
                    continue
                ours[entry.sha] = entry
                owner[entry.id] = entry.sha

    def _store(self, entries: list[Entry]) -> None:
        """Bytes to the disk, then the rows in one commit, then the receipts."""
        used: list[Growing] = []
        attempt = Attempt()
        try:
            for grid in dict.fromkeys(entry.grid for entry in entries):
                group = [entry for entry in entries if entry.grid == grid]
                writer = self.shard(grid, self.channels, str(self.model))
                used.append(writer)
                writer.append(group)
            for writer in used:
                writer.file.sync()
            if any(writer.file.fresh for writer in used):
                shards.sync_folder(self.folder)
            with transaction(self.editor, attempt=attempt):
                answers, numbers = self._insert(entries, used)
        except BaseException:
            self.abandon(used, attempt)
            raise
        for writer in used:
            writer.number = numbers[writer.file.name]
            writer.file.keep()
        for entry, answer in zip(entries, answers, strict=True):
            if answer is None:
                entry.taken()
            elif entry.seq:
                entry.answer("stored", entry.id)
            else:
                entry.known(answer)

    def _insert(self, entries: list[Entry], used: list[Growing]) -> tuple[list[Frame | None], dict[str, int]]:
        """The rows of a batch. Another writer may have been first with a key; then its row stands."""
        editor = self.editor
        refuse_versions(self._others(), self.model, self.mixed)
        editor.execute("INSERT OR IGNORE INTO models(version) VALUES(?)", (self.model,))
        model = editor.execute("SELECT model FROM models WHERE version = ?", (self.model,)).fetchone()[0]
        numbers = {writer.file.name: self.number(writer, model) for writer in used}
        answers: list[Frame | None] = []  # as it is stored now; None where the id is another picture's
        now = time.time()
        for entry in entries:
            row = entry.row(now, model, numbers[entry.shard])
            done = editor.execute(INSERT, row)
            if done.rowcount:
                entry.seq = done.lastrowid or 0
                answers.append(entry.frame)
                continue
            answers.append(keys(editor, [entry.sha], [])[0].get(entry.sha))
        self._describe([entry for entry in entries if entry.seq])
        return answers, numbers

    def _describe(self, entries: list[Entry]) -> None:
        """What belongs to rows that were entered: descriptors, and objects and embeddings of those that have some."""
        scores.describe_frames(self.editor, [(entry.seq, entry.descriptor) for entry in entries])
        for detector in dict.fromkeys(entry.score.detector for entry in entries if entry.score is not None):
            group = [entry for entry in entries if entry.score is not None and entry.score.detector == detector]
            try:
                scores.write(self.editor, detector, [(e.seq, e.score.objects) for e in group if e.score is not None])
            except InvalidArgument as error:  # the frames are kept, whatever is wrong with what was found in them
                for entry in group:
                    entry.score, entry.unscored = None, str(error)
        for name in dict.fromkeys(entry.embedding.embedder for entry in entries if entry.embedding is not None):
            rows = [
                (e, e.embedding.vector) for e in entries if e.embedding is not None and e.embedding.embedder == name
            ]
            try:
                embeddings.write(self.editor, name, [(entry.seq, vector) for entry, vector in rows])
            except InvalidArgument as error:
                for entry, _ in rows:
                    entry.embedding, entry.unembedded = None, str(error)

    def number(self, writer: Growing, model: int) -> int:
        """The number of a shard in the catalogue, which a new one is entered in. Call it inside a transaction."""
        if writer.number is not None:
            return writer.number
        file = writer.file
        self.editor.execute(
            "INSERT INTO shards(name, model, h, w, channels) VALUES(?, ?, ?, ?, ?)",
            (file.name, model, *file.grid, file.channels),
        )
        return int(self.editor.execute("SELECT shard FROM shards WHERE name = ?", (file.name,)).fetchone()[0])

    def shard(self, grid: tuple[int, int], channels: int, version: str) -> Growing:
        """The growing shard for frames of one form: ours, one that its writer has left, or a new one."""
        key = (grid, channels, version)
        writer = self.growing.get(key)
        if writer is not None and writer.file.sizes["exact"] >= self.shard_bytes:
            writer.file.close()
            writer = None
        if writer is None:
            writer = self._adopted(grid, channels, version)
        for _ in range(8):
            with contextlib.suppress(FileNotFoundError, BlockingIOError):  # a compaction was quicker to lock it than we
                writer = writer or Growing(shards.Writer(self.folder, grid, channels))
                self.growing[key] = writer
                return writer
        raise Busy("new shards of the gallery are removed as soon as they are made; try the same again")

    def _adopted(self, grid: tuple[int, int], channels: int, version: str) -> Growing | None:
        """A shard of that form which has room and which no living process writes: so restarts leave no trail of shards,
        each of which costs every reader two open files."""
        found = self.editor.execute(
            "SELECT shard, name FROM shards JOIN models USING(model) "
            "WHERE version = ? AND h = ? AND w = ? AND channels = ? ORDER BY shard DESC",
            (version, *grid, channels),
        ).fetchall()
        for number, name in found:
            if shards.room(self.folder, name, self.shard_bytes):
                with contextlib.suppress(FileNotFoundError, BlockingIOError):
                    return Growing(shards.Writer(self.folder, grid, channels, adopt=name), number)
        return None

    def abandon(self, used: list[Growing], attempt: Attempt) -> None:
        """Give up the shards of a batch that failed."""
        for writer in used:
            writer.file.abandon(truncate=not attempt.committing)
        self.growing = {key: writer for key, writer in self.growing.items() if writer not in used}

    def _others(self) -> list[str]:
        """The other versions of which there are frames, by the catalogue's own word."""
        found = self.editor.execute(
            "SELECT version FROM models WHERE version <> ? "
            "AND EXISTS(SELECT 1 FROM frames WHERE frames.model = models.model)",
            (self.model,),
        )
        return [version for (version,) in found]


def refuse_versions(versions: Collection[str], model: str | None, mixed: bool) -> None:
    """Raise VersionMismatch when any of the versions is another than `model`, unless `mixed`."""
    others = sorted(set(versions) - {model})
    if others and not mixed:
        raise VersionMismatch(
            f"the gallery's features were made by {', '.join(others)!s:.200}, this server runs {model}; serve that "
            "version of the model, or add the frames again into a new gallery folder"
        )


class Entry:
    """One frame on its way in."""

    grid: tuple[int, int]
    cells: np.ndarray  # float16 [1, P, C]
    geometry: np.ndarray  # float32 [6]
    extent: np.ndarray  # int16 [4], first and end row, first and end column of the picture
    codes: Codes
    shard: str  # where the bytes were written
    slot: int
    offset: int
    crc: int
    descriptor: np.ndarray  # float16 [C]
    seq = 0  # of the row, once it is entered

    def __init__(
        self, frame: Frame, image: bytes, score: scores.Score | None, embedding: embeddings.Embedding | None
    ) -> None:
        self.frame, self.image, self.sha = frame, image, hashlib.sha256(image).digest()
        self.score = score  # None: no detector has looked at it
        self.unscored: str | None = None
        self.embedding = embedding  # None: no network has embedded it
        self.unembedded: str | None = None
        self.id = frame.id if frame.id is not None else self.sha.hex()[:16]
        self.receipt: Receipt | None = None
        self.stored: Frame | None = None  # what is stored of the same picture, where it was known
        self.twin: Entry | None = None  # an earlier frame of the same batch with the same bytes

    def answer(self, status: str, id_: str, error: str | None = None, remedy: str | None = None) -> None:
        scored, embedded = (status == "stored" and one is not None for one in (self.score, self.embedding))
        why = (scored, self.unscored, embedded, self.unembedded)
        self.receipt = Receipt(status, id_, self.sha.hex(), error, remedy, *why)

    def known(self, stored: Frame) -> None:
        self.stored = stored
        self.answer("known", str(stored.id))
        assert self.receipt is not None
        self.receipt = replace(self.receipt, differs=self.frame.differs(stored))

    def taken(self) -> None:
        self.answer(
            "refused",
            self.id,
            f"the id {self.id!r} belongs to another picture already",
            "send this picture under another id, or delete the other one first",
        )

    def final(self) -> Receipt:
        """The receipt; that of a frame whose bytes came earlier in the same batch follows from the first one's."""
        if self.receipt is None:
            assert self.twin is not None and self.twin.receipt is not None
            first = self.twin.receipt
            if first.status == "refused":  # another writer took its id meanwhile
                error = "the same picture came earlier in this batch, under an id that belongs to another picture"
                self.answer("refused", self.id, error, "send it again")
            else:
                stored = self.twin.stored or replace(self.twin.frame, id=self.twin.id)
                self.known(stored)
        assert self.receipt is not None
        return self.receipt

    def prepare(self, features: Any, geometry: Any, channels: int) -> None:
        """Check features and geometry. Cells of the padding become copies of the nearest cell of the picture, so that
        the best cell of a frame is always one of its picture. Raises InvalidArgument."""
        try:
            map_ = np.asarray(features)
            numbers = geometry.as_array() if isinstance(geometry, Geometry) else np.asarray(geometry)
            numbers = numbers.astype(np.float32)
        except (TypeError, ValueError):
            raise InvalidArgument("features [h, w, C] and geometry [6] must be arrays of numbers") from None
        if map_.ndim != 3 or map_.shape[2] != channels or not map_.size or map_.dtype.kind != "f":
            raise InvalidArgument(
                f"features must be floating point [h, w, {channels}]; got {map_.dtype} {list(map_.shape)}"
            )
        with np.errstate(over="ignore"):
            map_ = np.ascontiguousarray(map_, np.float16)
        if (map_.view(np.uint16) & 0x7FFF).max() >= 0x7C00:  # float16's NaN and infinity, 13 times as fast as isfinite
            raise InvalidArgument("features must be finite; they hold NaN, infinity or more than float16 can")
        if numbers.shape != (6,) or not np.isfinite(numbers).all() or (numbers[:4] <= 0).any():
            raise InvalidArgument(
                f"geometry must be six finite numbers, width, height and both scales above 0; got {numbers.tolist()}"
            )
        h, w = map_.shape[:2]
        top, bottom, left, right = extent(numbers.tobytes(), (h, w))
        self.descriptor = scores.descriptor(map_[top:bottom, left:right])
        if bottom - top < h or right - left < w:
            map_ = map_[np.clip(np.arange(h), top, bottom - 1)][:, np.clip(np.arange(w), left, right - 1)]
        self.grid = (h, w)
        self.cells = map_.reshape(1, h * w, channels)
        try:
            self.codes = quantise(self.cells)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        self.geometry = numbers
        self.extent = np.array([top, bottom, left, right], np.int16)

    def row(self, now: float, model: int, shard: int) -> tuple[Any, ...]:
        """The values of `catalogue.INSERT`."""
        frame = self.frame
        tags = json.dumps(frame.tags, ensure_ascii=False)
        where = (model, shard, self.slot, self.offset, len(self.image))
        form = (self.geometry.astype("<f4").tobytes(), self.extent.astype("<i2").tobytes())
        return (
            *(self.id, self.sha, frame.drive, frame.camera, frame.time, tags, now),
            *(*where, *form, float(self.codes.scale[0]), float(self.codes.error[0]), self.crc),
        )


@functools.lru_cache(maxsize=256)
def extent(geometry: bytes, grid: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and end row, first and end column of the cells that show the picture. geometry: float32 [6] as bytes."""
    place = Geometry.from_array(np.frombuffer(geometry, np.float32))
    valid = valid_cells(place, grid, matching.stride_of(place, grid))
    y, x = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    return int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1


class Growing:
    """A growing shard and its number in the catalogue, which it has once rows name it."""

    def __init__(self, file: shards.Writer, number: int | None = None) -> None:
        self.file, self.number = file, number

    def append(self, group: list[Entry]) -> None:
        exact = np.concatenate([entry.cells for entry in group])
        codes = np.concatenate([entry.codes.codes for entry in group])
        slot, offsets = self.file.append([entry.image for entry in group], codes, exact)
        for i, (entry, offset) in enumerate(zip(group, offsets, strict=True)):
            entry.shard, entry.slot, entry.offset = self.file.name, slot + i, offset
            entry.crc = zlib.crc32(codes[i], zlib.crc32(exact[i]))


def keys(
    connection: sqlite3.Connection, digests: Sequence[bytes], ids: Sequence[str]
) -> tuple[dict[bytes, Frame], dict[str, bytes]]:
    """Which keys are taken: what is stored by picture, and picture by id."""
    by_picture: dict[bytes, Frame] = {}
    by_id: dict[str, bytes] = {}
    wanted = set(digests)  # a picture under one of the ids is stored too, but only the pictures asked for count
    for column, keys in (("sha256", digests), ("id", ids)):
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ",".join("?" * len(some))
            rows = connection.execute(
                f"SELECT sha256, id, drive, camera, time, tags FROM frames WHERE {column} IN ({marks})", some
            )
            for sha, id_, drive, camera, when, tags in rows:
                by_id[id_] = sha
                if sha in wanted:
                    by_picture[sha] = Frame(id_, drive, camera, when, tuple(json.loads(tags)))
    return by_picture, by_id
