"""The verb `ingest`: stores frames, each of them once."""

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

# A call that fails with one of these would fail again, because the frame is at fault and not the server.
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
    """A frame to store.

    image:  encoded bytes or a path.
    id:     comes back unchanged in every answer; None takes the first 16 hex digits of the SHA-256 of the bytes.
    drive:  name of the drive, to filter by, and to limit results per drive.
    camera: name of the camera, to filter by.
    time:   seconds, in any epoch, as long as it is the same for all frames; None if the time is not known, and then
            filters by time leave the frame out.
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
        """Make a frame from keywords. Raises InvalidRequest for a keyword that is no field."""
        options.known("add", AddKeywords.__annotations__, given, ("image", "timeout"))
        return cls(image, **given)

    def as_json(self) -> dict[str, Any]:
        """Return the fields besides the image, as they are sent."""
        return {
            "id": self.id,
            "drive": self.drive,
            "camera": self.camera,
            "time": None if self.time is None else float(self.time),
            "tags": list(self.tags),
        }


def request(images: Sequence[ImageLike], frames: Sequence[NewFrame]) -> Call:
    """Return the call. images: encoded bytes or paths, one per frame; `NewFrame.image` is not looked at."""
    if not frames or len(images) != len(frames):
        raise InvalidRequest(
            f"`ingest` needs one image per frame and at least one; got {len(images)} images and {len(frames)} frames.",
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
    """Read one receipt per frame, in order. Raises UnexpectedAnswer unless there are `count` of them; None for any."""
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
    """Return the receipt of a frame that the client refused, or that the server refused together with a whole call."""
    return Receipt("refused", frame.id or "", error=error.message, remedy=error.remedy or None)


def not_stored(receipt: Receipt) -> Unavailable:
    """Return the error of a frame that the server could not store at the moment, in the words of its receipt."""
    text = receipt.error or "the server could not store a frame; send it again"
    remedy = receipt.remedy or text.rpartition("; ")[2]
    return Unavailable(f"{text.removesuffix('.')}.", remedy=remedy)


@dataclass(frozen=True)
class Item:
    """A frame of a batch, with its encoded bytes, or with the receipt that says why it cannot be sent."""

    frame: NewFrame
    data: bytes = b""
    receipt: Receipt | None = None


@dataclass(frozen=True)
class Batch:
    """Frames that one call sends."""

    items: tuple[Item, ...]

    @property
    def sendable(self) -> list[Item]:
        """Return the frames that can be sent."""
        return [item for item in self.items if item.receipt is None]

    def merge(self, answers: Iterable[Receipt]) -> list[Receipt]:
        """Return all receipts in the order of the frames. answers: the receipts of the frames that were sent."""
        coming = iter(answers)
        return [item.receipt or next(coming) for item in self.items]

    def only(self, places: Sequence[int]) -> Batch:
        """Return a batch of the frames at these places."""
        return Batch(tuple(self.items[place] for place in places))

    def halves(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch of at least two frames."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])


def batches(frames: Iterable[NewFrame | ImageLike], *, count: int = 16, size: int = 8 << 20) -> Iterator[Batch]:
    """Cut `frames` into batches of at most `count` frames and `size` bytes; a larger image is sent alone.

    frames: an image in the place of a frame is a frame of which nothing else is known.
    Files are read when their batch is drawn. Raises InvalidRequest at once unless `frames` can be iterated over.
    """
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
