"""The gallery: frames kept once each, for ever, and found again by what they show.

A folder holds the catalogue (frames.sqlite, one row a frame) and shards of features and pictures (shards/). Several
processes may add, delete and search at the same time. What holds:

* A receipt 'stored' is given after picture, features and row are on the disk; a batch is one commit.
* A row never names bytes that are not on the disk. A writer that dies leaves bytes that no row names, and nothing else.
* An id and a picture's bytes are stored once each, however many writers add them at the same moment.
* A search sees one moment: frames added or deleted while it runs make no difference to it.
* Features of two versions of the feature model are never compared.

`python -m sluice.gallery describe|verify|compact FOLDER` looks at one. Why it is built so: docs/decisions/gallery.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sluice import matching, scan, shards
from sluice.catalogue import FORMAT, INSERT, Attempt, Shard, Table, connect, transaction, translated, writable
from sluice.errors import InvalidArgument
from sluice.frames import (
    Busy,
    Damaged,
    Found,
    Frame,
    Full,
    GalleryError,
    NotAGallery,
    ReadOnly,
    Receipt,
    Search,
    UnknownId,
    VersionMismatch,
)
from sluice.images import Geometry, valid_cells

__all__ = [
    "Busy",
    "Damaged",
    "Found",
    "Frame",
    "Full",
    "Gallery",
    "GalleryError",
    "NotAGallery",
    "ReadOnly",
    "Receipt",
    "Search",
    "UnknownId",
    "VersionMismatch",
]

SHARD_BYTES = 2 << 30  # a shard whose exact features are larger gets no more frames
MAX_PAGE = 1_000


class Gallery:
    """One folder of frames. Safe for threads; not to be carried over a fork."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        model: str | None = None,
        channels: int | None = None,
        threads: int = 0,
        *,
        mixed: bool = False,
        shard_bytes: int = SHARD_BYTES,
        timeout: float = 30.0,
    ) -> None:
        """Open a gallery; a folder that is missing or empty becomes one.

        model: version of the feature model, as 'feature_extractor/1/ab12cd34ef56'. None: only to look and to delete.
        channels: C of its features.
        threads: of one search; 0: one a core.
        mixed: False refuses to add and to search where frames of another model version live. True lets both pass and
               searches only the frames of `model`.
        shard_bytes: a shard with more bytes of exact features than this is closed and a new one begun.
        timeout: seconds to wait for another writer's commit.

        Raises NotAGallery for a folder of another program or a newer format, ReadOnly when there is no gallery and none
        can be made, Full when the disk has no space even for an empty one.
        """
        self.model, self.channels, self.mixed = model, channels, mixed
        self.threads = threads or os.cpu_count() or 1
        self.root, self.folder = Path(root), Path(root) / "shards"
        self.shard_bytes = shard_bytes
        self._read_lock, self._write_lock = threading.RLock(), threading.RLock()
        self._writers: dict[Any, _Writer] = {}  # by grid, channels and model
        self._table = Table()
        with translated():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise NotAGallery("a file is in the place of the gallery's folder; choose another folder") from None
            self.writable = writable(self.root) and writable(self.folder)
            self._reader = connect(self.root, writable=self.writable, timeout=timeout)
            self._editor = connect(self.root, writable=self.writable, timeout=timeout)
            if self.writable:
                shards.sync_folder(self.root)
                shards.sync_folder(self.root.absolute().parent)

    def close(self) -> None:
        """End this process's shards and let the catalogue go. Everything acknowledged is on the disk already."""
        with self._write_lock, self._read_lock:
            for writer in self._writers.values():
                writer.file.close()
            self._writers.clear()
            self._reader.close()
            self._editor.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- adding

    def known(self, sha256: Sequence[str]) -> list[str | None]:
        """For each picture, by the SHA-256 of its bytes in hexadecimal: the id under which it is stored, or None."""
        try:
            digests = [bytes.fromhex(text) for text in sha256]
        except (ValueError, TypeError):
            raise InvalidArgument("sha256 is a list of texts of 64 hexadecimal digits") from None
        with self._read_lock, translated():
            stored, _ = _keys(self._reader, digests, [])
        return [stored.get(digest) for digest in digests]

    def add(
        self,
        frames: Sequence[Frame],
        images: Sequence[bytes],
        features: Sequence[np.ndarray],
        geometries: Sequence[Any],
    ) -> list[Receipt]:
        """Store a batch in one commit; each frame gets its own receipt, and one that is refused harms no other.

        images: the encoded bytes.
        features: of each float16 (or wider) [h, w, C], unit length or zero a cell; h and w may differ among frames.
        geometries: of each float32 [6] as `sluice.images.Geometry.as_array` (or a Geometry).
        Receipts: 'stored'; 'known' (these bytes are stored, under the receipt's id, whatever id was asked for now);
        'refused' (the id belongs to other bytes, or the features cannot be stored; `error` and `remedy` say).

        Raises Full, ReadOnly or Busy, then nothing of the batch is acknowledged and the same batch may be sent again;
        VersionMismatch when frames of another model version live here.
        """
        if not len(frames) == len(images) == len(features) == len(geometries):
            raise InvalidArgument(
                f"add needs as many images, features and geometries as frames; got {len(frames)} frames, "
                f"{len(images)} images, {len(features)} features, {len(geometries)} geometries"
            )
        self._model_needed()
        if not frames:
            return []
        self._may_write()
        batch = [
            _Entry(frame, bytes(image), hashlib.sha256(image).digest())
            for frame, image in zip(frames, images, strict=True)
        ]
        with self._write_lock, translated():
            self._refuse_other_versions(self._editor)
            self._judge(batch, features, geometries)
            fresh = [entry for entry in batch if entry.receipt is None and entry.twin is None]
            if fresh:
                self._store(fresh)
        for entry in batch:
            if entry.twin is not None:
                entry.receipt = _of_twin(entry, entry.twin)
        return [entry.receipt for entry in batch if entry.receipt is not None]

    def _judge(self, batch: list[_Entry], features: Sequence[np.ndarray], geometries: Sequence[Any]) -> None:
        """Give receipts to what is known or cannot be stored, and make ready what is left."""
        stored, owner = _keys(self._editor, [e.sha for e in batch], [e.id for e in batch])
        ours: dict[bytes, _Entry] = {}
        for entry, map_, geometry in zip(batch, features, geometries, strict=True):
            if entry.sha in stored:
                entry.answer("known", stored[entry.sha])
            elif entry.sha in ours:
                entry.twin = ours[entry.sha]
            elif owner.get(entry.id, entry.sha) != entry.sha:
                entry.taken()
            else:
                try:
                    entry.prepare(map_, geometry, self.channels or 0)
                except InvalidArgument as error:
                    entry.answer("refused", entry.id, str(error), "mend this frame and send it again")
                    continue
                ours[entry.sha] = entry
                owner[entry.id] = entry.sha

    def _store(self, entries: list[_Entry]) -> None:
        """Bytes to the disk, then the rows in one commit, then the receipts."""
        used: list[_Writer] = []
        attempt = Attempt()
        try:
            for grid in dict.fromkeys(entry.grid for entry in entries):
                group = [entry for entry in entries if entry.grid == grid]
                writer = self._writer(grid, self.channels or 0, self.model)
                used.append(writer)
                writer.append(group)
            for writer in used:
                writer.file.sync()
            if any(writer.number is None for writer in used):
                shards.sync_folder(self.folder)
            with transaction(self._editor, attempt=attempt):
                answers, numbers = self._insert(entries, used)
        except BaseException:
            self._abandon(used, attempt)
            raise
        for writer in used:
            writer.number = numbers[writer.file.name]
            writer.file.keep()
        for entry, answer in zip(entries, answers, strict=True):
            if answer is None:
                entry.taken()
            else:
                entry.answer(*answer)

    def _insert(
        self, entries: list[_Entry], used: list[_Writer]
    ) -> tuple[list[tuple[str, str] | None], dict[str, int]]:
        """The rows of a batch. Another writer may have been first with a key; then its row stands."""
        editor = self._editor
        self._refuse_other_versions(editor)
        editor.execute("INSERT OR IGNORE INTO models(version) VALUES(?)", (self.model,))
        model = editor.execute("SELECT model FROM models WHERE version = ?", (self.model,)).fetchone()[0]
        numbers = {writer.file.name: self._number(writer, model) for writer in used}
        answers: list[tuple[str, str] | None] = []
        now = time.time()
        for entry in entries:
            row = entry.row(now, model, numbers[entry.shard])
            if editor.execute(INSERT, row).rowcount:
                answers.append(("stored", entry.id))
                continue
            first = editor.execute("SELECT id FROM frames WHERE sha256 = ?", (entry.sha,)).fetchone()
            answers.append(("known", first[0]) if first else None)
        return answers, numbers

    def _number(self, writer: _Writer, model: int) -> int:
        """The number of a writer's shard in the catalogue; inside a transaction, for a new one is entered by it."""
        if writer.number is not None:
            return writer.number
        file = writer.file
        self._editor.execute(
            "INSERT INTO shards(name, model, h, w, channels) VALUES(?, ?, ?, ?, ?)",
            (file.name, model, *file.grid, file.channels),
        )
        return int(self._editor.execute("SELECT shard FROM shards WHERE name = ?", (file.name,)).fetchone()[0])

    def _writer(self, grid: tuple[int, int], channels: int, model: Any) -> _Writer:
        """The growing shard for frames of one form; a new one where there is none or the last is full."""
        key = (grid, channels, model)
        writer = self._writers.get(key)
        if writer is not None and writer.file.sizes["exact"] >= self.shard_bytes:
            writer.file.close()
            writer = None
        if writer is None:
            writer = self._writers[key] = _Writer(shards.Writer(self.folder, grid, channels))
        return writer

    def _abandon(self, used: list[_Writer], attempt: Attempt) -> None:
        """Give up the shards of a batch that failed."""
        for writer in used:
            writer.file.abandon(truncate=not attempt.committing)
        self._writers = {key: writer for key, writer in self._writers.items() if writer not in used}

    # ----------------------------------------------------------------------------------------------------- searching

    def search(self, templates: matching.Templates, search: Search | None = None) -> Found:
        """The stored frames that match best, best first, equal scores in the order of their ids.

        templates: what to look for, rows [Q, C] of all regions of all queries. search: how, and among which frames.
        The scores are exact: those of float32 arithmetic on the stored float16 features. A gallery or a filter that
        leaves no frame gives an empty answer.

        Raises VersionMismatch when frames of another model version live here (unless `mixed`).
        """
        started = time.perf_counter()
        search = search or Search()
        self._model_needed()
        if templates.rows.shape[1] != self.channels:
            raise InvalidArgument(
                f"template rows must have {self.channels} channels as the stored features; "
                f"got {templates.rows.shape[1]}; embed the query with the model that this server runs"
            )
        with translated():
            table, members = self._snapshot(search)
            result = scan.search(
                [member.block for member in members],
                [member.slots for member in members],
                templates,
                k=search.k,
                threshold=search.threshold,
                form=search.score,
                combine=search.combine,
                groups=[member.spread(member.drive) for member in members],
                limit=search.per_drive,
                rank=[member.spread(member.rank) for member in members],
                threads=self.threads,
            )
        return _found(table, members, result, time.perf_counter() - started)

    def _snapshot(self, search: Search) -> tuple[Table, list[_Member]]:
        """What a search reads, as of one moment."""
        for _ in range(8):
            with self._read_lock:
                table = self._follow()
                self._refuse(table.versions())
                rows = table.select(search, table.models.number.get(self.model or "", -1))
                rank, shard = table.rank(), table.rows["shard"][rows]
                try:
                    return table, [
                        _Member.of(table, table.shards[int(number)], rows[shard == number], rank, self.folder)
                        for number in np.unique(shard)
                    ]
                except FileNotFoundError:  # a compaction moved these rows after we read where they lie
                    continue
        raise Damaged("files that the gallery's catalogue names are missing; restore the folder from a copy")

    # ------------------------------------------------------------------------------------------------ single frames

    def features(self, id: str) -> np.ndarray:
        """A frame's features, float16 [h, w, C], read-only. Raises UnknownId, VersionMismatch."""
        for _ in range(8):
            with self._read_lock, translated():
                table, row = self._row(id)
                shard = table.shards[int(table.rows["shard"][row])]
                version = table.models.text[shard.model]
                if self.model is not None and version != self.model:
                    raise VersionMismatch(
                        f"the features of {id!r} were made by {version}, this server runs {self.model}; "
                        "query with the picture itself"
                    )
                try:
                    exact = shard.view(self.folder, "exact")[table.rows["slot"][row]]
                except FileNotFoundError:  # a compaction moved it
                    continue
                return exact.reshape(shard.h, shard.w, shard.channels)
        raise Damaged(f"the features of {id!r} are missing from the disk; restore the folder from a copy")

    def geometry(self, id: str) -> np.ndarray:
        """A frame's geometry, float32 [6], see `sluice.images.Geometry`. Raises UnknownId."""
        with self._read_lock, translated():
            table, row = self._row(id)
            return table.rows["geometry"][row].copy()

    def get(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """What is known of frames: id, sha256, drive, camera, time, tags, width, height, model. Raises UnknownId."""
        with self._read_lock, translated():
            table = self._follow()
            unknown = [id_ for id_ in ids if id_ not in table.row_of]
            if unknown:
                raise UnknownId(_unknown(unknown))
            return [table.described(table.row_of[id_]) for id_ in ids]

    def image(self, id: str) -> bytes:
        """A frame's encoded bytes, the very ones that were added. Raises UnknownId; Damaged if they have changed."""
        for _ in range(8):
            with self._read_lock, translated():
                found = self._reader.execute(
                    "SELECT name, offset, length, sha256 FROM frames JOIN shards USING(shard) WHERE id = ?", (id,)
                ).fetchone()
                if found is None:
                    raise UnknownId(_unknown([id]))
                name, offset, length, sha = found
                try:
                    data = shards.read(self.folder, name, offset, length)
                except FileNotFoundError:  # a compaction moved it
                    continue
            if hashlib.sha256(data).digest() != sha:
                raise Damaged(f"the picture of {id!r} is not the one that was added; restore the folder from a copy")
            return data
        raise Damaged(f"the picture of {id!r} is missing from the disk; restore the folder from a copy")

    def list(
        self,
        after: str | None = None,
        limit: int = 100,
        *,
        drives: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        time_after: float | None = None,
        time_before: float | None = None,
    ) -> dict[str, Any]:
        """A page of frames in the order in which they were stored: {"frames": [as in `get`], "next": cursor or None}.

        after: the cursor of the page before; None: from the start. Frames added or deleted meanwhile shift nothing.
        limit: most frames of a page, 1 to 1,000. The filters are those of `Search`.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
            raise InvalidArgument(f"limit is how many frames a page holds, 1 to {MAX_PAGE:,}; got {limit!r:.80}")
        if after is not None and not (isinstance(after, str) and after.isdecimal() and len(after) < 19):
            raise InvalidArgument(f"after is the 'next' of the page before, or null; got {after!r:.80}")
        filters = Search(
            drives=drives,  # type: ignore[arg-type]
            cameras=cameras,  # type: ignore[arg-type]
            tags=tags,  # type: ignore[arg-type]
            exclude=exclude,  # type: ignore[arg-type]
            after=time_after,
            before=time_before,
        )
        with self._read_lock, translated():
            table = self._follow()
            rows = table.select(filters, None)
            sequence = table.rows["seq"][rows]
            start = int(np.searchsorted(sequence, int(after or 0), side="right"))
            page = rows[start : start + limit]
            more = start + limit < len(rows)
            return {
                "frames": [table.described(int(row)) for row in page],
                "next": str(table.rows["seq"][page[-1]]) if more else None,
            }

    def delete(self, ids: Sequence[str]) -> Sequence[str]:
        """Forget frames, in one commit; returns those that were there. Unknown ids are no error: a deletion may be sent
        again. The bytes stay on the disk until `sluice.upkeep.compact`."""
        if isinstance(ids, str) or not all(isinstance(id_, str) for id_ in ids):
            raise InvalidArgument("ids is a list of texts")
        self._may_write()
        deleted = []
        with self._write_lock, translated(), transaction(self._editor):
            for id_ in dict.fromkeys(ids):
                found = self._editor.execute("SELECT seq FROM frames WHERE id = ?", (id_,)).fetchone()
                if found:
                    self._editor.execute("INSERT INTO changes(seq) VALUES(?)", found)
                    self._editor.execute("DELETE FROM frames WHERE seq = ?", found)
                    deleted.append(id_)
        return deleted

    def describe(self) -> dict[str, Any]:
        """What the gallery holds, as a JSON object."""
        with self._read_lock, translated():
            table = self._follow()
            rows = table.rows[: table.n][table.rows["live"][: table.n]]
            named = self._reader.execute(
                "SELECT coalesce(sum(3 * h * w * channels + length), 0) FROM frames JOIN shards USING(shard)"
            ).fetchone()[0]
            files = shards.size(self.folder)
            times = rows["time"][np.isfinite(rows["time"])]
            return {
                "frames": len(rows),
                "model": self.model,
                "versions": table.versions(),
                "drives": _counts(rows["drive"], table.drives.text),
                "cameras": _counts(rows["camera"], table.cameras.text),
                "first_time": float(times.min()) if len(times) else None,
                "last_time": float(times.max()) if len(times) else None,
                "shards": len(table.shards),
                "bytes": files,
                "unreferenced_bytes": max(0, files - named),
                "format": FORMAT,
                "writable": self.writable,
            }

    # ------------------------------------------------------------------------------------------------------ within

    def _follow(self) -> Table:
        """The table, caught up. Who keeps it over the end of the lock keeps his moment."""
        self._table.refresh(self._reader)
        if self._table.wasteful():
            self._table = Table()
            self._table.refresh(self._reader)
        return self._table

    def _row(self, id_: str) -> tuple[Table, int]:
        table = self._follow()
        if id_ not in table.row_of:
            raise UnknownId(_unknown([id_]))
        return table, table.row_of[id_]

    def _may_write(self) -> None:
        if not self.writable:
            raise ReadOnly("the gallery's folder cannot be written; make it writable and start the server again")

    def _model_needed(self) -> None:
        if self.model is None or not self.channels:
            raise InvalidArgument("this gallery was opened only to look; open it with model and channels")

    def _refuse_other_versions(self, connection: sqlite3.Connection) -> None:
        """As `_refuse`, by the catalogue's own word."""
        others = connection.execute(
            "SELECT version FROM models WHERE version <> ? "
            "AND EXISTS(SELECT 1 FROM frames WHERE frames.model = models.model)",
            (self.model,),
        )
        self._refuse([version for (version,) in others])

    def _refuse(self, versions: Any) -> None:
        others = sorted(set(versions) - {self.model})
        if others and not self.mixed:
            raise VersionMismatch(
                f"the gallery's features were made by {', '.join(others)}, this server runs {self.model}; serve that "
                "version of the model, or add the frames again into a new gallery folder"
            )


@dataclass
class _Entry:
    """One frame on its way in."""

    frame: Frame
    image: bytes
    sha: bytes
    receipt: Receipt | None = None
    twin: _Entry | None = None  # an earlier frame of the same batch with the same bytes
    grid: tuple[int, int] = (0, 0)
    shard: str = ""  # where its bytes were written
    slot: int = 0
    offset: int = 0
    crc: int = 0

    def __post_init__(self) -> None:
        self.id = self.frame.id if self.frame.id is not None else self.sha.hex()[:16]

    def answer(self, status: str, id_: str, error: str | None = None, remedy: str | None = None) -> None:
        self.receipt = Receipt(status, id_, self.sha.hex(), error, remedy)

    def taken(self) -> None:
        self.answer(
            "refused",
            self.id,
            f"the id {self.id!r} belongs to another picture already",
            "send this picture under another id, or delete the other one first",
        )

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
        place = Geometry.from_array(numbers)
        valid = valid_cells(place, (h, w), matching.stride_of(place, (h, w)))
        y, x = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
        if len(y) < h or len(x) < w:
            map_ = map_[np.clip(np.arange(h), y[0], y[-1])][:, np.clip(np.arange(w), x[0], x[-1])]
        self.grid = (h, w)
        self.cells = map_.reshape(1, h * w, channels)
        try:
            self.codes = scan.quantise(self.cells)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        self.geometry = numbers
        self.extent = np.array([y[0], y[-1] + 1, x[0], x[-1] + 1], np.int16)

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


class _Writer:
    """A growing shard and its number in the catalogue, which it has once rows name it."""

    def __init__(self, file: shards.Writer) -> None:
        self.file = file
        self.number: int | None = None

    def append(self, group: list[_Entry]) -> None:
        exact = np.concatenate([entry.cells for entry in group])
        codes = np.concatenate([entry.codes.codes for entry in group])
        slot, offsets = self.file.append([entry.image for entry in group], codes, exact)
        for i, (entry, offset) in enumerate(zip(group, offsets, strict=True)):
            entry.shard, entry.slot, entry.offset = self.file.name, slot + i, offset
            entry.crc = zlib.crc32(codes[i], zlib.crc32(exact[i]))


@dataclass(frozen=True)
class _Member:
    """A shard as a search sees it. The arrays are this search's own or never change."""

    block: scan.Block
    grid: tuple[int, int]
    row: np.ndarray  # int64 [m], the table's rows that passed the filters, by slot
    slots: np.ndarray  # int64 [m], ascending
    drive: np.ndarray  # int32 [m]
    rank: np.ndarray  # int64 [m]

    @classmethod
    def of(cls, table: Table, shard: Shard, row: np.ndarray, rank: np.ndarray, folder: Path) -> _Member:
        row = row[np.argsort(table.rows["slot"][row])]
        block = scan.Block(
            codes=shard.view(folder, "codes"),
            scale=shard.scale[: shard.slots],
            error=shard.error[: shard.slots],
            exact=shard.view(folder, "exact"),
            valid=shard.valid(),
        )
        slots = table.rows["slot"][row].astype(np.int64)
        return cls(block, (shard.h, shard.w), row, slots, table.rows["drive"][row], rank[row])

    def spread(self, values: np.ndarray) -> np.ndarray:
        """[m] values as the scan wants them: one a slot of the block."""
        spread = np.zeros(len(self.block.codes), values.dtype)
        spread[self.slots] = values
        return spread


def _found(table: Table, members: list[_Member], result: scan.Result, seconds: float) -> Found:
    rows, features = [], []
    for block, slot in zip(result.block.tolist(), result.row.tolist(), strict=True):
        member = members[block]
        rows.append(int(member.row[np.searchsorted(member.slots, slot)]))
        features.append(member.block.exact[slot].reshape(*member.grid, -1))
    return Found(
        ids=tuple(table.ids[row] for row in rows),
        scores=result.scores,
        query=result.query,
        roi_scores=result.roi_scores,
        frames=tuple(table.described(row) for row in rows),
        features=tuple(features),
        geometries=tuple(table.rows["geometry"][row].copy() for row in rows),
        searched=result.searched,
        rescored=result.rescored,
        seconds=seconds,
    )


def _of_twin(entry: _Entry, twin: _Entry) -> Receipt:
    """The receipt of a frame whose bytes came earlier in the same batch."""
    first = twin.receipt
    if first is not None and first.status != "refused":
        return Receipt("known", first.id, first.sha256)
    error = "the same picture came earlier in this batch under an id that belongs to another picture"
    return Receipt("refused", entry.id, entry.sha.hex(), error, "send it again")


def _keys(
    connection: sqlite3.Connection, digests: Sequence[bytes], ids: Sequence[str]
) -> tuple[dict[bytes, str], dict[str, bytes]]:
    """Which keys are taken: id by picture, and picture by id."""
    by_picture: dict[bytes, str] = {}
    by_id: dict[str, bytes] = {}
    for column, keys in (("sha256", digests), ("id", ids)):
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ",".join("?" * len(some))
            for id_, sha in connection.execute(f"SELECT id, sha256 FROM frames WHERE {column} IN ({marks})", some):
                by_id[id_] = sha
                by_picture[sha] = id_
    # A picture under one of the ids is known too, but only the pictures asked for count.
    wanted = set(digests)
    return {sha: id_ for sha, id_ in by_picture.items() if sha in wanted}, by_id


def _counts(numbers: np.ndarray, names: list[str]) -> dict[str, int]:
    counts = np.bincount(numbers, minlength=len(names))
    return {name: int(count) for name, count in sorted(zip(names, counts, strict=True)) if count}


def _unknown(ids: Sequence[str]) -> str:
    some = ", ".join(repr(id_)[:60] for id_ in list(ids)[:5])
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"no frame with the id {some}{more} is stored; `list` shows those that are"


if __name__ == "__main__":
    from sluice.upkeep import main

    sys.exit(main())
