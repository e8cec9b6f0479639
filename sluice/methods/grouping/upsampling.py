"""Bilinear upsampling as torch's `interpolate(mode="bilinear", align_corners=False)` has it, in bands of rows.

The method is defined by that function, and a pixel's group changes where two maps cross, so weights are made in float32
exactly as there. A whole stack of maps at the size of a photo would be gigabytes; a band of rows stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sluice.process import callers

BAND = 64  # rows of the result that are made at once


class Taps(NamedTuple):
    """Where each of n places of a result lies between two places of a source."""

    low: np.ndarray  # int64 [n], index of the source's place before it
    high: np.ndarray  # int64 [n], of the one after it; at the end the same
    weight: np.ndarray  # float32 [n], 0 to 1, of `high`


@lru_cache(64)  # every class of a picture asks for the same few
def taps(source: int, result: int) -> Taps:
    """The taps of a line of `source` places that is resized to `result` places, pixel centres at .5."""
    scale = np.float32(source) / np.float32(result)
    # Torch multiplies and subtracts with one rounding, as float64 rounded once does.
    at = np.maximum(float(scale) * (np.arange(result) + 0.5) - 0.5, 0).astype(np.float32)
    low = np.minimum(at.astype(np.int64), source - 1)
    return Taps(low, np.minimum(low + 1, source - 1), np.minimum(at - low, 1).astype(np.float32))


class Upsampling:
    """Maps at a new size, of which any band of rows can be had; nothing is resized before it is asked for."""

    def __init__(self, maps: np.ndarray, size: tuple[int, int], columns: slice = slice(None)):
        """maps: [..., h, w], taken as float32. size: (H, W) of the result. columns: which of the W are wanted."""
        self._maps = np.asarray(maps, np.float32)
        self.height, self.width = size
        self._rows = taps(self._maps.shape[-2], self.height)
        self._columns: Taps | None = Taps(*(part[columns] for part in taps(self._maps.shape[-1], self.width)))
        if self._maps.shape[-1] == self.width:
            self._maps, self._columns = self._maps[..., columns], None

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop of the result: float32 [..., stop - start, columns]."""
        low, high, weight = (part[start:stop] for part in self._rows)
        first, last = low[0], high[-1] + 1
        wide = self._maps[..., first:last, :]
        if self._columns is not None:
            wide = _between(wide, self._columns, -1)
        return _between(wide, Taps(low - first, high - first, weight[:, None]), -2)


def _between(maps: np.ndarray, at: Taps, axis: int) -> np.ndarray:
    """Maps resized along one axis; the weights are as wide as they must be to be multiplied with the result."""
    result = np.take(maps, at.low, axis)
    result *= 1 - at.weight
    upper = np.take(maps, at.high, axis)
    upper *= at.weight
    result += upper
    return result


def bands(stop: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """(start, stop) of all rows from start to stop, BAND at a time. Raises Cancelled when the caller has gone."""
    watch = callers.Watch(callers.checker())
    for low in range(start, stop, BAND):
        watch()
        yield low, min(low + BAND, stop)


def reach(first: int, last: int, source: int, result: int) -> slice:
    """The places of a resized line into which the places first to last of its source, both included, go."""
    low, high, _ = taps(source, result)
    return slice(int(np.searchsorted(high, first)), int(np.searchsorted(low, last, side="right")))


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[..., h, w] -> float32 [..., H, W], whole."""
    upsampled = Upsampling(maps, size)
    whole = np.empty((*maps.shape[:-2], *size), np.float32)
    for start, stop in bands(size[0]):
        whole[..., start:stop, :] = upsampled.rows(start, stop)
    return whole


def overtake(best: np.ndarray, winner: np.ndarray, scores: np.ndarray, number: int) -> None:
    """Enter scores into the best so far, and the number of their map into the winners, where they are greater.

    best, scores: float32 [H, W]. winner: uint8 or uint16 [H, W], changed in place as `best` is.
    number: greater than that of every map before, so that ties go to the first.
    """
    # The greatest number is the last, so a maximum writes it; an assignment under a mask takes ten times as long.
    np.maximum(winner, (scores > best) * winner.dtype.type(number), out=winner)
    np.maximum(best, scores, out=best)


def strongest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which of G maps [G, h, w] is greatest at each pixel of a larger size; ties go to the first.

    Returns uint8 [H, W]; G is at most 256.
    """
    upsampled = Upsampling(maps, size)
    winner = np.zeros(size, np.uint8)
    for start, stop in bands(size[0]):
        band = upsampled.rows(start, stop)
        for group in range(1, len(band)):
            overtake(band[0], winner[start:stop], band[group], group)
    return winner
