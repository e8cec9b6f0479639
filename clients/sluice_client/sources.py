"""What a verb looks at: images, or frames that are stored already; many of them cut into calls of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InvalidRequest
from .options import texts, whole
from .parts import Part, listed, parts
from .pictures import NotAPicture, size
from .query import ImageLike, encoded
from .tensors import strings

__all__ = ["Piece", "names", "pieces", "tensors"]


def names(ids: Sequence[str]) -> list[str]:
    """The ids. Raises InvalidRequest unless they are a list of at least one text, none of them empty."""
    found = texts("ids", ids, least=1, of="id")
    if not all(found):
        raise InvalidRequest(f"No id may be empty; number {found.index('')} of ids is.", status="LOCAL")
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
        raise InvalidRequest(f"`{verb}` needs images or the ids of stored frames; got {got}.", status="LOCAL")


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
