"""Adds a batch of frames: judges them by their keys, writes them to shards, enters them in one commit."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Frame
from sluice.gallery import embeddings, keys, ownership, records, scores, shards
from sluice.gallery.answers import Receipt
from sluice.gallery.catalogue import CHECK, INSERT, Attempt, Connection, transaction
from sluice.gallery.entry import Entry
from sluice.gallery.errors import Busy, Damaged, VersionMismatch
from sluice.methods.scan.sums import sums
from sluice.versions import precision_hint


class Intake:
    """The writing side of one process: the catalogue's connection, and the shards that only this process writes.

    Not safe for threads. Its owner locks it.
    """

    def __init__(
        self,
        editor: Connection,
        folder: Path,
        model: str | None,
        channels: int | None,
        mixed: bool,
        shard_bytes: int,
    ) -> None:
        self.editor, self.folder, self.shard_bytes = editor, folder, shard_bytes
        self.model, self.channels, self.mixed = model, channels or 0, mixed
        self.gallery = ownership.gallery_name(editor)
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
        """Add a batch of frames, as of `Gallery.add`."""
        refuse_versions(self._others(), self.model, self.channels, self.mixed)
        batch = [Entry(*one) for one in zip(frames, map(bytes, images), found, embedded, strict=True)]
        self._judge(batch, features, geometries)
        fresh = [entry for entry in batch if entry.receipt is None and entry.twin is None]
        if fresh:
            self._store(fresh)
        return [entry.final() for entry in batch]

    def _judge(self, batch: list[Entry], features: Sequence[np.ndarray], geometries: Sequence[Any]) -> None:
        """Give receipts to frames that are known or cannot be stored, and prepare the others."""
        stored, owner = keys.taken(self.editor, [e.sha for e in batch], [e.id for e in batch])
        lost = keys.lost(self.editor, self.folder, list(stored))
        ours: dict[bytes, Entry] = {}
        for entry, map_, geometry in zip(batch, features, geometries, strict=True):
            if entry.sha in lost and entry.sha in stored:
                entry.replace(lost[entry.sha], stored.pop(entry.sha))
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
        """Write bytes to the disk, then the rows in one commit, then the receipts."""
        used: list[Growing] = []
        attempt, now = Attempt(), time.time()
        try:
            for grid in dict.fromkeys(entry.grid for entry in entries):
                group = [entry for entry in entries if entry.grid == grid]
                writer = self.shard(grid, self.channels, str(self.model))
                used.append(writer)
                writer.append(group, records.Shape(self.gallery, str(self.model), *grid, self.channels), now)
            for writer in used:
                writer.file.sync()
            if any(writer.file.fresh for writer in used):
                shards.sync_folder(self.folder)
            with transaction(self.editor, attempt=attempt):
                answers, numbers = self._insert(entries, used, now)
                for writer in used:
                    writer.file.check()
            for writer in used:  # a file that was removed during the commit has not been stored either
                writer.file.check()
        except BaseException:
            self.abandon(used, attempt)
            raise
        for writer in used:
            writer.number = numbers[writer.file.name]
            writer.file.keep()
        records.forget(self.folder.parent, [(entry.shard, entry.slot) for entry in entries if not entry.seq])
        for entry, answer in zip(entries, answers, strict=True):
            if answer is None:
                entry.taken()
            elif entry.seq:
                entry.answer("stored", entry.id)
            else:
                entry.known(answer)

    def _insert(
        self, entries: list[Entry], used: list[Growing], now: float
    ) -> tuple[list[Frame | None], dict[str, int]]:
        """Enter the rows of a batch. If another writer was first with a key, its row stands.

        Returns per frame the frame as it is stored now, None if the id belongs to another image; and the shards'
        numbers by name.
        """
        editor = self.editor
        refuse_versions(self._others(), self.model, self.channels, self.mixed)
        editor.execute("INSERT OR IGNORE INTO models(version) VALUES(?)", (self.model,))
        model = editor.execute("SELECT model FROM models WHERE version = ?", (self.model,)).fetchone()[0]
        numbers = {writer.file.name: self.number(writer, model) for writer in used}
        answers: list[Frame | None] = []  # the frame as stored now; None if the id is another image's
        for entry in entries:
            if entry.replaces is not None:
                keys.remove(editor, entry.replaces)
            row = entry.row(now, model, numbers[entry.shard])
            done = editor.execute(INSERT, row)
            if done.rowcount:
                entry.seq = done.lastrowid or 0
                answers.append(entry.frame)
                continue
            by_image, by_id = keys.taken(editor, [entry.sha], [entry.id])
            if not by_image and not by_id:
                raise Damaged(
                    f"slot {entry.slot} of the shard {entry.shard} belongs to another frame already; start the server "
                    "again, then send this batch again"
                )
            answers.append(by_image.get(entry.sha))
        self._describe([entry for entry in entries if entry.seq])
        return answers, numbers

    def _describe(self, entries: list[Entry]) -> None:
        """Enter what belongs to new rows: check sums, descriptors, and the objects and embeddings that were given."""
        self.editor.executemany(CHECK, [(entry.seq, *entry.sums, entry.head) for entry in entries])
        scores.describe_frames(self.editor, [(entry.seq, entry.descriptor) for entry in entries])
        for detector in dict.fromkeys(entry.score.detector for entry in entries if entry.score is not None):
            group = [entry for entry in entries if entry.score is not None and entry.score.detector == detector]
            try:
                scores.write(self.editor, [(e.seq, e.score) for e in group if e.score is not None])
            except InvalidArgument as error:  # the frames are stored even if their objects are refused
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
        """Return the number of a shard in the catalogue; a new shard is entered. Call it inside a transaction."""
        if writer.number is not None:
            return writer.number
        file = writer.file
        self.editor.execute(
            "INSERT INTO shards(name, model, h, w, channels) VALUES(?, ?, ?, ?, ?)",
            (file.name, model, *file.grid, file.channels),
        )
        return int(self.editor.execute("SELECT shard FROM shards WHERE name = ?", (file.name,)).fetchone()[0])

    def shard(self, grid: tuple[int, int], channels: int, version: str) -> Growing:
        """Return the growing shard for frames of one form: this process's own, one that its writer has left, or a new
        one. Raises Busy.
        """
        key = (grid, channels, version)
        writer = self.growing.get(key)
        if writer is not None and writer.file.sizes["exact"] >= self.shard_bytes:
            writer.file.close()
            writer = None
        if writer is None:
            writer = self._adopted(grid, channels, version)
        for _ in range(8):
            with contextlib.suppress(FileNotFoundError, BlockingIOError):  # a compaction was quicker to lock it
                writer = writer or Growing(shards.Writer(self.folder, grid, channels))
                self.growing[key] = writer
                return writer
        raise Busy("new shards of the gallery are removed as soon as they are made; try the same again")

    def _adopted(self, grid: tuple[int, int], channels: int, version: str) -> Growing | None:
        """Return a shard of that form which has room and which no living process writes; None if there is none.

        So restarts do not leave ever more shards, each of which costs every reader two open files. A shard that is
        shorter than the catalogue says is left alone, because new frames would take the places of those that are
        missing.
        """
        found = self.editor.execute(
            "SELECT shard, name FROM shards JOIN models USING(model) "
            "WHERE version = ? AND h = ? AND w = ? AND channels = ? ORDER BY shard DESC",
            (version, *grid, channels),
        ).fetchall()
        for number, name in found:
            if shards.room(self.folder, name, self.shard_bytes) and self._whole(number, name, grid, channels):
                with contextlib.suppress(FileNotFoundError, BlockingIOError):
                    return Growing(shards.Writer(self.folder, grid, channels, adopt=name), number)
        return None

    def _whole(self, number: int, name: str, grid: tuple[int, int], channels: int) -> bool:
        """Return whether a shard's files are as long as the catalogue says."""
        query = "SELECT coalesce(max(slot) + 1, 0), coalesce(max(offset + length), 0) FROM frames WHERE shard = ?"
        slots, end = self.editor.execute(query, (number,)).fetchone()
        return shards.trouble(self.folder, name, shards.least(slots, grid[0] * grid[1] * channels, end)) is None

    def abandon(self, used: list[Growing], attempt: Attempt) -> None:
        """Give up the shards of a batch that failed."""
        for writer in used:
            writer.file.abandon(truncate=not attempt.committing)
        self.growing = {key: writer for key, writer in self.growing.items() if writer not in used}

    def _others(self) -> list[tuple[str, int]]:
        """Return the versions of feature models that have made frames here, with their channels, except our own."""
        return self.editor.execute(
            "SELECT DISTINCT version, channels FROM shards JOIN models USING(model) "
            "WHERE (version <> ? OR channels <> ?) AND EXISTS(SELECT 1 FROM frames WHERE frames.model = shards.model)",
            (self.model, self.channels),
        ).fetchall()


