"""Latents, from which trajectories begin: noise that depends on its seed alone, and points between two latents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument

SEEDS = 2**64
PARALLEL = 1e-6  # radians; below this angle the straight line is the arc, to rounding


def noise(seeds: Iterable[int], shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """Make standard normal noise x_1 for each seed, [len(seeds), *shape] of `dtype`.

    seeds: whole numbers from 0 to 2^64 - 1. The values of a seed do not depend on the other seeds of the batch.

    Each seed keys a Philox counter of its own; pairs of its 64-bit words become pairs of normal numbers (Box and
    Muller). The algorithm fixes the words, so a seed gives the same noise with every version of NumPy; NumPy does not
    promise that of its own normal numbers.

    Raises InvalidArgument for a seed that is no whole number in that range.
    Sources: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011; Box, Muller, 1958.
    """
    count = int(np.prod(shape, dtype=np.int64))
    found = [_normal(_seed(seed), count).reshape(tuple(shape)) for seed in seeds]
    return np.stack(found).astype(dtype) if found else np.empty((0, *shape), dtype)


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= int(seed) < SEEDS:
        raise InvalidArgument(f"a seed is a whole number from 0 to {SEEDS - 1} (64 bits), got {seed!r}")
    return int(seed)


def _normal(seed: int, count: int) -> np.ndarray:
    pairs = (count + 1) // 2
    words = np.random.Philox(key=np.array([seed, 0], np.uint64)).random_raw(2 * pairs).reshape(pairs, 2)
    # The upper 53 bits. Adding 1/2 keeps the first number of a pair above 0, which has no logarithm.
    unit = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(unit[:, 0])), 2 * np.pi * unit[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]


def slerp(one: np.ndarray, other: np.ndarray, shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return latents on the great circle from `one` (share 0) to `other` (share 1), [n, ...] of the type of `one`.

    one, other: float [...], a latent x_1 each. shares: [n] numbers from 0 to 1.
    Between two latents of unit variance all latents on the circle have unit variance, as the network expects.

    Raises InvalidArgument for latents of different shapes, of zero length, not finite or opposite (many great circles
    join opposite latents), and for shares outside 0 to 1.
    Source: Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    one, other = np.asarray(one), np.asarray(other)
    shares = np.asarray(shares, np.float64)
    if one.shape != other.shape:
        raise InvalidArgument(f"two latents of one shape are needed, got {list(one.shape)} and {list(other.shape)}")
    if shares.ndim != 1 or not np.all((shares >= 0) & (shares <= 1)):
        raise InvalidArgument(f"shares are numbers from 0 to 1, got {shares.tolist()}")
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if not np.all(np.isfinite(lengths)) or min(lengths) == 0:
        raise InvalidArgument("latents are finite and not all zero; these have lengths {:g} and {:g}".format(*lengths))
    u, v = a / lengths[0], b / lengths[1]
    # By half chords: accurate at both ends, where the arc cosine loses half of its digits.
    theta = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
    if np.pi - theta < PARALLEL:
        raise InvalidArgument("the two latents are opposite: no way between them is the shortest; take another seed")
    if theta < PARALLEL:
        weights = 1 - shares, shares
    else:
        weights = np.sin((1 - shares) * theta) / np.sin(theta), np.sin(shares * theta) / np.sin(theta)
    way = weights[0][:, None] * a + weights[1][:, None] * b
    return way.reshape(len(shares), *one.shape).astype(one.dtype if one.dtype.kind == "f" else np.float64)
