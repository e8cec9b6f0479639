"""What a verb looks at: images, or frames that are stored already; many of them cut into calls of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InvalidRequest
from .parts import Part, parts
from .pictures import NotAPicture, size
from .query import ImageLike, encoded
from .tensors import strings

__all__ = ["Piece", "known", "names", "pieces", "tensors"]


def names(ids: Sequence[str]) -> list[str]:
    """The ids. Raises InvalidRequest unless they are a list of at least one text, none of them empty."""
    if isinstance(ids, str) or not ids or not all(isinstance(one, str) and one for one in ids):
        raise InvalidRequest(
            f"ids must be a list of at least one id, none of them empty; got {ids!r:.80}.", status="LOCAL"
        )
    return list(ids)


def tensors(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None) -> dict[str, np.ndarray]:
    """IMAGES or IDS. Raises InvalidRequest unless exactly one of the two is given."""
    _one_of(verb, images, ids)
    if images is not None:
        return {"IMAGES": strings(encoded(image) for image in images)}
    return {"IDS": strings(names(ids or ()))}


def _one_of(verb: str, images: Sequence[ImageLike] | None, ids: Sequence[str] | None) -> None:
    if (images is None) == (ids is None):
        got = "neither" if images is None else "both"
        raise InvalidRequest(f"`{verb}` needs images or the ids of stored frames; got {got}.", status="LOCAL")


def known(verb: str, options: Sequence[str], given: object) -> None:
    """Raises InvalidRequest for a name among `given` that is none of the verb's options."""
    for name in given:  # type: ignore[attr-defined]
        if name not in options:
            raise InvalidRequest(f"`{verb}` knows {', '.join(options)}; got {name!r}.", status="LOCAL")


@dataclass(frozen=True)
class Piece:
    """What one call looks at: some images, or some ids of stored frames.

    part: the images, or the ids as names without bytes. stored: whether these are ids.
    """

    part: Part
    stored: bool = False

    def sent(self) -> dict[str, Sequence[ImageLike] | Sequence[str]] | None:
        """As the keywords images or ids; None when none of the images could be read."""
        if self.stored:
            return {"ids": self.part.names}
        return {"images": self.part.images} if self.part.images else None

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
        return (Piece(part) for part in parts(verb, images or (), count))
    if count < 1:
        raise InvalidRequest(f"batch must be at least 1; got {count}.", status="LOCAL")
    checked = names(ids)
    cut = (tuple(checked[begin : begin + count]) for begin in range(0, len(checked), count))
    return (Piece(Part(some, (), (None,) * len(some)), stored=True) for some in cut)
