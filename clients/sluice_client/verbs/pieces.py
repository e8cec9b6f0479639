"""Cuts the many images, or ids of stored frames, that a caller gives to a verb into calls of bounded size."""

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

__all__ = ["Piece", "cut", "cut_images", "listed", "names", "tensors"]

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """The images, or the ids of stored frames, of one call.

    names:  of all of them: an id or a path as it was given; of encoded bytes their place in the caller's whole list.
    images: the encoded bytes of those images that could be read; empty for ids.
    errors: one entry per name: why the image could not be read, or None if it was read.
    stored: True if the names are ids of stored frames.
    """

    names: tuple[str, ...]
    images: tuple[bytes, ...]
    errors: tuple[str | None, ...]
    stored: bool = False

    def tensors(self, verb: str) -> dict[str, np.ndarray] | None:
        """Return the tensor IMAGES or IDS; None if no image could be read, so that there is nothing to send."""
        if self.stored:
            return tensors(verb, None, self.names)
        return tensors(verb, self.images, None) if self.images else None

    def sizes(self) -> list[tuple[int | None, int | None]]:
        """Return (width, height) in pixels of everything that is sent; None if the client does not know them."""
        return [(None, None)] * len(self.names) if self.stored else list(map(_size, self.images))

    def readable(self) -> list[str]:
        """Return the names of what is sent: all but the images that could not be read."""
        return [name for name, error in zip(self.names, self.errors, strict=True) if error is None]

    def merge(self, answers: Sequence[T], failed: Callable[[str, str], T]) -> list[T]:
        """Return one answer per name, in order.

        answers: of the server, one per name of `readable`.
        failed:  makes the answer for an image that could not be read, from its name and the error.
        """
        coming = iter(answers)
        return [
            next(coming) if error is None else failed(name, error)
            for name, error in zip(self.names, self.errors, strict=True)
        ]


def cut(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None, count: int) -> Iterator[Piece]:
    """Cut images or ids, whichever of the two is given, into pieces of at most `count`.

    Files are read when their piece is drawn. Raises InvalidRequest at once for images, ids or a count that cannot be.
    """
    _one_of(verb, images, ids)
    if ids is None:
        return cut_images(verb, () if images is None else images, count)
    checked, most = names(ids), whole("batch", count, 1)
    parts = (tuple(checked[begin : begin + most]) for begin in range(0, len(checked), most))
    return (Piece(part, (), (None,) * len(part), stored=True) for part in parts)


def cut_images(verb: str, images: Sequence[ImageLike], count: int) -> Iterator[Piece]:
    """Cut images into pieces of at most `count`. Files are read when their piece is drawn."""
    given, most = listed(verb, images), whole("batch", count, 1)
    return (_read(given, begin, begin + most) for begin in range(0, len(given), most))


def _read(images: Sequence[ImageLike], begin: int, end: int) -> Piece:
    found: list[str] = []
    data: list[bytes] = []
    errors: list[str | None] = []
    for place, image in enumerate(images[begin:end], begin):
        found.append(name_of(image, place))
        try:
            data.append(encoded(image))
            errors.append(None)
        except InvalidRequest as error:
            errors.append(error.message)
    return Piece(tuple(found), tuple(data), tuple(errors))


def tensors(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Return the tensor IMAGES or IDS. Raises InvalidRequest unless exactly one of the two arguments is given."""
    _one_of(verb, images, ids)
    if images is not None:
        return {"IMAGES": strings(encoded(image) for image in listed(verb, images))}
    return {"IDS": strings(names(() if ids is None else ids))}


def listed(verb: str, images: Sequence[ImageLike]) -> Sequence[ImageLike]:
    """Return the images. Raises InvalidRequest unless they are a list of at least one; an image alone is no list."""
    if isinstance(images, str | bytes | bytearray | memoryview) or not isinstance(images, Sequence) or not images:
        raise InvalidRequest(f"`{verb}` needs a list of at least one image; got {images!r:.40}.")
    return images


def names(ids: Sequence[str]) -> list[str]:
    """Return the ids. Raises InvalidRequest unless they are a list of at least one text, none of them empty."""
    found = texts("ids", ids, least=1, of="id")
    if not all(found):
        raise InvalidRequest(f"No id may be empty; number {found.index('')} of ids is.")
    return found


def _one_of(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None) -> None:
    """Raise InvalidRequest unless exactly one of the two is given."""
    if (images is None) == (ids is None):
        got = "neither" if images is None else "both"
        raise InvalidRequest(f"`{verb}` needs images or the ids of stored frames; got {got}.")


def _size(data: bytes) -> tuple[int | None, int | None]:
    try:
        return size(data)
    except NotAPicture:
        return None, None  # the server says why
