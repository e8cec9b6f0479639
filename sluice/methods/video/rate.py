"""Rates: a rolling mean of the bits that a stream spends on its frames, over whole groups of pictures.

The first frame of a group is coded by itself and costs many times the bits of the others. So only a mean over whole
groups is fair: over one such frame and the others of its group, wherever in a group the window ends, and even if cuts
have begun groups early. Before the first group has ended the mean lies between two bounds: that of a group that ends
now, and that of a group of the greatest length.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SHORTEST = 50  # least frames of a window, two seconds
LONGEST = 300  # most frames of a group; a group that is longer or never ends counts as one of this length
_GROUPS = 4  # the length of a group is that of the longest of the last few


class Spent(NamedTuple):
    """Bits per frame of a stream.

    mean:      over the frames so far, or over whole groups.
    low, high: bounds of the mean over whole groups, for as long as the rate does not change.
    whole:     whether `mean` is that over whole groups; low and high are equal to it then.
    still:     whether every frame was coded by itself.
    """

    mean: float
    low: float
    high: float
    whole: bool = True
    still: bool = False

    @classmethod
    def of(cls, bits: float, still: bool = False) -> Spent:
        """Return a rate whose mean over whole groups is known."""
        return cls(bits, bits, bits, still=still)


class _Sums(NamedTuple):
    """Sums over the first frames of a stream; those with `alone` count only the frames coded by themselves."""

    frames: int = 0
    bits: float = 0.0
    frames_alone: int = 0
    bits_alone: float = 0.0


class Rate:
    """The rolling mean of a stream of one size. Frames are added in the order in which they are decoded."""

    def __init__(self) -> None:
        self._sums: deque[_Sums] = deque([_Sums()], maxlen=LONGEST + 1)
        self._groups: deque[int] = deque(maxlen=_GROUPS)
        self._begun = 0  # number of the last frame that was coded alone

    def add(self, bits: float, alone: bool) -> Spent:
        """Add a frame, and return the rate that is known now.

        bits: spent on the frame. alone: whether it was coded by itself.
        """
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
        """Return the mean over a group of so many frames, judged by the last `window` frames.

        If the window has no frame of one kind, the group is taken to have none either.
        """
        now, then = self._sums[-1], self._sums[-1 - window]
        alone = now.frames_alone - then.frames_alone
        others = now.frames - then.frames - alone
        first = (now.bits_alone - then.bits_alone) / alone if alone else 0.0
        other = ((now.bits - now.bits_alone) - (then.bits - then.bits_alone)) / others if others else 0.0
        return other if not alone else (first + (group - 1) * other) / group


class Stills:
    """The rolling mean over pictures that are coded by themselves, such as JPEGs."""

    def __init__(self) -> None:
        self._bits: deque[float | None] = deque(maxlen=SHORTEST)

    def add(self, bits: float | None) -> Spent | None:
        """Add a picture, and return the rate that is known now, None if it is not known.

        bits: spent on the picture; None if they do not tell the loss, as for a PNG.
        """
        self._bits.append(bits)
        known = [one for one in self._bits if one is not None]
        return Spent.of(sum(known) / len(known), still=True) if known else None
