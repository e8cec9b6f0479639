"""Makes fixed noise that tiles: the grain of surfaces and the cover of clouds. Scenes look into it at
different places."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

TILE = 512  # pixels; a power of two, so that a bit mask wraps an index


def _octaves(seed: int, octaves: tuple[tuple[int, float], ...]) -> np.ndarray:
    """Return a sum of smooth noise, float32 [TILE, TILE], mean 0, deviation 1. octaves: (cells across the tile,
    weight)."""
    rng = np.random.default_rng(seed)
    total = np.zeros((TILE, TILE), np.float32)
    for cells, weight in octaves:
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        scale = TILE // cells
        side = (cells + 4) * scale
        smooth = np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))
        total += weight * smooth[2 * scale : 2 * scale + TILE, 2 * scale : 2 * scale + TILE]
    return (total - total.mean()) / total.std()


@cache
def grain() -> np.ndarray:
    """Return surface texture, float32 [TILE * TILE], mean 0, deviation 1."""
    return _octaves(20, ((16, 0.30), (64, 0.40), (128, 0.5), (512, 0.75))).ravel()


@cache
def cover() -> np.ndarray:
    """Return cloud cover, float32 [TILE * TILE] in 0-1."""
    return np.clip(0.5 + 0.4 * _octaves(21, ((4, 1.0), (8, 0.6), (16, 0.35), (64, 0.16))), 0, 1).ravel()


@cache
def _speckle() -> np.ndarray:
    return np.random.default_rng(22).standard_normal((2 * TILE, 2 * TILE), dtype=np.float32)


def speckle(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return white noise, float32 [height, width], deviation 1: a piece of a fixed field, which costs nothing
    to make."""
    field = _speckle()
    times = (-(-height // len(field)), -(-width // len(field)))
    if times != (1, 1):
        field = np.tile(field, times)
    y, x = (int(rng.integers(0, size - wanted + 1)) for size, wanted in zip(field.shape, (height, width), strict=True))
    return field[y : y + height, x : x + width]


def look(table: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return values of a tile at whole positions (int32, any shape, any range)."""
    return table[(row & (TILE - 1)) * TILE + (column & (TILE - 1))]
