"""Many images as calls of bounded size; files are read here, one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .errors import InvalidRequest
from .options import whole
from .query import ImageLike, encoded, name_of

__all__ = ["Part", "listed", "parts"]

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
        raise InvalidRequest(f"`{verb}` needs a list of at least one image; got {images!r:.40}.", status="LOCAL")
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
