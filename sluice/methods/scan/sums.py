"""Check sums of stored frames that cost little beside reading them: the sum of a frame's 64-bit words.

One changed word always shows. Changes that cancel each other do not, such as words that swapped places within a frame,
and neither does one of 2**64 arbitrary damages. `python -m bench scan` measures the cost of the sums; a CRC-32 takes
fifteen times as long, longer than the scan of a small template itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def sums(frames: np.ndarray) -> np.ndarray:
    """Sum up each frame's bytes as little-endian words of 64 bits, modulo 2**64: int64 [n].

    frames: [n, ...] of any type. A frame that is no whole number of words is filled up with zeros.
    """
    flat = np.ascontiguousarray(frames).reshape(len(frames), -1).view(np.uint8)
    lacking = -flat.shape[1] % 8
    if lacking:
        flat = np.pad(flat, ((0, 0), (0, lacking)))
    return flat.view("<i8").sum(axis=1, dtype=np.int64)


@dataclass(frozen=True)
class Sums:
    """The check sums of the frames of a block.

    codes, exact: int64 [n], of codes and features, as `sums` makes them.
    known: bool [n]; a frame whose sums are not known is not checked.
    """

    codes: np.ndarray
    exact: np.ndarray
    known: np.ndarray

    def broken_codes(self, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Tell which codes, uint8 [m, P, C] of these rows, are damaged: bool [m]."""
        return self.known[rows] & (sums(codes) != self.codes[rows])

    def broken_exact(self, features: np.ndarray, row: int) -> bool:
        """Tell whether the features of this row, float16 [P, C], are damaged."""
        return bool(self.known[row] and sums(features[None])[0] != self.exact[row])
