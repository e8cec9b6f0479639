"""`ingest`: keep these frames, once each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from .. import options
from ..answers.ingest import Receipt
from ..errors import Conflict, InvalidRequest, SluiceError, TooLarge, Unavailable, UnexpectedAnswer
from ..options import whole
from ..query import ImageLike, encoded
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take

__all__ = ["MODEL", "REFUSALS", "AddKeywords", "Batch", "Item", "NewFrame", "answer", "batches", "not_stored",
           "refused", "request"]  # fmt: skip


MODEL = "ingest"

# A call that fails in one of these ways would fail again; the frame is to blame, not the server.
REFUSALS = (InvalidRequest, TooLarge, Conflict)


class AddKeywords(TypedDict, total=False):
    """The fields of `NewFrame` besides the image, for type checkers and editors."""

    id: str | None
    drive: str
    camera: str
    time: float | None
    tags: Sequence[str]


@dataclass(frozen=True)
class NewFrame:
    """A frame to keep.

    image:  encoded bytes or a path.
    id:     comes back unchanged in every answer; None: the first 16 hex digits of the SHA-256 of the bytes.
    drive, camera: names to filter by, and to limit results per drive.
    time:   seconds, in any epoch, as long as it is the same for all frames; None: not known, and then filters by time
            leave the frame out.
    tags:   words to filter by.
    """

    image: ImageLike = field(repr=False)
    id: str | None = None
    drive: str = ""
    camera: str = ""
    time: float | None = None
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("id", "drive", "camera"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name != "id" or value is not None):
                raise InvalidRequest(f"The {name} of a frame is a text; got {value!r:.80}.")
        if self.id == "":
            raise InvalidRequest("The id of a frame is empty; None takes one from its bytes.")
        try:
            given = None if self.time is None else options.number("time", self.time)
        except InvalidRequest:
            raise InvalidRequest(f"The time of a frame is in seconds and finite; got {self.time!r:.80}.") from None
        object.__setattr__(self, "time", given)
        try:
            object.__setattr__(self, "tags", tuple(options.texts("tags", self.tags)))
        except InvalidRequest:
            raise InvalidRequest(f"The tags of a frame are a list of words; got {self.tags!r:.80}.") from None
        for what in (self.id or "", self.drive, self.camera, *self.tags):
            if any("\ud800" <= letter <= "\udfff" for letter in what):
                raise InvalidRequest(f"Id, drive, camera and tags must be UTF-8; {what!r:.80} is not.")

    @classmethod
    def of(cls, image: ImageLike, **given: Unpack[AddKeywords]) -> NewFrame:
        """Raises InvalidRequest for a name that is none of the fields."""
        options.known("add", AddKeywords.__annotations__, given, ("image", "timeout"))
        return cls(image, **given)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "drive": self.drive,
            "camera": self.camera,
            "time": None if self.time is None else float(self.time),
            "tags": list(self.tags),
        }


def request(images: Sequence[ImageLike], frames: Sequence[NewFrame]) -> Call:
    """images: bytes or paths, one a frame."""
    if not frames or len(images) != len(frames):
        raise InvalidRequest(
            f"`ingest` needs one image a frame and at least one; got {len(images)} images and {len(frames)} frames.",
        )
    return Call(
        MODEL,
        {
            "IMAGES": strings(encoded(image) for image in images),
            "FRAMES": strings(json_tensor(frame.as_json())[0] for frame in frames),
        },
        ("RECEIPTS",),
    )


def answer(tensors: Tensors, count: int | None = None) -> list[Receipt]:
    """One receipt a frame, in order. Raises UnexpectedAnswer when there are not `count` of them."""
    receipts = []
    for text in take(tensors, MODEL, "RECEIPTS", count):
        value = from_json(MODEL, text)
        if value.get("status") not in ("stored", "known", "refused"):
            raise UnexpectedAnswer(f"A receipt is stored, known or refused; got {value.get('status')!r}.")
        receipts.append(
            Receipt(
                status=value["status"],
                id=value.get("id") or "",
                sha256=value.get("sha256") or "",
                error=value.get("error"),
                remedy=value.get("remedy"),
                retry=bool(value.get("retry")),
                scored=value.get("scored"),
                unscored=value.get("unscored"),
                embedded=value.get("embedded"),
                unembedded=value.get("unembedded"),
                differs=value.get("differs") or {},
            )
        )
    return receipts


def refused(frame: NewFrame, error: SluiceError) -> Receipt:
    """The receipt of a frame that was refused here, or with a whole call."""
    return Receipt("refused", frame.id or "", error=error.message, remedy=error.remedy or None)


def not_stored(receipt: Receipt) -> Unavailable:
    """Return the error of a frame that the server could not store at the moment, in the words of its receipt."""
    text = receipt.error or "the server could not store a frame; send it again"
    remedy = receipt.remedy or text.rpartition("; ")[2]
    return Unavailable(f"{text.removesuffix('.')}.", remedy=remedy)


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
        raise InvalidRequest(f"`ingest` needs a list of frames, or an iterator; got {frames!r:.80}. Put it in a list.")
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
