"""Draws street trees, in leaf or bare, and hedges."""

from __future__ import annotations

import numpy as np

from scenes.colours import Colour, one_of, scaled, tinted
from scenes.shapes import Builder, Model

LEAVES = (
    (0.20, 0.32, 0.12), (0.26, 0.36, 0.14), (0.16, 0.27, 0.13), (0.34, 0.38, 0.15), (0.42, 0.34, 0.13),
    (0.13, 0.22, 0.11),
)  # fmt: skip
BARK = (0.24, 0.19, 0.15)
FULL = 260  # leaves of a tree nearby


def tree(rng: np.random.Generator, sun: np.ndarray, *, bare: bool, leaves: int = FULL) -> Model:
    """Return a street tree 5 to 11 m tall; leaves are lighter towards `sun`, a unit vector.

    bare: True draws branches only, as in winter. leaves: a tree far away takes fewer (and larger) ones.
    """
    leaves = max(24, leaves)
    height = rng.uniform(5.0, 11.0)
    crown = height * rng.uniform(0.55, 0.72)
    bark = tinted(rng, BARK, 0.3)
    thick = height * rng.uniform(0.014, 0.024)
    fork = height - crown
    build = Builder()
    build.limb((0, 0, 0), (rng.normal(0, 0.1), fork, rng.normal(0, 0.1)), thick * 1.2, thick, bark)
    if bare:
        _branches(build, rng, fork, crown, thick, bark, levels=3 if leaves < 60 else 5)
    else:
        spread = height * rng.uniform(0.22, 0.36)
        for turn in rng.uniform(0, 2 * np.pi, 4):
            x, z = spread * 0.6 * np.cos(turn), spread * 0.6 * np.sin(turn)
            end = (float(x), fork + crown * rng.uniform(0.3, 0.6), float(z))
            build.limb((0, fork * 0.95, 0), end, thick * 0.7, thick * 0.3, bark)
        _crown(build, rng, sun, fork, crown / 2, spread, leaves)
    return build.freeze()


def _branches(
    build: Builder, rng: np.random.Generator, fork: float, crown: float, thick: float, bark: Colour, levels: int
) -> None:
    """Grow two thinner branches from each, until there are about forty."""
    upright = np.array([rng.normal(0, 0.1), 1.0, rng.normal(0, 0.1)])
    tips = [(np.array([0.0, fork, 0.0]), thick, upright, crown * 0.45)]
    for level in range(levels):
        grown = []
        for start, radius, way, length in tips:
            for _ in range(2 if level else 4):
                turn = way + rng.normal(0, 0.55, 3) * (1.0, 0.5, 1.0)
                turn[1] = max(turn[1], 0.1)
                turn /= np.linalg.norm(turn)
                end = start + turn * length * rng.uniform(0.7, 1.1)
                build.limb(tuple(start.tolist()), tuple(end.tolist()), radius, radius * 0.62, bark)
                grown.append((end, radius * 0.62, turn, length * 0.68))
        tips = grown[:40]


def _crown(
    build: Builder, rng: np.random.Generator, sun: np.ndarray, fork: float, tall: float, spread: float, n: int
) -> None:
    """Add leaves in an egg of half height `tall` and radius `spread` above the fork."""
    leaf = np.array(one_of(rng, LEAVES, 0.2))
    spots = rng.normal(0, 1, (n, 3))
    spots /= np.linalg.norm(spots, axis=1, keepdims=True)
    lobes = rng.normal(0, 1, (6, 3))  # the crown bulges where a bough carries it
    bulge = 0.80 + 0.32 * np.max(spots @ (lobes / np.linalg.norm(lobes, axis=1, keepdims=True)).T, axis=1)
    spots *= rng.uniform(0.15, 1.0, (n, 1)) ** 0.4 * bulge[:, None]
    sizes = rng.uniform(0.07, 0.15, n) * (FULL / n) ** 0.45 * (spread + tall) / 2
    lights = 0.72 + 0.40 * (spots @ sun) + 0.22 * spots[:, 1] + rng.normal(0, 0.13, n)
    centres = spots * (spread, tall, spread) + (0, fork + tall, 0)
    colours = np.minimum(0.9, leaf * np.maximum(0.3, lights)[:, None])
    build.leafage(centres.tolist(), sizes.tolist(), [(r, g, b) for r, g, b in colours.tolist()])


def hedge(rng: np.random.Generator, length: float) -> Model:
    """Return a clipped hedge along z; its face towards the road is x = 0."""
    top = rng.uniform(0.9, 1.8)
    leaf = scaled(one_of(rng, LEAVES), 0.9)
    build = Builder()
    build.box((0, 0, -length / 2), (0.7, top, length / 2), leaf, skip=("bottom",))
    for _ in range(int(length * 6)):
        spot = (rng.uniform(-0.02, 0.3), rng.uniform(0.15, top), rng.uniform(-length / 2, length / 2))
        build.ball(spot, 0.16, 0.14, tinted(rng, leaf, 0.3))
    return build.freeze()
