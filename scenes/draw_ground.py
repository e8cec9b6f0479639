"""Draws the ground: road, kerbs, pavements, verges, and the paint on the road."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scenes.colours import Colour
from scenes.shapes import Builder, Model, Pair

PAINT = (0.80, 0.80, 0.77)
YELLOW = (0.72, 0.58, 0.18)


def _strip(build: Builder, x0: float, x1: float, z0: float, z1: float, colour: Colour) -> int:
    return build.face([(x0, 0.0, z0), (x1, 0.0, z0), (x1, 0.0, z1), (x0, 0.0, z1)], colour, outside=(x0, 9.0, z0))


def plain(x0: float, x1: float, z0: float, z1: float, colour: Colour) -> Model:
    """Return a flat piece of ground, cut every 40 m so that near and far parts sort rightly."""
    build = Builder()
    _strip(build, x0, x1, z0, z1, colour)
    return build.freeze()


def kerbs(half: float, z0: float, z1: float, gaps: Sequence[Pair]) -> Model:
    """Return kerb stones along both edges of a road of half width `half`, except in the gaps (z0, z1) of side roads."""
    build = Builder()
    pieces, start = [], z0
    for a, b in sorted(gaps):
        pieces.append((start, a))
        start = b
    pieces.append((start, z1))
    for a, b in pieces:
        if b > a:
            for side in (-1, 1):
                x0, x1 = sorted((side * half, side * (half + 0.16)))
                _strip(build, x0, x1, a, b, (0.60, 0.59, 0.57))
                face = [(side * half, 0, a), (side * half, 0, b), (side * half, 0.11, b), (side * half, 0.11, a)]
                build.face(face, (0.38, 0.37, 0.36), outside=(0, 0.05, (a + b) / 2))
    return build.freeze()


def marks(
    rng: np.random.Generator,
    half: float,
    z0: float,
    z1: float,
    *,
    kerbside: int,
    gaps: Sequence[Pair],
    zebras: Sequence[float],
    stops: Sequence[float],
    driving: int,
) -> Model | None:
    """Return the paint on the road: centre dashes, lines at the kerb (kerbside 0 none, 1 white, 2 yellow), zebras,
    stops.

    driving: -1 on the left, 1 on the right; a stop line crosses the lane of the camera's direction. Returns None
    without paint.
    """
    build = Builder()
    dash, pause = ((3.0, 6.0), (4.0, 2.0), (2.0, 4.0))[rng.integers(3)]
    width = rng.uniform(0.05, 0.09)

    def free(a: float, b: float) -> bool:
        return all(b < g0 or a > g1 for g0, g1 in gaps) and all(abs((a + b) / 2 - z) > 4 for z in zebras)

    z = z0 + rng.uniform(0, dash)
    while z < z1:
        if free(z, z + dash):
            _strip(build, -width, width, z, z + dash, PAINT)
        z += dash + pause
    if kerbside:
        for start in np.arange(z0, z1, 10.0):
            if free(start, start + 10):
                for side in (-1, 1):
                    for line in range(kerbside):
                        x = side * (half - 0.25 - 0.2 * line)
                        _strip(build, x - 0.045, x + 0.045, start, start + 10, PAINT if kerbside == 1 else YELLOW)
    for z in zebras:
        for x in np.arange(-half + 0.3, half - 0.3, 1.1):
            _strip(build, x, x + 0.55, z - 1.4, z + 1.4, PAINT)
    for z in stops:
        lane = driving * half
        _strip(build, min(0, lane), max(0, lane), z - 0.15, z + 0.15, PAINT)
    if not build.shapes:
        return None
    return build.freeze()


def patches(rng: np.random.Generator, half: float, z0: float, z1: float, tone: float) -> Model:
    """Return repairs, manholes and seams on the road."""
    build = Builder()
    for _ in range(int((z1 - z0) / 6)):
        x, z = rng.uniform(-half, half - 0.6), rng.uniform(z0, z1)
        kind = rng.random()
        shade = tone * rng.uniform(0.75, 1.2)
        if kind < 0.4:
            _strip(
                build, x, min(half, x + rng.uniform(0.5, 2.2)), z, z + rng.uniform(0.8, 7), (shade, shade, shade * 1.02)
            )
        elif kind < 0.7:
            turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            build.face(
                [(x + 0.33 * np.cos(t), 0, z + 0.33 * np.sin(t)) for t in turn], (tone * 0.6,) * 3, outside=(x, 9, z)
            )
        else:
            _strip(build, x, x + 0.06, z, z + rng.uniform(5, 20), (tone * 0.7,) * 3)
    _strip(build, -0.01, 0.01, z0, z1, (tone * 0.85,) * 3)
    return build.freeze()
