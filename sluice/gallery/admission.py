"""What a search costs, known before it is begun, and what is let in.

The cost is counted in products of two numbers, as the scan multiplies them at worst: every cell of every frame that
passed the filters with every cell of every region, and the same again for what the answer shows of each frame found.
A search of more than `most` is refused: the caller can ask for less. Of those of more than `large` only so many run at
a time on a server, whichever of its processes they reach, so that others find a process free.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from sluice.errors import InvalidArgument, Unavailable
from sluice.methods.matching.places import WITNESSES
from sluice.methods.matching.templates import Templates
from sluice.process import slots

Admit = Callable[[float], None]
SLOW = 8  # the windows of an answer are found by products so many times slower than the scan's


def admit_all(products: float) -> None:
    """Let every search in, as where a gallery is searched by one's own program."""


def products(frames: int, cells: float, templates: Templates, shown: int) -> float:
    """How many products a search takes at worst.

    frames: that passed the filters. cells: of all of them. shown: frames of the answer, at most.
    """
    rows, channels = templates.rows.shape
    witnesses = int(np.minimum(templates.sizes, WITNESSES).sum())
    answer = cells / max(frames, 1) * min(shown, frames) * (rows + SLOW * witnesses)
    return channels * (cells * rows + answer)


class Admission:
    """The way in for one request; what it holds is given back at its end."""

    def __init__(self, most: float, large: float, places: int) -> None:
        """most, large: products of a search. places: searches of more than `large` at a time."""
        self._most, self._large, self._places, self._held = most, large, places, ExitStack()

    def __enter__(self) -> Admission:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def admit(self, products: float) -> None:
        """Let a search in. Raises InvalidArgument where it costs too much, Unavailable where others are at work."""
        if products > self._most:
            raise InvalidArgument(
                f"this search takes {products:.1e} products of cells, more than the limit of {self._most:.1e}: "
                f"{products / self._most:.1f} times as many; ask for fewer or smaller regions, fewer frames in the "
                "answer (k), or filter by drives, cameras, tags or time"
            )
        if products > self._large:
            place = slots.take("large search", self._places)
            if place is None:
                raise Unavailable(
                    f"{self._places} search as large as this one is under way ({products:.1e} products of cells, large "
                    f"is more than {self._large:.1e}); try again, or ask for less"
                )
            self._held.enter_context(place)
