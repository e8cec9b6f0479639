"""Downscaling by area: each output pixel is the mean of the part of the picture that it covers, to one rounding.

With a network that doubles, 4/3 and 3/2 are twice the size and then 2/3 and 3/4 of that. A mean over areas keeps the
brightness of every region and neither rings nor aliases more than a box does.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from sluice.methods.video.planes import Picture

SCALES = {"1": Fraction(1), "4/3": Fraction(4, 3), "3/2": Fraction(3, 2), "2": Fraction(2)}


def scaled(side: int, scale: Fraction) -> int:
    """A side times the scale, to the nearest whole number, halves up; at least 1."""
    return max(1, int(side * scale + Fraction(1, 2)))


def shares(length: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Which samples an output sample covers, and how much of each.

    length, parts: samples in and out, length >= parts.
    Returns int64 [parts, K] places and float32 [parts, K] shares that sum to 1. The overlaps are counted in whole
    units of 1 / (length * parts), so that they are exact.
    """
    if not 1 <= parts <= length:
        raise ValueError(f"{length} samples can be scaled down to 1..{length} by area, not to {parts}")
    begin = np.arange(parts) * length  # in units of 1/parts of an input sample
    first = begin // parts
    most = int(((begin + length - 1) // parts - first).max()) + 1
    places = first[:, None] + np.arange(most)
    low = np.maximum(begin[:, None], places * parts)
    high = np.minimum(begin[:, None] + length, (places + 1) * parts)
    return np.minimum(places, length - 1), ((high - low).clip(0) / length).astype(np.float32)


def area(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, C] -> uint8 of height x width, neither side larger than before; halves round to even."""
    if plane.shape[:2] == (height, width):
        return plane
    values: np.ndarray = plane
    for axis, parts in ((0, height), (1, width)):
        if values.shape[axis] == parts:
            continue
        places, weights = shares(values.shape[axis], parts)
        shape = [1] * values.ndim
        shape[axis] = parts
        total = np.zeros((*values.shape[:axis], parts, *values.shape[axis + 1 :]), np.float32)
        for place, weight in zip(places.T, weights.T, strict=True):
            total += values.take(place, axis) * weight.reshape(shape)
        values = total
    return np.rint(values).astype(np.uint8)


def resized(picture: Picture, height: int, width: int) -> Picture:
    """The picture at a size of which neither side is larger than its own."""
    small = (-(-height // 2), -(-width // 2)) if picture.halved else (height, width)
    return Picture(area(picture.luma, height, width), area(picture.chroma, *small), picture.colour)
