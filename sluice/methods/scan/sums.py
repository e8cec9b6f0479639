"""Check sums of stored frames that cost little beside what reads them: the sum of a frame's 64-bit words.

One changed word always shows; changes that come to nothing together (words that changed places within a frame) do
not, and of arbitrary damage one in 2**64. `python -m bench scan` measures what they cost; a CRC-32 takes fifteen times
as long, longer than the scan of a small template itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def sums(frames: np.ndarray) -> np.ndarray:
    """Sum up each frame's bytes as little-endian words of 64 bits, modulo 2**64: int64 [n].

    frames: [n, ...], C-contiguous. Where a frame is no whole number of words, zeros follow its bytes.
    """
    flat = np.ascontiguousarray(frames).reshape(len(frames), -1).view(np.uint8)
    lacking = -flat.shape[1] % 8
    if lacking:
        flat = np.pad(flat, ((0, 0), (0, lacking)))
    return flat.view("<i8").sum(axis=1, dtype=np.int64)


@dataclass(frozen=True)
class Sums:
    """What the frames of a block must sum up to. known: [n] bool; a frame that is not known is taken as it comes.

    codes, exact: [n] int64, of `sums`.
    """

    codes: np.ndarray
    exact: np.ndarray
    known: np.ndarray

    def broken_codes(self, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Say which of the codes [m, P, C] of these rows are not those that were stored: [m] bool."""
        return self.known[rows] & (sums(codes) != self.codes[rows])

    def broken_exact(self, features: np.ndarray, row: int) -> bool:
        """Say whether the features [P, C] of this row are not those that were stored."""
        return bool(self.known[row] and sums(features[None])[0] != self.exact[row])
