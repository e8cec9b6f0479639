"""Many frames as calls of bounded size; files are read here, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import InvalidRequest
from .ingest import NewFrame, refused
from .options import whole
from .query import ImageLike, encoded
from .results import Receipt

__all__ = ["Batch", "Item", "batches"]


@dataclass(frozen=True)
class Item:
    """One frame of a batch: its bytes, or the receipt that says why it cannot be sent."""

    frame: NewFrame
    data: bytes = b""
    receipt: Receipt | None = None


@dataclass(frozen=True)
class Batch:
    """Some frames in a row."""

    items: tuple[Item, ...]

    @property
    def sendable(self) -> list[Item]:
        return [item for item in self.items if item.receipt is None]

    def merge(self, answers: Iterable[Receipt]) -> list[Receipt]:
        """All receipts in the order of the frames; `answers` are those of the sendable ones."""
        coming = iter(answers)
        return [item.receipt or next(coming) for item in self.items]

    def only(self, places: Sequence[int]) -> Batch:
        return Batch(tuple(self.items[place] for place in places))

    def halves(self) -> tuple[Batch, Batch]:
        """For a batch of at least two."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])


def batches(frames: Iterable[NewFrame | ImageLike], *, count: int = 16, size: int = 8 << 20) -> Iterator[Batch]:
    """Cut `frames` into batches of at most `count` frames and `size` bytes; a larger image goes alone. An image is a
    frame of which nothing else is known."""
    if isinstance(frames, str | bytes | bytearray | memoryview) or not isinstance(frames, Iterable):
        raise InvalidRequest(
            f"`ingest` needs a list of frames, or an iterator; got {frames!r:.80}. Put it in a list.", status="LOCAL"
        )
    return _cut(frames, whole("batch", count, 1), whole("batch_bytes", size, 1))


def _cut(frames: Iterable[NewFrame | ImageLike], count: int, size: int) -> Iterator[Batch]:
    items: list[Item] = []
    filled = 0
    for given in frames:
        frame = given if isinstance(given, NewFrame) else NewFrame(given)
        try:
            item = Item(frame, encoded(frame.image))
        except InvalidRequest as error:
            item = Item(frame, receipt=refused(frame, error))
        if items and (len(items) >= count or filled + len(item.data) > size):
            yield Batch(tuple(items))
            items, filled = [], 0
        items.append(item)
        filled += len(item.data)
    if items:
        yield Batch(tuple(items))
