"""Bilinear upsampling equal to torch's `interpolate(mode="bilinear", align_corners=False)`, in bands of rows.

The method is defined by that function, and the group of a pixel changes where two maps cross, so the weights are made
in float32 exactly as torch makes them. A stack of maps at the size of a photo would take gigabytes; a band of rows
stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sluice.process import callers

BAND = 64  # rows of the result that are made at once


class Taps(NamedTuple):
    """The two places of a source between which each of n places of a result lies.

    low, high: int64 [n], the places of the source before and after; both are the last place at the end.
    weight:    float32 [n], the weight of `high`, 0 to 1.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


@lru_cache(64)  # all classes of an image ask for the same few
def taps(source: int, result: int) -> Taps:
    """Return the taps of a line of `source` places that is resized to `result` places, pixel centres at .5."""
    scale = np.float32(source) / np.float32(result)
    # Torch multiplies and subtracts with one rounding; float64, rounded once, gives the same.
    at = np.maximum(float(scale) * (np.arange(result) + 0.5) - 0.5, 0).astype(np.float32)
    low = np.minimum(at.astype(np.int64), source - 1)
    return Taps(low, np.minimum(low + 1, source - 1), np.minimum(at - low, 1).astype(np.float32))


class Upsampling:
    """Maps at a new size, made band by band of rows; no row is resized before it is asked for."""

    def __init__(self, maps: np.ndarray, size: tuple[int, int], columns: slice = slice(None)):
        """Prepare the taps.

        maps: [..., h, w], taken as float32. size: (H, W) of the result. columns: those of the W columns to be made.
        """
        self._maps = np.asarray(maps, np.float32)
        self.height, self.width = size
        self._rows = taps(self._maps.shape[-2], self.height)
        self._columns: Taps | None = Taps(*(part[columns] for part in taps(self._maps.shape[-1], self.width)))
        if self._maps.shape[-1] == self.width:
            self._maps, self._columns = self._maps[..., columns], None

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows start to stop of the result, float32 [..., stop - start, columns]."""
        low, high, weight = (part[start:stop] for part in self._rows)
        first, last = low[0], high[-1] + 1
        wide = self._maps[..., first:last, :]
        if self._columns is not None:
            wide = _between(wide, self._columns, -1)
        return _between(wide, Taps(low - first, high - first, weight[:, None]), -2)


def _between(maps: np.ndarray, at: Taps, axis: int) -> np.ndarray:
    """Resize maps along one axis. at: taps whose weights broadcast against the result."""
    result = np.take(maps, at.low, axis)
    result *= 1 - at.weight
    upper = np.take(maps, at.high, axis)
    upper *= at.weight
    result += upper
    return result


def bands(stop: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of bands of BAND rows that cover start to stop. Raises Cancelled if the caller has left."""
    watch = callers.Watch(callers.checker())
    for low in range(start, stop, BAND):
        watch()
        yield low, min(low + BAND, stop)


def reach(first: int, last: int, source: int, result: int) -> slice:
    """Return the places of a resized line that depend on the places first to last, both included, of its source."""
    low, high, _ = taps(source, result)
    return slice(int(np.searchsorted(high, first)), int(np.searchsorted(low, last, side="right")))


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps [..., h, w] to size (H, W) as a whole, float32 [..., H, W]."""
    upsampled = Upsampling(maps, size)
    whole = np.empty((*maps.shape[:-2], *size), np.float32)
    for start, stop in bands(size[0]):
        whole[..., start:stop, :] = upsampled.rows(start, stop)
    return whole


def overtake(best: np.ndarray, winner: np.ndarray, scores: np.ndarray, number: int) -> None:
    """Enter scores that exceed the best so far into `best`, and the number of their map into `winner`.

    best, scores: float32 [H, W]. winner: uint8 or uint16 [H, W]. `best` and `winner` are changed in place.
    number: greater than the numbers of all maps before. Ties stay with the earlier map.
    """
    # Numbers grow, so a maximum writes the new number; an assignment under a mask takes ten times as long.
    np.maximum(winner, (scores > best) * winner.dtype.type(number), out=winner)
    np.maximum(best, scores, out=best)


def strongest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the number of the greatest of G maps at each pixel of another size, uint8 [H, W]; ties go to the first.

    maps: [G, h, w], G of 256 or less. size: (H, W).
    """
    upsampled = Upsampling(maps, size)
    winner = np.zeros(size, np.uint8)
    for start, stop in bands(size[0]):
        band = upsampled.rows(start, stop)
        for group in range(1, len(band)):
            overtake(band[0], winner[start:stop], band[group], group)
    return winner
