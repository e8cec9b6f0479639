"""Downscaling by area: each output pixel is the mean of the part of the picture that it covers, rounded once.

Ours of the upscaling networks double. Scales of 4/3 and 3/2 are reached by doubling and then scaling down to 2/3 and
3/4, a scale of 3 by doubling twice and then scaling down to 3/4, unless a network that was imported enlarges so. A
mean over areas keeps the brightness of every region, does not ring, and aliases no more than a box filter.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from sluice.methods.video.planes import Picture

SCALES = {
    "1": Fraction(1),
    "4/3": Fraction(4, 3),
    "3/2": Fraction(3, 2),
    "2": Fraction(2),
    "3": Fraction(3),
    "4": Fraction(4),
}


def scaled(side: int, scale: Fraction) -> int:
    """Return a side times the scale, pixels, rounded to the nearest whole number with halves up; at least 1."""
    return max(1, int(side * scale + Fraction(1, 2)))


def shares(length: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples that each output sample covers, and the share of each in it.

    length, parts: number of samples in and out, length >= parts.
    Returns int64 [parts, K] places and float32 [parts, K] shares that sum to 1 over K. Overlaps are counted in whole
    units of 1 / (length * parts), which makes them exact.
    Raises ValueError for parts outside 1 to length.
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
    """Scale a plane down, uint8 [H, W] or [H, W, C], to height x width; halves round to even.

    Raises ValueError for a side that is larger than before.
    """
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
    """Scale a picture down to height x width, pixels. Raises ValueError for a side that is larger than before."""
    small = (-(-height // 2), -(-width // 2)) if picture.halved else (height, width)
    return Picture(area(picture.luma, height, width), area(picture.chroma, *small), picture.colour)
