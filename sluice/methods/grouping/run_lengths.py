"""Writes masks as COCO's compressed run lengths, a few hundred bytes per class instead of an image.

A mask is read column by column; the runs of 0 and 1 take turns, beginning with 0. Each length is written as its
difference from the length two before it, in characters of 5 bits, the least first. The sixth bit says that more
characters follow. Any tool that reads COCO takes the result as `segmentation`.

Source: the format of the COCO API, Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH = 7  # characters of 5 bits that a length can need: lengths are below 2^31


def runs(labels: np.ndarray) -> dict[int, dict[str, Any]]:
    """Return the mask of every label that occurs, from one pass over the map of labels.

    labels: [H, W] of an unsigned type, not empty.
    Returns {label: {"size": [H, W], "counts": text}}, labels rising.
    """
    height, width = labels.shape
    line = np.asfortranarray(labels).reshape(-1, order="F")
    starts = np.concatenate([[0], np.flatnonzero(line[1:] != line[:-1]) + 1])
    stops = np.append(starts[1:], line.size)
    names = line[starts]
    order = np.argsort(names, kind="stable")
    found: dict[int, dict[str, Any]] = {}
    values, firsts = np.unique(names[order], return_index=True)
    for value, own in zip(values, np.split(order, firsts[1:]), strict=True):
        # Two runs of one label never touch, so the ends of all runs alternate between 0 and 1.
        edges = np.stack([starts[own], stops[own]], axis=1).ravel()
        counts = np.diff(edges, prepend=0)
        if edges[-1] < line.size:
            counts = np.append(counts, line.size - edges[-1])
        found[int(value)] = {"size": [height, width], "counts": compress(counts)}
    return found


def compress(counts: np.ndarray) -> str:
    """Write lengths of runs, int64 [n], as COCO's text."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    # A number ends when only sign bits are left and the sign bit of its last character equals them.
    shifts = 5 * np.arange(WIDTH)
    digits = (values[:, None] >> shifts) & 31
    left = values[:, None] >> (shifts + 5)
    more = np.where(digits & 16, left != -1, left != 0)
    needed = np.ones(more.shape, bool)
    needed[:, 1:] = np.logical_and.accumulate(more[:, :-1], axis=1)
    characters = (digits + np.where(more, 32, 0) + 48).astype(np.uint8)
    return characters[needed].tobytes().decode("ascii")
