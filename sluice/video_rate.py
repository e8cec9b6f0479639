"""What a stream spends on its frames: a rolling mean of bits over whole groups of pictures.

The first frame of a group is coded by itself and costs many times what the others do, so that a mean is fair over
whole groups alone. Before the first group is over the mean lies between two bounds: as if the group ended now, and as
if it went on for as long as groups are.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SHORTEST = 50  # frames of a window at least, as many whole groups as that takes: two seconds
LONGEST = 300  # frames of a group; where it is longer, or never ends, these are taken for one
_GROUPS = 4  # so many of the last are looked at for how long a group is


class Spent(NamedTuple):
    """Bits a frame. mean: so far; low, high: between these lies the mean of whole groups, unless the rate changes.

    whole: it is that mean, and so are low and high. still: every frame was coded by itself.
    """

    mean: float
    low: float
    high: float
    whole: bool = True
    still: bool = False

    @classmethod
    def of(cls, bits: float, still: bool = False) -> Spent:
        """A mean that is known."""
        return cls(bits, bits, bits, still=still)


class Rate:
    """The rolling mean of a stream of one size. Frames are added in the order of decoding."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, bool]] = deque(maxlen=LONGEST)
        self._sums: deque[float] = deque([0.0], maxlen=LONGEST + 1)  # of all bits until each of them
        self._groups: deque[int] = deque(maxlen=_GROUPS)
        self._count = 0
        self._key = 0  # number of the last frame that was coded by itself

    def add(self, bits: float, key: bool) -> Spent:
        """One more frame, and what is known now. key: it is coded by itself."""
        if key and self._count:
            self._groups.append(self._count - self._key)
        if key:
            self._key = self._count
        self._count += 1
        self._frames.append((bits, key))
        self._sums.append(self._sums[-1] + bits)
        seen = len(self._frames)
        if seen < SHORTEST or (not self._groups and seen < LONGEST):
            return self._bounds()
        # The longest of the last groups: scenes that change begin short ones.
        group = min(max([self._count - self._key, *self._groups]), LONGEST)
        window = group * max(1, min(-(-SHORTEST // group), seen // group))
        still = group == 1 and all(alone for _, alone in list(self._frames)[-window:])
        return Spent.of((self._sums[-1] - self._sums[-1 - window]) / window, still)

    def _bounds(self) -> Spent:
        """Before a group is over."""
        keys = [bits for bits, key in self._frames if key]
        others = [bits for bits, key in self._frames if not key]
        mean = self._sums[-1] / len(self._frames)
        key = sum(keys) / len(keys) if keys else mean
        other = sum(others) / len(others) if others else 0.0
        far = (key + (LONGEST - 1) * other) / LONGEST
        return Spent(mean, min(mean, far), max(mean, far), whole=False)


class Stills:
    """The rolling mean of pictures that are coded each by itself."""

    def __init__(self) -> None:
        self._bits: deque[float | None] = deque(maxlen=SHORTEST)

    def add(self, bits: float | None) -> Spent | None:
        """One more, and what is known now. bits: None where it does not say what was lost, as with PNG."""
        self._bits.append(bits)
        known = [one for one in self._bits if one is not None]
        return Spent.of(sum(known) / len(known), still=True) if known else None