def refuse_versions(made_by: Iterable[tuple[str, int]], model: str | None, channels: int | None, mixed: bool) -> None:
    """Raise VersionMismatch if features were made otherwise than this process makes them.

    made_by: versions of feature models that have made frames, and their channels. model, channels: of this process.
    mixed: True lets other versions pass, and never other channels of the same version.
    """
    others = sorted(one for one in made_by if one != (model, channels) and not (mixed and one[0] != model))
    if others:
        told, versions = (f"{version} with {own} channels" for version, own in others), [one for one, _ in others]
        hint = "" if model in versions else precision_hint(versions, model)
        raise VersionMismatch(
            f"the gallery's features were made by {', '.join(told)!s:.200}, this server runs {model} with {channels} "
            f"channels; serve that version of the model, or add the frames again into a new gallery folder{hint}"
        )


class Growing:
    """A growing shard, and its number in the catalogue once rows name it."""

    def __init__(self, file: shards.Writer, number: int | None = None) -> None:
        self.file, self.number = file, number

    def append(self, group: list[Entry], shape: records.Shape, now: float) -> None:
        """Write the cells, codes, images and records of some entries, and note in each entry where they lie."""
        exact = np.concatenate([entry.cells for entry in group])
        codes = np.concatenate([entry.codes.codes for entry in group])
        sums_ = np.stack([sums(exact), sums(codes)], axis=1).tolist()
        for i, entry in enumerate(group):
            entry.shard, entry.slot, entry.sums = self.file.name, self.file.next + i, tuple(sums_[i])
            entry.crc = zlib.crc32(codes[i], zlib.crc32(exact[i]))
        heads = [entry.record(now, shape) for entry in group]
        offsets = self.file.append(heads, [entry.image for entry in group], codes, exact)
        for entry, offset, head in zip(group, offsets, heads, strict=True):
            entry.offset, entry.head = offset, len(head)
