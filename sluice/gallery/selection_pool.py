"""The gallery as a pool to select from: yields every scored frame in batches, as of one moment.

The pool is all frames of the gallery that are not labelled. Filters only say which of them may be picked, so that the
scores of two requests with different filters can be compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Filter
from sluice.gallery import scores, snapshot
from sluice.gallery.entry import extent
from sluice.gallery.errors import VersionMismatch
from sluice.gallery.store import Gallery
from sluice.gallery.table import Table
from sluice.methods.mixtures.summaries import COLUMNS, binary_entropy
from sluice.methods.selection.options import Options, without_effect
from sluice.methods.selection.pool import Batch

FRAMES = 4096  # frames per batch
OBJECT_SCORE = 0.5


class GalleryPool:
    """A `sluice.methods.selection.pool.Pool`. A frame's number is its row in the table."""

    def __init__(
        self,
        table: Table,
        connection: sqlite3.Connection,
        detector: scores.Detector,
        options: Options,
        gallery: Gallery,
    ) -> None:
        """table, connection: of one moment, the connection with an open transaction.

        The gallery is locked while the pool is made.
        """
        self.table, self.connection, self.gallery = table, connection, gallery
        found = scores.detector_of(connection, detector.version)
        self.detector, self.labels = detector.version, (found[1] if found else detector).labels
        options.check_classes(self.labels)
        self._number = found[0] if found else -1
        self.object_score = _object_score(options.object_score, detector)
        n = table.n
        self.seq, self._drive = table.rows["seq"][:n], table.rows["drive"][:n]
        self._rank = table.rank()
        self.no_effect = without_effect(table, options)
        self.members = np.zeros(n, bool)
        self.members[table.select(Filter())] = True
        for id_ in options.labelled:
            if id_ in table.row_of:
                self.members[table.row_of[id_]] = False
        if options.labelled_tag is not None:
            self.members[table.tagged.get(options.labelled_tag, [])] = False
        self.picks = np.zeros(n, bool)
        self.picks[table.select(options.filters)] = True
        self.picks &= self.members
        self._scored = np.zeros(n, bool)
        self.version = _version(connection, options)

    # ------------------------------------------------------------------------------------------------ the protocol

    def batches(self) -> Iterator[Batch]:
        """Yield all scored frames of the pool in the order in which they were stored."""
        if self._number < 0:
            return
        # '+' makes SQLite read in the order of seq. The index of detectors would look up each row.
        column = scores.faint_in(self.connection)
        query = f"SELECT seq, objects, {column} FROM scores WHERE +detector = ? ORDER BY seq"
        cursor = self.connection.execute(query, (self._number,))
        while chunk := cursor.fetchmany(FRAMES):
            seq = np.array([row[0] for row in chunk], np.int64)
            frame = np.searchsorted(self.seq, seq)
            frame[frame == len(self.seq)] = 0
            here = self.members[frame] & (self.seq[frame] == seq) if len(self.seq) else np.zeros(len(seq), bool)
            if not here.all():
                chunk = [chunk[i] for i in np.flatnonzero(here)]
                frame = frame[here]
            if chunk:
                self._scored[frame] = True
                yield self._batch(frame, [row[1] for row in chunk], [row[2] for row in chunk])

    def of(self, frames: np.ndarray) -> Batch:
        """Return some frames again, in the given order."""
        found = scores.stored(self.connection, self.seq[frames].tolist())
        here = [found[int(seq)] for seq in self.seq[frames]]
        return self._batch(frames, [one.objects.tobytes() for one in here], [one.faint for one in here])

    def ranks(self, frames: np.ndarray) -> np.ndarray:
        return self._rank[frames]

    def drives(self, frames: np.ndarray) -> np.ndarray:
        return self._drive[frames].astype(np.int64)

    def descriptors(self, frames: np.ndarray) -> np.ndarray:
        """Return descriptors, float32 [len(frames), C]. Those of frames that format 1 stored are made from their
        features.

        Raises VersionMismatch for frames of several versions of the feature model, whose descriptors do not compare.
        """
        rows = self.table.rows
        versions = {self.table.models.text[model] for model in np.unique(rows["model"][frames])}
        if len(versions) > 1:
            raise VersionMismatch(
                f"the frames' descriptors were made by {', '.join(sorted(versions))!s:.200} and do not compare; select "
                "without diversity, or add the frames again into a new gallery folder"
            )
        seqs = self.seq[frames].tolist()
        known = scores.descriptors(self.connection, seqs)
        for seq, row in zip(seqs, frames.tolist(), strict=True):
            if seq not in known:
                map_ = self.gallery.features(self.table.ids[row])
                top, bottom, left, right = extent(rows["geometry"][row].tobytes(), (map_.shape[0], map_.shape[1]))
                known[seq] = scores.descriptor(map_[top:bottom, left:right]).astype(np.float32)
        return np.stack([known[seq] for seq in seqs]) if seqs else np.zeros((0, 1), np.float32)

    def _batch(self, frame: np.ndarray, blobs: list[bytes], faints: list[float | None]) -> Batch:
        """Return a batch. frame: int64 [f], rows of the table. blobs, faints: what is stored per frame."""
        counts = np.array([len(blob) for blob in blobs], np.int64) // (4 * COLUMNS)
        objects = np.frombuffer(b"".join(blobs), "<f4").reshape(-1, COLUMNS)
        good = objects[:, 1] >= np.float32(self.object_score)
        faint = np.array(faints, np.float64)
        if not good.all():
            owner = np.repeat(np.arange(len(frame)), counts)
            below = np.bincount(owner[~good], objects[~good, 1], len(frame))
            faint = (faint + below).astype(np.float32).astype(np.float64)  # as `Detections.above` gives it
            counts, objects = np.bincount(owner[good], minlength=len(frame)), objects[good]
        # As in summaries.Detections.types, the location has the greatest of its four coordinates. Columns become rows
        # first, because a maximum over four neighbours costs ten times as much as one over four rows.
        columns = np.ascontiguousarray(objects[:, 6:].T)
        values = np.empty((len(objects), 4))
        values[:, 0], values[:, 1] = columns[:4].max(axis=0), columns[4:8].max(axis=0)
        values[:, 2:] = columns[8:].T
        if len(values) and np.isnan(values).all():  # the detector gives no uncertainties, as `Detections.measures`
            values = binary_entropy(objects[:, 1])[:, None]
        faint[counts > 0] = np.nan
        return Batch(frame, self.picks[frame], counts, objects[:, 0].astype(np.int64), values, faint=faint)

    # ------------------------------------------------------------------------------------------------ for the answer

    def ids(self, frames: np.ndarray) -> list[str]:
        """Return the ids of frames."""
        return [self.table.ids[row] for row in frames.tolist()]

    def described(self, frames: np.ndarray) -> list[dict[str, Any]]:
        """Return frames as `Gallery.get` describes them, without their objects."""
        return [self.table.described(row) for row in frames.tolist()]

    def unscored(self, limit: int) -> tuple[list[str], int]:
        """Return the first ids of frames that may be picked but that this detector has not looked at, and their number.

        Call it after `batches`.
        """
        rows = np.flatnonzero(self.picks & ~self._scored)
        return self.ids(rows[:limit]), len(rows)


