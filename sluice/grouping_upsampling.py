"""Bilinear upsampling as torch's `interpolate(mode="bilinear", align_corners=False)` has it, in bands of rows.

The method is defined by that function, and a pixel's group changes where two maps cross, so weights are made in float32
exactly as there. A whole stack of maps at the size of a photo would be gigabytes; a band of rows stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BAND = 64  # rows of the result that are made at once


class Taps(NamedTuple):
    """Where each of n places of a result lies between two places of a source."""

    low: np.ndarray  # int64 [n], index of the source's place before it
    high: np.ndarray  # int64 [n], of the one after it; at the end the same
    weight: np.ndarray  # float32 [n], 0 to 1, of `high`


def taps(source: int, result: int) -> Taps:
    """The taps of a line of `source` places that is resized to `result` places, pixel centres at .5."""
    scale = np.float32(source) / np.float32(result)
    # Torch multiplies and subtracts with one rounding, as float64 rounded once does.
    at = np.maximum(float(scale) * (np.arange(result) + 0.5) - 0.5, 0).astype(np.float32)
    low = np.minimum(at.astype(np.int64), source - 1)
    return Taps(low, np.minimum(low + 1, source - 1), np.minimum(at - low, 1).astype(np.float32))


class Upsampling:
    """Maps at a new size, of which any band of rows can be had. The columns are resized at once, the rows on demand."""

    def __init__(self, maps: np.ndarray, size: tuple[int, int], columns: slice = slice(None)):
        """maps: [..., h, w], taken as float32. size: (H, W) of the result. columns: which of the W are wanted."""
        maps = np.asarray(maps, np.float32)
        self.height, self.width = size
        self._rows = taps(maps.shape[-2], self.height)
        low, high, weight = (part[columns] for part in taps(maps.shape[-1], self.width))
        if maps.shape[-1] == self.width:
            self._wide = maps[..., columns]
        else:
            self._wide = np.take(maps, low, axis=-1)
            self._wide *= 1 - weight
            self._wide += np.take(maps, high, axis=-1) * weight

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop of the result: float32 [..., stop - start, columns]."""
        low, high, weight = (part[start:stop] for part in self._rows)
        band = np.take(self._wide, low, axis=-2)
        band *= (1 - weight)[:, None]
        band += np.take(self._wide, high, axis=-2) * weight[:, None]
        return band


def bands(stop: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """(start, stop) of all rows from start to stop, BAND at a time."""
    for low in range(start, stop, BAND):
        yield low, min(low + BAND, stop)


def reach(first: int, last: int, source: int, result: int) -> slice:
    """The places of a resized line into which the places first to last of its source, both included, go."""
    low, high, _ = taps(source, result)
    return slice(int(np.searchsorted(high, first)), int(np.searchsorted(low, last, side="right")))


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[..., h, w] -> float32 [..., H, W], whole."""
    return Upsampling(maps, size).rows(0, size[0])


def strongest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which of G maps [G, h, w] is greatest at each pixel of a larger size; ties go to the first.

    Returns uint8 [H, W]; G is at most 256.
    """
    upsampled = Upsampling(maps, size)
    winner = np.zeros(size, np.uint8)
    for start, stop in bands(size[0]):
        band = upsampled.rows(start, stop)
        best, place = band[0], winner[start:stop]
        for group in range(1, len(band)):
            place[band[group] > best] = group
            np.maximum(best, band[group], out=best)
    return winner
