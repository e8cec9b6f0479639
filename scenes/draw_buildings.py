"""Draws houses, shops and offices: boxes with a roof, and windows, doors and shop fronts painted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenes.colours import Colour, one_of, scaled
from scenes.shapes import Builder, Model

WALLS = (
    (0.52, 0.30, 0.22), (0.58, 0.36, 0.26), (0.66, 0.58, 0.42), (0.72, 0.66, 0.52), (0.84, 0.81, 0.74),
    (0.62, 0.60, 0.56), (0.50, 0.48, 0.46), (0.42, 0.33, 0.27), (0.76, 0.74, 0.72), (0.56, 0.45, 0.34),
    (0.80, 0.74, 0.62),
)  # fmt: skip
BRICK = WALLS[:2]
ROOFS = ((0.30, 0.27, 0.27), (0.38, 0.22, 0.18), (0.26, 0.28, 0.31))
SHOPS = (
    (0.45, 0.08, 0.09), (0.08, 0.16, 0.35), (0.08, 0.28, 0.18), (0.10, 0.10, 0.11), (0.70, 0.50, 0.12),
    (0.75, 0.73, 0.68), (0.30, 0.12, 0.30), (0.15, 0.42, 0.50),
)  # fmt: skip
STONE = (0.80, 0.78, 0.72)
GLASS = (0.13, 0.16, 0.19)
FRONT = -0.02  # metres; details painted on the front stand this far before it


@dataclass(frozen=True)
class Plan:
    """The measures that a building's walls share, metres. wide: along the road; depth: away from the road."""

    wide: float
    depth: float
    storey: float
    storeys: int
    shop: bool
    office: bool
    wall: Colour
    trim: Colour
    lit: float  # share of windows with light at night
    warm: Colour
    far: bool

    @property
    def height(self) -> float:
        return self.storey * self.storeys + 0.6


def building(rng: np.random.Generator, depth: float, wide: float, *, far: bool = False) -> Model:
    """Return a building whose front is x = 0, facing -x towards the road; it is `wide` along z and `depth` deep.

    far: True leaves out frames and goods, for a building too far away for them to show.
    """
    wall = one_of(rng, WALLS, 0.14)
    plan = Plan(
        wide=wide,
        depth=depth,
        storey=rng.uniform(2.9, 3.6),
        storeys=int(rng.integers(2, 5)) if rng.random() < 0.85 else int(rng.integers(5, 8)),
        shop=rng.random() < 0.5,
        office=rng.random() < 0.28,
        wall=wall,
        trim=STONE if rng.random() < 0.6 else scaled(wall, 0.6),
        lit=rng.uniform(0.1, 0.5),
        warm=(1.0, rng.uniform(0.72, 0.9), rng.uniform(0.4, 0.65)),
        far=far,
    )
    build = Builder()
    gable = not plan.office and rng.random() < 0.55
    skip = ("bottom", "right", "top") if gable else ("bottom", "right")
    walls = build.box((0, 0, -wide / 2), (depth, plan.height, wide / 2), wall, skip=skip)
    if gable:
        _gable(build, rng, plan)
    else:
        build.along(FRONT, (-wide / 2, wide / 2), (plan.height - 0.45, plan.height), plan.trim, parent=walls["left"])
    _windows(build, rng, plan, walls["left"])
    if plan.shop:
        _shops(build, rng, plan, walls["left"])
    else:
        _doors(build, rng, plan, walls["left"])
    for face, z in ((walls["back"], -wide / 2), (walls["front"], wide / 2)):
        if rng.random() < 0.6:
            _end(build, rng, plan, face, z)
    return build.freeze()


def _gable(build: Builder, rng: np.random.Generator, plan: Plan) -> None:
    """Add a pitched roof whose ridge runs along the road, often with a chimney."""
    z0, z1, middle = -plan.wide / 2, plan.wide / 2, plan.depth / 2
    ridge, eaves = plan.height + rng.uniform(1.6, 3.2), plan.height - 0.1
    slope = [(-0.35, eaves, z0), (-0.35, eaves, z1), (middle, ridge, z1), (middle, ridge, z0)]
    build.face(slope, one_of(rng, ROOFS, 0.1), outside=(-9, plan.height + 9, 0))
    for z, way in ((z0, -9), (z1, 9)):
        triangle = [(0, plan.height, z), (plan.depth, plan.height, z), (middle, ridge, z)]
        build.face(triangle, plan.wall, outside=(middle, plan.height, way * 9))
    if rng.random() < 0.7:
        z, top = rng.uniform(z0 * 0.8, z1 * 0.8), ridge + rng.uniform(0.4, 1.1)
        low, high = (middle - 0.5, plan.height + 0.5, z - 0.7), (middle + 0.5, top, z + 0.7)
        build.box(low, high, scaled(WALLS[0], 0.85))