def _object_score(asked: float | None, detector: scores.Detector) -> float:
    """Return the least score of an object. Raises InvalidArgument if the detector stores no objects of so little."""
    least = 0.0 if detector.min_score is None else detector.min_score
    if asked is None:
        return max(OBJECT_SCORE, least)
    if asked < least:
        raise InvalidArgument(
            f"object_score is {asked:g}, but frames keep objects from a score of {least:g} on: ask for that or more, "
            "or set min_score in uncertainty_aggregator/config.pbtxt and score the frames again (`sluice score`)"
        )
    return asked


def _version(connection: sqlite3.Connection, options: Options) -> str:
    """Return the pool's version, 16 hexadecimal digits: other frames, scores or labels make it another."""
    if scores.NOTES.kept(connection):
        facts = connection.execute("SELECT name, value FROM facts ORDER BY name").fetchall()
    else:
        facts = []
    labelled = [sorted(set(options.labelled)), options.labelled_tag]
    return hashlib.sha256(json.dumps([facts, snapshot.state(connection), labelled]).encode()).hexdigest()[:16]


@contextlib.contextmanager
def opened(gallery: Gallery, detector: scores.Detector, options: Options) -> Iterator[GalleryPool]:
    """Yield a gallery as a pool, as of one moment. Others go on adding and searching meanwhile.

    detector: the detector whose scores count. Raises Busy if others commit so fast that no moment is found.
    """

    def look(table: Table, connection: sqlite3.Connection) -> GalleryPool:
        return GalleryPool(table, connection, detector, options, gallery)

    with snapshot.opened(gallery, look) as pool:
        yield pool
