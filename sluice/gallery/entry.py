"""One frame on its way into the gallery: checks and codes its features, makes its row, record and receipt."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Frame
from sluice.gallery import embeddings, records, scores
from sluice.gallery.answers import Receipt
from sluice.images import Geometry, valid_cells
from sluice.methods import matching
from sluice.methods.scan.codes import Codes, quantise


class Entry:
    """One frame that is being added, with the image's bytes and everything that is computed from them."""

    grid: tuple[int, int]
    cells: np.ndarray  # float16 [1, P, C]
    geometry: np.ndarray  # float32 [6]
    extent: np.ndarray  # int16 [4], first and end row, first and end column of the image
    codes: Codes
    shard: str  # the shard to which the bytes were written
    slot: int
    offset: int
    crc: int
    sums: tuple[int, int]  # of features and of codes: sluice.methods.scan.sums
    head: int  # bytes of the record before the image
    descriptor: np.ndarray  # float16 [C]
    seq = 0  # number of the row; 0 until it is entered

    def __init__(
        self, frame: Frame, image: bytes, score: scores.Score | None, embedding: embeddings.Embedding | None
    ) -> None:
        self.frame, self.image, self.sha = frame, image, hashlib.sha256(image).digest()
        self.score = score  # None: no detector has looked at the frame
        self.unscored: str | None = None
        self.embedding = embedding  # None: no network has embedded the frame
        self.unembedded: str | None = None
        self.id = frame.id if frame.id is not None else self.sha.hex()[:16]
        self.receipt: Receipt | None = None
        self.stored: Frame | None = None  # the stored frame of the same image, if there is one
        self.twin: Entry | None = None  # an earlier frame of the same batch with the same bytes
        self.replaces: int | None = None  # the row of the same image whose stored bytes were lost

    def answer(self, status: str, id_: str, error: str | None = None, remedy: str | None = None) -> None:
        """Set the receipt."""
        scored, embedded = (status == "stored" and one is not None for one in (self.score, self.embedding))
        why = (scored, self.unscored, embedded, self.unembedded)
        self.receipt = Receipt(status, id_, self.sha.hex(), error, remedy, *why)

    def replace(self, seq: int, stored: Frame) -> None:
        """Take the place of a stored frame of the same image whose bytes were lost, with its id and other fields."""
        self.replaces, self.frame, self.id = seq, stored, str(stored.id)

    def known(self, stored: Frame) -> None:
        self.stored = stored
        self.answer("known", str(stored.id))
        assert self.receipt is not None
        self.receipt = replace(self.receipt, differs=self.frame.differs(stored))

    def taken(self) -> None:
        self.answer(
            "refused",
            self.id,
            f"the id {self.id!r} belongs to another image already",
            "send this image under another id, or delete the other one first",
        )

    def final(self) -> Receipt:
        """Return the receipt. The receipt of a frame whose bytes came earlier in the batch follows from the first
        one's.
        """
        if self.receipt is None:
            assert self.twin is not None and self.twin.receipt is not None
            first = self.twin.receipt
            if first.status == "refused":  # another writer took its id meanwhile
                error = "the same image came earlier in this batch, under an id that belongs to another image"
                self.answer("refused", self.id, error, "send it again")
            else:
                stored = self.twin.stored or replace(self.twin.frame, id=self.twin.id)
                self.known(stored)
        assert self.receipt is not None
        return self.receipt

    def prepare(self, features: Any, geometry: Any, channels: int) -> None:
        """Check features and geometry, and code the features. Raises InvalidArgument.

        Cells of the padding become copies of the image's nearest cell, so that the best cell of a frame is always one
        of its image.
        """
        try:
            map_ = np.asarray(features)
            numbers = geometry.as_array() if isinstance(geometry, Geometry) else np.asarray(geometry)
            numbers = numbers.astype(np.float32)
        except (TypeError, ValueError):
            raise InvalidArgument("features [h, w, C] and geometry [6] must be arrays of numbers") from None
        if map_.ndim == 3 and map_.shape[2] != channels:
            raise InvalidArgument(
                f"the features have {map_.shape[2]} channels, and this gallery's have {channels}; make them with the "
                "feature model that this server runs"
            )
        if map_.ndim != 3 or not map_.size or map_.dtype.kind != "f":
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
        """Return the values of `catalogue.INSERT`."""
        return (*self._said(now), model, shard, self.slot, self.offset, len(self.image), *self._form())

    def record(self, now: float, shape: records.Shape) -> bytes:
        """Return the frame's record for its shard. Call it when slot, crc and sums are known."""
        values = (*self._said(now), self.slot, len(self.image), *self._form(), *self.sums)
        return records.written(values, shape)

    def _said(self, now: float) -> tuple[Any, ...]:
        """Return the columns that describe the frame."""
        frame = self.frame
        tags = json.dumps(frame.tags, ensure_ascii=False)
        return (self.id, self.sha, frame.drive, frame.camera, frame.time, tags, now)

    def _form(self) -> tuple[Any, ...]:
        """Return the columns that describe the stored features."""
        form = (self.geometry.astype("<f4").tobytes(), self.extent.astype("<i2").tobytes())
        return (*form, float(self.codes.scale[0]), float(self.codes.error[0]), self.crc)


@functools.lru_cache(maxsize=256)
def extent(geometry: bytes, grid: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the first and end row, and the first and end column, of the cells that show the image.

    geometry: float32 [6] as bytes. grid: rows and columns of cells.
    """
    place = Geometry.from_array(np.frombuffer(geometry, np.float32))
    valid = valid_cells(place, grid, matching.stride_of(place, grid))
    y, x = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    return int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1
