"""One frame on its way into the gallery: its features checked and coded, its row and its record, its receipt."""

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
    sums: tuple[int, int]  # of features and codes, sluice.methods.scan.sums
    head: int  # bytes of the record before the picture
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
        self.replaces: int | None = None  # the row of the same picture whose stored bytes were lost

    def answer(self, status: str, id_: str, error: str | None = None, remedy: str | None = None) -> None:
        scored, embedded = (status == "stored" and one is not None for one in (self.score, self.embedding))
        why = (scored, self.unscored, embedded, self.unembedded)
        self.receipt = Receipt(status, id_, self.sha.hex(), error, remedy, *why)

    def replace(self, seq: int, stored: Frame) -> None:
        """Take the place of a frame of the same picture whose bytes were lost, under its id and all else it said."""
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
        return (*self._said(now), model, shard, self.slot, self.offset, len(self.image), *self._form())

    def record(self, now: float, shape: records.Shape) -> bytes:
        """The same for the shard. Call it when slot, crc and sums are known."""
        values = (*self._said(now), self.slot, len(self.image), *self._form(), *self.sums)
        return records.written(values, shape)

    def _said(self, now: float) -> tuple[Any, ...]:
        frame = self.frame
        tags = json.dumps(frame.tags, ensure_ascii=False)
        return (self.id, self.sha, frame.drive, frame.camera, frame.time, tags, now)

    def _form(self) -> tuple[Any, ...]:
        form = (self.geometry.astype("<f4").tobytes(), self.extent.astype("<i2").tobytes())
        return (*form, float(self.codes.scale[0]), float(self.codes.error[0]), self.crc)


@functools.lru_cache(maxsize=256)
def extent(geometry: bytes, grid: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and end row, first and end column of the cells that show the picture. geometry: float32 [6] as bytes."""
    place = Geometry.from_array(np.frombuffer(geometry, np.float32))
    valid = valid_cells(place, grid, matching.stride_of(place, grid))
    y, x = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    return int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1
