"""The gallery: frames kept once each, for ever, and found again by their content.

A folder holds the catalogue (frames.sqlite, one row per frame) and shards of features and images (shards/). Several
processes may add, delete and search at the same time. The gallery promises:

* A receipt 'stored' is given after image, features and row are on the disk; a batch is one commit.
* A row never names bytes that are not on the disk. A writer that dies leaves bytes that no row names, and nothing else.
* An id and an image's bytes are stored once each, however many writers add them at the same moment.
* A search sees one moment: frames added or deleted while it runs make no difference to it.
* Features of two versions of the feature model are never compared.

`python -m sluice.gallery describe|verify|compact|rebuild FOLDER` looks after a gallery. docs/decisions/gallery.md says
why it is built so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Filter, Frame, Search
from sluice.gallery import description, embeddings, keys, ownership, records, scores, shards
from sluice.gallery import search as finding
from sluice.gallery.admission import Admit, admit_all
from sluice.gallery.answers import Aside, Found, Receipt, check_page, ids_of
from sluice.gallery.catalogue import Connection, connect, transaction, translated, writable
from sluice.gallery.errors import (
    Busy,
    Damaged,
    Full,
    GalleryError,
    Moved,
    NotAGallery,
    ReadOnly,
    UnknownId,
    VersionMismatch,
)
from sluice.gallery.intake import Intake, refuse_versions
from sluice.gallery.table import Table
from sluice.methods import matching
from sluice.versions import precision_hint

__all__ = [
    "Busy",
    "Damaged",
    "Found",
    "Frame",
    "Full",
    "Gallery",
    "GalleryError",
    "Moved",
    "NotAGallery",
    "ReadOnly",
    "Receipt",
    "Search",
    "UnknownId",
    "VersionMismatch",
]

SHARD_BYTES = 2 << 30  # a shard whose exact features are larger gets no more frames


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
        create: bool = True,
    ) -> None:
        """Open a gallery. A folder that is missing or empty becomes one.

        model: version of the feature model, as 'feature_extractor/1/ab12cd34ef56'. None: only to look and to delete.
        channels: C of the model's features. threads: per search; 0 takes one per core. mixed: False refuses to add and
        to search if frames of another model version are stored here. True lets both pass and
               searches only the frames of `model`.
        shard_bytes: a shard with more bytes of exact features than this is closed, and a new one begun.
        timeout: seconds to wait for another writer's commit.
        create: whether to make a gallery if there is none.

        Raises NotAGallery for a folder of another program or a newer format, and for shards without their catalogue;
        ReadOnly if there is no gallery and none can be made, Full if the disk has no space even for an empty one.
        """
        self.model, self.channels, self.mixed = model, channels, mixed
        self.threads = threads or os.cpu_count() or 1
        self.root, self.folder = Path(root), Path(root) / "shards"
        self._read_lock, self._write_lock = threading.RLock(), threading.RLock()
        self._table, self.timeout = Table(), timeout
        with translated():
            ownership.refuse_lost(self.root, create)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise NotAGallery("a file is in the place of the gallery's folder; choose another folder") from None
            self.writable = writable(self.root) and writable(self.folder)
            self._reader = connect(self.root, writable=self.writable, timeout=timeout)
            try:
                ownership.refuse_foreign(self._reader, self.root)
                self._editor = connect(self.root, writable=self.writable, timeout=timeout)
            except BaseException:
                self._reader.close()
                raise
            self._intake = Intake(self._editor, self.folder, model, channels, mixed, shard_bytes)
            if self.writable:
                shards.sync_folder(self.root)
                shards.sync_folder(self.root.absolute().parent)

    def close(self) -> None:
        """End this process's shards and close the catalogue. Everything acknowledged is on the disk already."""
        with self._write_lock, self._read_lock:
            self._intake.close()
            self._reader.close()
            self._editor.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- adding

    def known(self, sha256: Sequence[str]) -> list[Frame | None]:
        """Return per image the frame as it is stored, or None.

        sha256: of the images' bytes, hexadecimal. None is also returned for an image whose stored bytes were lost, so
        that it may be added again.
        """
        try:
            digests = [bytes.fromhex(text) for text in sha256]
        except (ValueError, TypeError):
            raise InvalidArgument("sha256 is a list of texts of 64 hexadecimal digits") from None
        with self.reading():
            self._reader.check()
            stored, _ = keys.taken(self._reader, digests, [])
            lost = keys.lost(self._reader, self.folder, list(stored)) if self.writable else {}
        return [None if digest in lost else stored.get(digest) for digest in digests]

    def add(
        self,
        frames: Sequence[Frame],
        images: Sequence[bytes],
        features: Sequence[np.ndarray],
        geometries: Sequence[Any],
        found: Sequence[scores.Score | None] | None = None,
        embedded: Sequence[embeddings.Embedding | None] | None = None,
    ) -> list[Receipt]:
        """Store a batch in one commit. Each frame gets its own receipt, and a refused frame harms no other.

        images: the encoded bytes. features: per frame float16 (or wider) [h, w, C], unit length or zero per cell; h and
        w may differ among frames. geometries: per frame float32 [6] as `sluice.images.Geometry.as_array` (or a
        Geometry). found: per frame what a detector found in it. None, or None for a frame, stores it unscored.
        embedded: per frame its embedding, by which words find it. None, or None for a frame, stores it without.
        Receipts: 'stored'; 'known' (these bytes are stored and stay so; `differs` holds the fields that were given
        otherwise); 'refused' (the id belongs to other bytes, or the features cannot be stored; see `error` and
        `remedy`).

        Raises Full, ReadOnly or Busy, and then nothing of the batch is acknowledged and the same batch may be sent
        again; VersionMismatch if frames of another model version are stored here.
        """
        found = [None] * len(frames) if found is None else found
        embedded = [None] * len(frames) if embedded is None else embedded
        counts = [*map(len, (frames, images, features, geometries, found, embedded))]
        if len(set(counts)) > 1:
            raise InvalidArgument(
                "add needs as many images, features, geometries, scores and embeddings as frames; got {} frames, {} "
                "images, {} features, {} geometries, {} scores, {} embeddings".format(*counts)
            )
        self._model_needed()
        if not frames:
            return []
        with self.writing() as intake:
            self._editor.check()
            receipts = intake.add(frames, images, features, geometries, found, embedded)
            self._editor.check()  # the receipt 'known', too, is about the files at the path
            return receipts

    # ----------------------------------------------------------------------------------------------------- searching

    def search(self, templates: matching.Templates, search: Search | None = None, admit: Admit = admit_all) -> Found:
        """Return the stored frames that match best, best first, equal scores in the order of their ids.

        templates: what to look for, rows [Q, C] of all regions of all queries. search: the filters, and how to rank.
        admit: see `sluice.gallery.admission`; what it raises is raised. The scores are exact: those of float32
        arithmetic on the stored float16 features. If no frame passes the filters, the answer is empty.

        Raises VersionMismatch if frames of another model version are stored here (unless `mixed`).
        """
        started = time.perf_counter()
        search = search or Search()
        self.check_templates(templates)
        with translated():
            table, members, aside = self._snapshot(search)
            if not members:
                return finding.nothing(len(templates.query), time.perf_counter() - started, aside)
            result = finding.scan(members, templates, search, self.threads, admit=admit)
        return finding.found(table, members, result, time.perf_counter() - started, aside)

    def check_templates(self, templates: matching.Templates) -> None:
        """Raise InvalidArgument for templates that the features here cannot be compared with."""
        self._model_needed()
        if templates.rows.shape[1] != self.channels:
            raise InvalidArgument(
                f"template rows must have {self.channels} channels as the stored features; "
                f"got {templates.rows.shape[1]}; embed the query with the model that this server runs"
            )

    def _snapshot(self, search: Search) -> tuple[Table, list[finding.Member], Aside]:
        """Return the table and the members that a search reads, as of one moment, and the damaged frames."""
        look = finding.Look()
        for _ in range(8):
            with self.reading():
                table = self.table()
                refuse_versions(table.made_by(), self.model, self.channels, self.mixed)
                rows = table.select(search, table.models.number.get(self.model or "", -1))
                try:
                    return table, *look.members(table, rows, table.rank(), self.folder)
                except FileNotFoundError:  # a compaction may have moved these rows after the table was read
                    continue
        raise Busy("the gallery's files are moved faster than they can be looked at; try the same again")

    # ------------------------------------------------------------------------------------------------ single frames

    def features(self, id: str) -> np.ndarray:
        """Return a frame's features, float16 [h, w, C], read-only. Raises UnknownId, VersionMismatch, Damaged."""
        for _ in range(8):
            with self.reading():
                table, row = self._row(id)
                shard = table.shards[int(table.rows["shard"][row])]
                version = table.models.text[shard.model]
                if self.model is not None and version != self.model:
                    raise VersionMismatch(
                        f"the features of {id!r} were made by {version}, this server runs {self.model}; "
                        f"query with the image itself{precision_hint([version], self.model)}"
                    )
                slot = int(table.rows["slot"][row])
                try:
                    exact = shard.view(self.folder, "exact")[slot]
                except FileNotFoundError:  # a compaction moved it
                    continue
                if shard.check().broken_exact(exact, slot):
                    raise Damaged(f"the features of {id!r} are not those that were stored; {shards.REPLACE}")
                return exact.reshape(shard.h, shard.w, shard.channels)
        raise Damaged(f"the features of {id!r} are missing from the disk; {shards.REPLACE}")

    def geometry(self, id: str) -> np.ndarray:
        """Return a frame's geometry, float32 [6], see `sluice.images.Geometry`. Raises UnknownId."""
        with self.reading():
            table, row = self._row(id)
            return table.rows["geometry"][row].copy()

    def get(
        self, ids: Sequence[str], objects: bool = False, detector: scores.Detector | None = None
    ) -> list[dict[str, Any]]:
        """Return what is stored of frames: id, sha256, drive, camera, time, tags, width, height, model, detector,
        summary.

        summary: `mixtures.summaries.Summary`; detector and summary are None for an unscored frame. objects: whether
        each object is returned, too. detector: the served one, as of `scores.described`. Raises UnknownId.
        """
        ids = ids_of(ids)
        with self.reading():
            table = self.table()
            unknown = [id_ for id_ in ids if id_ not in table.row_of]
            if unknown:
                raise UnknownId.of(unknown)
            return scores.described(table, self._reader, [table.row_of[id_] for id_ in ids], objects, detector)

    def image(self, id: str) -> bytes:
        """Return a frame's encoded bytes as they were added. Raises UnknownId, and Damaged if they have changed."""
        ids_of([id])
        for _ in range(8):
            with self.reading():
                found = self._reader.execute(
                    "SELECT name, offset, length, sha256 FROM frames JOIN shards USING(shard) WHERE id = ?", (id,)
                ).fetchone()
                if found is None:
                    raise UnknownId.of([id])
                name, offset, length, sha = found
                try:
                    data = shards.read(self.folder, name, offset, length)
                except FileNotFoundError:  # a compaction moved it
                    continue
            if hashlib.sha256(data).digest() != sha:
                raise Damaged(f"the image of {id!r} is not the one that was added; {shards.REPLACE}")
            return data
        raise Damaged(f"the image of {id!r} is missing from the disk; {shards.REPLACE}")

    def list(self, cursor: str | None = None, limit: int = 100, filters: Filter | None = None) -> dict[str, Any]:
        """Return a page of frames in the order in which they were stored: {"frames": [...], "next": cursor or None}.

        A frame is described as by `get`, with object_count in place of the summary.

        cursor: `next` of the page before; None begins at the first frame. Frames added or deleted meanwhile shift
        nothing. limit: most frames per page, 1 to 1,000. filters: which frames are listed; None lists all.
        """
        check_page(cursor, limit)
        with self.reading():
            table = self.table()
            rows = table.select(filters or Filter())
            sequence = table.rows["seq"][rows]
            start = int(np.searchsorted(sequence, int(cursor or 0), side="right"))
            page = rows[start : start + limit]
            more = start + limit < len(rows)
            return {
                "frames": scores.listed(table, self._reader, page.tolist()),
                "next": str(table.rows["seq"][page[-1]]) if more else None,
            }

    def delete(self, ids: Sequence[str]) -> Sequence[str]:
        """Delete frames, in one commit. Returns the ids that were there.

        Unknown ids are no error, so that a deletion may be sent again. The bytes stay on the disk until
        `sluice.gallery.compaction.compact`.
        """
        ids = ids_of(ids)
        deleted: dict[str, tuple[str, int]] = {}
        with self.writing():
            with transaction(self._editor):
                for id_ in dict.fromkeys(ids):
                    query = "SELECT seq, name, slot FROM frames JOIN shards USING(shard) WHERE id = ?"
                    found = self._editor.execute(query, (id_,)).fetchone()
                    if found and keys.remove(self._editor, found[0]):
                        deleted[id_] = found[1:]
            records.forget(self.root, list(deleted.values()))
        return list(deleted)

    def describe(self) -> dict[str, Any]:
        """Return what the gallery holds, as a JSON object."""
        with self.reading():
            described = description.described(self.table(), self._reader, self.folder)
        return {**described, "model": self.model, "writable": self.writable}

    # ------------------------------------------------------------------------------------------------------ within

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lock the gallery's reading side and yield its connection to the catalogue; other threads wait to read.

        What disk and SQLite raise inside becomes an error of `sluice.gallery.errors`. May be nested.
        """
        with self._read_lock, translated():
            yield self._reader

    def table(self) -> Table:
        """Return the table, refreshed to the latest commit. Call it inside `reading`.

        A caller that keeps the table after the end of `reading` must copy the parts that it needs: other threads
        refresh the same table. Raises Moved.
        """
        self._reader.check()
        self._table.refresh(self._reader)
        if self._table.wasteful():
            self._table = Table()
            self._table.refresh(self._reader)
        return self._table

    def _row(self, id_: str) -> tuple[Table, int]:
        """Return the table and the row of an id. Raises UnknownId."""
        ids_of([id_])
        table = self.table()
        if id_ not in table.row_of:
            raise UnknownId.of([id_])
        return table, table.row_of[id_]

    @contextlib.contextmanager
    def writing(self) -> Iterator[Intake]:
        """Lock the gallery's writing side and yield what writes to it: `Intake.editor` is the catalogue's connection.

        Opens no transaction. Searches go on meanwhile. Raises ReadOnly at once if the folder cannot be written;
        what disk and SQLite raise inside becomes an error of `sluice.gallery.errors`.
        """
        if not self.writable:
            raise ReadOnly("the gallery's folder cannot be written; make it writable and start the server again")
        with self._write_lock, translated():
            yield self._intake

    def _model_needed(self) -> None:
        """Raise InvalidArgument if the gallery was opened without a model."""
        if self.model is None or not self.channels:
            raise InvalidArgument("this gallery was opened only to look; open it with model and channels")
