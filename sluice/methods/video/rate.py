"""What a stream spends on its frames: a rolling mean of bits over whole groups of pictures.

The first frame of a group is coded by itself and costs many times what the others do, so that a mean is fair over
whole groups alone: of one such frame and as many others as belong to it, wherever in a group the window ends, and
however many groups a cut has begun early. Before the first group is over the mean lies between two bounds: as if the
group ended now, and as if it went on for as long as groups are.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SHORTEST = 50  # frames of a window at least: two seconds
LONGEST = 300  # frames of a group; where it is longer, or never ends, these are taken for one
_GROUPS = 4  # the longest of so many of the last is how long a group is


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


class _Sums(NamedTuple):
    """Of all frames until one of them. alone: of those that were coded by themselves."""

    frames: int = 0
    bits: float = 0.0
    frames_alone: int = 0
    bits_alone: float = 0.0


class Rate:
    """The rolling mean of a stream of one size. Frames are added in the order of decoding."""

    def __init__(self) -> None:
        self._sums: deque[_Sums] = deque([_Sums()], maxlen=LONGEST + 1)
        self._groups: deque[int] = deque(maxlen=_GROUPS)
        self._begun = 0  # number of the last frame that was coded alone

    def add(self, bits: float, alone: bool) -> Spent:
        """One more frame, and what is known now. alone: it was coded by itself."""
        last = self._sums[-1]
        if alone and last.frames:
            self._groups.append(last.frames - self._begun)
        if alone:
            self._begun = last.frames
        self._sums.append(
            _Sums(last.frames + 1, last.bits + bits, last.frames_alone + alone, last.bits_alone + alone * bits)
        )
        seen = len(self._sums) - 1
        if seen < SHORTEST or (not self._groups and seen < LONGEST):
            now, then = self._mean(seen, seen), self._mean(seen, LONGEST)
            mean = self._sums[-1].bits / seen
            return Spent(mean, min(mean, now, then), max(mean, now, then), whole=False)
        group = min(max([last.frames + 1 - self._begun, *self._groups]), LONGEST)
        window = min(seen, max(SHORTEST, group))
        still = self._sums[-1].frames_alone - self._sums[-1 - window].frames_alone == window
        return Spent.of(self._mean(window, group), still)

    def _mean(self, window: int, group: int) -> float:
        """Of a group of so many frames, by the last of them. What was not seen costs nothing."""
        now, then = self._sums[-1], self._sums[-1 - window]
        alone = now.frames_alone - then.frames_alone
        others = now.frames - then.frames - alone
        first = (now.bits_alone - then.bits_alone) / alone if alone else 0.0
        other = ((now.bits - now.bits_alone) - (then.bits - then.bits_alone)) / others if others else 0.0
        return other if not alone else (first + (group - 1) * other) / group


class Stills:
    """The rolling mean of pictures that are coded each by itself."""

    def __init__(self) -> None:
        self._bits: deque[float | None] = deque(maxlen=SHORTEST)

    def add(self, bits: float | None) -> Spent | None:
        """One more, and what is known now. bits: None where it does not say what was lost, as with PNG."""
        self._bits.append(bits)
        known = [one for one in self._bits if one is not None]
        return Spent.of(sum(known) / len(known), still=True) if known else None