def _windows(build: Builder, rng: np.random.Generator, plan: Plan, face: int) -> None:
    columns = max(1, int(plan.wide / rng.uniform(2.0, 3.4)))
    pane = (0.80 if plan.office else rng.uniform(0.36, 0.55)) * plan.wide / columns
    tall = (0.62 if plan.office else rng.uniform(0.42, 0.56)) * plan.storey
    sill = rng.random() < 0.5
    for floor in range(1 if plan.shop else 0, plan.storeys):
        y = (floor + 0.32) * plan.storey
        for column in range(columns):
            middle = (column + 0.5) * plan.wide / columns - plan.wide / 2
            a, b = middle - pane / 2, middle + pane / 2
            glow = scaled(plan.warm, rng.uniform(0.35, 0.8)) if rng.random() < plan.lit else None
            if not plan.far:
                build.along(FRONT, (a - 0.10, b + 0.10), (y - 0.10, y + tall + 0.10), plan.trim, parent=face)
            build.along(FRONT, (a, b), (y, y + tall), scaled(GLASS, rng.uniform(0.6, 1.5)), glow=glow, parent=face)
            if plan.far or plan.office:
                continue
            build.along(FRONT, (a, b), (y + 0.5 * tall, y + 0.5 * tall + 0.07), plan.trim, parent=face)
            if sill:
                build.along(FRONT, (a - 0.2, b + 0.2), (y - 0.24, y - 0.10), scaled(plan.wall, 0.7), parent=face)


def _doors(build: Builder, rng: np.random.Generator, plan: Plan, face: int) -> None:
    for z in np.arange(-plan.wide / 2 + rng.uniform(0.4, 2.0), plan.wide / 2 - 1.4, rng.uniform(5.5, 9.0)):
        build.along(FRONT, (z - 0.12, z + 1.12), (0, 2.35), plan.trim, parent=face)
        build.along(FRONT, (z, z + 1.0), (0, 2.2), one_of(rng, SHOPS, 0.1), parent=face)


def _shops(build: Builder, rng: np.random.Generator, plan: Plan, face: int) -> None:
    """Make the ground floor one or more shops: window, goods, door, name, sometimes an awning."""
    units = max(1, int(plan.wide / rng.uniform(5, 8)))
    top = plan.storey * 0.98
    for unit in range(units):
        a, b = (plan.wide * (unit + part) / units - plan.wide / 2 for part in (0, 1))
        colour = one_of(rng, SHOPS, 0.1)
        build.along(FRONT, (a + 0.05, b - 0.05), (0, top), colour, parent=face)
        late = rng.random() < 0.7
        glow = scaled((1.0, 0.9, 0.7), rng.uniform(0.5, 0.9)) if late else None
        pane = scaled((0.20, 0.21, 0.22), rng.uniform(0.5, 1.5))
        build.along(FRONT, (a + 0.4, b - 0.4), (0.5, top * 0.74), pane, glow=glow, parent=face)
        if plan.far:
            continue
        for _ in range(6):
            z, y, side = rng.uniform(a + 0.5, b - 0.9), rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.6)
            r, g, blue = rng.uniform(0.15, 0.75, 3)
            goods = (float(r), float(g), float(blue))
            shine = scaled(goods, 0.6) if late else None
            build.along(FRONT, (z, z + side), (y, y + side), goods, glow=shine, parent=face)
        door = a + 0.4 + rng.random() * max(0.1, b - a - 2.0)
        build.along(FRONT, (door, door + 0.95), (0, 2.1), scaled(colour, 0.6), parent=face)
        letter = a + 0.8
        while letter < b - 1.0 and rng.random() < 0.9:  # a name, as strokes
            wide = rng.uniform(0.12, 0.3)
            build.along(FRONT, (letter, letter + wide), (top * 0.82, top * 0.93), plan.trim, parent=face)
            letter += wide + rng.uniform(0.08, 0.25)
        if rng.random() < 0.35:
            high, low = top * 0.9, top * 0.72
            cloth = [(0, high, a + 0.3), (0, high, b - 0.3), (-1.1, low, b - 0.3), (-1.1, low, a + 0.3)]
            build.face(cloth, scaled(colour, 1.3))


def _end(build: Builder, rng: np.random.Generator, plan: Plan, face: int, z: float) -> None:
    """Add the windows of a wall across the road's direction."""
    columns = max(1, int(plan.depth / 3.5))
    for floor in range(plan.storeys):
        y = (floor + 0.35) * plan.storey
        for column in range(columns):
            x = (column + 0.5) * plan.depth / columns
            glow = scaled(plan.warm, 0.6) if rng.random() < plan.lit else None
            if not plan.far:
                build.across(z, (x - 0.55, x + 0.55), (y - 0.1, y + 1.5), plan.trim, parent=face)
            build.across(z, (x - 0.45, x + 0.45), (y, y + 1.4), scaled(GLASS, 0.95), glow=glow, parent=face)
