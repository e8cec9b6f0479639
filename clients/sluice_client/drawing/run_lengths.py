"""Masks as COCO writes them: the lengths of runs of 0 and 1, column by column, as a short text.

    run_lengths.encode(mask)             -> {"size": [H, W], "counts": "..."}
    run_lengths.decode([H, W], counts)   -> mask

Runs of 0 and of 1 alternate, beginning with 0. From the fourth run on, a length is written as its difference from the
length two runs before. Numbers are written in characters of 5 bits, the lowest bits first; a sixth bit tells that more
characters follow. pycocotools reads and writes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UnexpectedAnswer

__all__ = ["decode", "encode"]


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Write a mask, bool [H, W] and not empty, as {"size": [H, W], "counts": text}."""
    line = mask.ravel(order="F")
    ends = np.flatnonzero(line[1:] != line[:-1]) + 1
    counts = np.diff(ends, prepend=0, append=line.size).tolist()
    return {"size": list(mask.shape), "counts": _written([0, *counts] if line[0] else counts)}


def _written(counts: Sequence[int]) -> str:
    """Write the lengths of runs as text."""
    found = bytearray()
    for i, count in enumerate(counts):
        left = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = left & 31
            left >>= 5
            more = left != (-1 if bits & 16 else 0)
            found.append(bits + 48 + (32 if more else 0))
    return found.decode("ascii")


def decode(size: Sequence[int], counts: str) -> np.ndarray:
    """Read a mask, bool [H, W]. Raises UnexpectedAnswer when `counts` does not describe a mask of this size."""
    height, width = size
    lengths = _read(counts)
    if any(length < 0 for length in lengths) or sum(lengths) != height * width:
        raise UnexpectedAnswer(f"The runs of a mask of {width} x {height} pixels should cover it; got {counts[:40]!r}.")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape((height, width), order="F")


def _read(counts: str) -> list[int]:
    """Read the lengths of runs from text. Raises UnexpectedAnswer for other characters and for a cut end."""
    lengths: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise UnexpectedAnswer(
                f"The runs of a mask should be written in characters of 6 bits; got {counts[:40]!r}."
            )
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise UnexpectedAnswer(f"The runs of a mask should end with a whole number; got {counts[-40:]!r}.")
    return lengths
