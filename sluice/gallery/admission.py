"""Estimates what a search costs before it begins, and decides whether it is let in.

The cost is counted in products of two numbers, as the scan multiplies them at worst: every cell of every frame that
passes the filters times every cell of every region, and the same again for the windows of each frame in the answer.
A search of more than `most` products is refused, because the caller can ask for less. Of the searches of more than
`large` products only a few run at a time on a server, whichever of its processes they reach, so that other searches
find a process free.
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
SLOW = 8  # how many times slower the products are that find the windows of an answer


def admit_all(products: float) -> None:
    """Let every search in, as when a program searches a gallery of its own."""


def products(frames: int, cells: float, templates: Templates, shown: int) -> float:
    """Return how many products a search takes at worst.

    frames: how many frames pass the filters. cells: the cells of all of them. shown: most frames in the answer.
    """
    rows, channels = templates.rows.shape
    witnesses = int(np.minimum(templates.sizes, WITNESSES).sum())
    answer = cells / max(frames, 1) * min(shown, frames) * (rows + SLOW * witnesses)
    return channels * (cells * rows + answer)


class Admission:
    """The admission of one request. The place that it holds is given back at its end."""

    def __init__(self, most: float, large: float, places: int) -> None:
        """most, large: products of one search. places: how many searches of more than `large` run at a time."""
        self._most, self._large, self._places, self._held = most, large, places, ExitStack()

    def __enter__(self) -> Admission:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def admit(self, products: float) -> None:
        """Let a search in. Raises InvalidArgument if it costs too much, Unavailable if others hold all places."""
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
