"""What a verb looks at: images, or frames that are stored already; many of them cut into calls of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..drawing.pictures import NotAPicture, size
from ..errors import InvalidRequest
from ..options import texts, whole
from ..query import ImageLike, encoded, name_of
from ..tensors import strings

__all__ = ["Part", "Piece", "listed", "names", "parts", "pieces", "tensors"]


def names(ids: Sequence[str]) -> list[str]:
    """The ids. Raises InvalidRequest unless they are a list of at least one text, none of them empty."""
    found = texts("ids", ids, least=1, of="id")
    if not all(found):
        raise InvalidRequest(f"No id may be empty; number {found.index('')} of ids is.")
    return found


def tensors(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None) -> dict[str, np.ndarray]:
    """IMAGES or IDS. Raises InvalidRequest unless exactly one of the two is given."""
    _one_of(verb, images, ids)
    if images is not None:
        return {"IMAGES": strings(encoded(image) for image in listed(verb, images))}
    return {"IDS": strings(names(() if ids is None else ids))}


def _one_of(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None) -> None:
    if (images is None) == (ids is None):
        got = "neither" if images is None else "both"
        raise InvalidRequest(f"`{verb}` needs images or the ids of stored frames; got {got}.")


@dataclass(frozen=True)
class Piece:
    """What one call looks at: some images, or some ids of stored frames.

    part: the images, or the ids as names without bytes. stored: whether these are ids.
    """

    part: Part
    stored: bool = False

    def tensors(self, verb: str) -> dict[str, np.ndarray] | None:
        """As IMAGES or IDS; None when none of the images could be read."""
        if self.stored:
            return tensors(verb, None, self.part.names)
        return tensors(verb, self.part.images, None) if self.part.images else None

    def sizes(self) -> list[tuple[int | None, int | None]]:
        """Width and height of what was sent, as far as they are known here."""
        return [(None, None)] * len(self.part.names) if self.stored else list(map(_size, self.part.images))


def _size(data: bytes) -> tuple[int | None, int | None]:
    try:
        return size(data)
    except NotAPicture:
        return None, None  # the server says why


def pieces(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None, count: int) -> Iterator[Piece]:
    """Cut many images or ids into calls of at most `count`; files are read when their call is drawn."""
    _one_of(verb, images, ids)
    if ids is None:
        return (Piece(part) for part in parts(verb, () if images is None else images, count))
    checked, most = names(ids), whole("batch", count, 1)
    cut = (tuple(checked[begin : begin + most]) for begin in range(0, len(checked), most))
    return (Piece(Part(some, (), (None,) * len(some)), stored=True) for some in cut)


T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Some of many images, as one call.

    names:  of all of them: paths as given, bytes by their place in the whole list.
    images: the bytes of those that could be read.
    errors: one a name; why an image could not be read, else None.
    """

    names: tuple[str, ...]
    images: tuple[bytes, ...]
    errors: tuple[str | None, ...]

    def readable(self) -> list[str]:
        return [name for name, error in zip(self.names, self.errors, strict=True) if error is None]

    def merge(self, answers: Sequence[T], failed: Callable[[str, str], T]) -> list[T]:
        """All answers in the order of the names; `answers` are those of the readable images, `failed` makes the answer
        for an image from its name and the error."""
        coming = iter(answers)
        return [
            next(coming) if error is None else failed(name, error)
            for name, error in zip(self.names, self.errors, strict=True)
        ]


def parts(verb: str, images: Sequence[ImageLike], count: int) -> Iterator[Part]:
    """Cut many images into calls of at most `count`; files are read when their part is drawn."""
    given, size = listed(verb, images), whole("batch", count, 1)
    return (_part(given, begin, begin + size) for begin in range(0, len(given), size))


def listed(verb: str, images: Sequence[ImageLike]) -> Sequence[ImageLike]:
    """The images. Raises InvalidRequest unless they are a list of at least one; one image alone is none."""
    if isinstance(images, str | bytes | bytearray | memoryview) or not isinstance(images, Sequence) or not images:
        raise InvalidRequest(f"`{verb}` needs a list of at least one image; got {images!r:.40}.")
    return images


def _part(images: Sequence[ImageLike], begin: int, end: int) -> Part:
    names: list[str] = []
    data: list[bytes] = []
    errors: list[str | None] = []
    for place, image in enumerate(images[begin:end], begin):
        names.append(name_of(image, place))
        try:
            data.append(encoded(image))
            errors.append(None)
        except InvalidRequest as error:
            errors.append(error.message)
    return Part(tuple(names), tuple(data), tuple(errors))
