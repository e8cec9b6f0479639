"""Draws street furniture: lamp posts, bollards, fences, traffic signs and traffic lights."""

from __future__ import annotations

import math

import numpy as np

from scenes.colours import Colour, one_of, scaled, tinted
from scenes.draw_buildings import WALLS
from scenes.shapes import Builder, Model, Pair, Point

STEEL = (0.34, 0.35, 0.36)
BLACK = (0.08, 0.08, 0.08)
BOARD = (0.42, 0.31, 0.21)
LAMP = (1.0, 0.80, 0.48)
RED, BLUE, GREEN, WHITE = (0.72, 0.06, 0.07), (0.06, 0.20, 0.58), (0.05, 0.32, 0.18), (0.90, 0.90, 0.88)
BACK_OF_SIGN = (0.45, 0.45, 0.46)
RAILINGS, WALL = 1, 2


def lamp_post(rng: np.random.Generator, reach: float) -> Model:
    """Return a lamp post 6 to 9 m tall whose arm reaches `reach` metres along x, over the road."""
    height = rng.uniform(6.0, 9.0)
    colour = STEEL if rng.random() < 0.6 else (0.13, 0.14, 0.13)
    build = Builder()
    build.limb((0, 0, 0), (0, 1.2, 0), 0.11, 0.09, colour)
    build.limb((0, 1.2, 0), (0, height, 0), 0.075, 0.05, colour)
    build.limb((0, height, 0), (reach, height + 0.25, 0), 0.045, 0.04, colour)
    x0, x1 = sorted((reach * 0.75, reach * 1.3))
    build.box((x0, height + 0.14, -0.14), (x1, height + 0.30, 0.14), (0.5, 0.5, 0.5))
    build.ball((reach, height + 0.12, 0), 0.26, 0.11, (0.9, 0.9, 0.85), glow=LAMP)
    return build.freeze()


def post(height: float, radius: float = 0.045, colour: Colour = STEEL) -> Model:
    """Return a plain upright post."""
    build = Builder()
    build.limb((0, 0, 0), (0, height, 0), radius, radius, colour)
    return build.freeze()


def fence(rng: np.random.Generator, length: float, style: int) -> Model:
    """Return a fence along z: see-through railings (RAILINGS), a low brick wall (WALL), else boards."""
    build = Builder()
    z0, z1 = -length / 2, length / 2
    if style == RAILINGS:
        top = rng.uniform(0.95, 1.4)
        colour = BLACK if rng.random() < 0.7 else (0.45, 0.46, 0.46)
        build.along(0, (z0, z1), (0.05, top), None)  # the gaps between the bars count as the fence
        for y in (0.15, top - 0.05):
            build.along(0, (z0, z1), (y - 0.03, y + 0.03), colour)
        for index, z in enumerate(np.arange(z0, z1, 0.22)):
            half = 0.016 if index % 9 else 0.045
            build.along(0, (z - half, z + half), (0, top), colour)
    elif style == WALL:
        top = rng.uniform(0.7, 1.5)
        build.box((0, 0, z0), (0.25, top, z1), one_of(rng, WALLS[:3], 0.15), skip=("bottom",))
        build.box((-0.04, top, z0), (0.29, top + 0.09, z1), (0.62, 0.60, 0.56), skip=("bottom",))
    else:
        top, colour = rng.uniform(1.2, 2.0), tinted(rng, BOARD, 0.35)
        for z in np.arange(z0, z1, 0.5):
            build.along(0, (z, min(z + 0.47, z1)), (0.05, top), tinted(rng, colour, 0.13))
    return build.freeze()


def _round(x: float, y: float, radius: float, z: float, corners: int = 18, start: float = 0.0) -> list[Point]:
    turns = (start + 2 * math.pi * k / corners for k in range(corners))
    return [(x + radius * math.cos(t), y + radius * math.sin(t), z) for t in turns]


def sign(rng: np.random.Generator, height: float) -> Model:
    """Return the plate of a traffic sign whose middle is `height` metres up, facing -z: round, a triangle or
    a board."""
    style = int(rng.integers(5))
    size = rng.uniform(0.30, 0.42)
    ahead, behind = (0, height, -9), (0, height, 9)
    front, back = -0.06, -0.05
    build = Builder()

    def bar(face: int, x: Pair, y: Pair, colour: Colour) -> None:
        build.across(
            front, (x[0] * size, x[1] * size), (height + y[0] * size, height + y[1] * size), colour, parent=face
        )

    if style == 0:  # a speed limit
        face = build.face(_round(0, height, size, front), RED, outside=ahead)
        build.face(_round(0, height, size * 0.74, front), WHITE, parent=face)
        bar(face, (-0.38, -0.08), (-0.3, 0.3), BLACK)
        bar(face, (0.06, 0.36), (-0.3, 0.3), BLACK)
    elif style == 1:  # a warning
        face = build.face(_round(0, height, size * 1.15, front, 3, math.pi / 2), RED, outside=ahead)
        build.face(_round(0, height, size * 0.78, front, 3, math.pi / 2), WHITE, parent=face)
        bar(face, (-0.1, 0.1), (-0.2, 0.3), BLACK)
    elif style == 2:  # straight on
        face = build.face(_round(0, height, size, front), BLUE, outside=ahead)
        bar(face, (-0.14, 0.14), (-0.6, 0.1), WHITE)
        tip = [(-0.45 * size, height, front), (0.45 * size, height, front), (0, height + 0.62 * size, front)]
        build.face(tip, WHITE, parent=face)
    elif style == 3:  # no entry
        face = build.face(_round(0, height, size, front), RED, outside=ahead)
        bar(face, (-0.65, 0.65), (-0.16, 0.16), WHITE)
    else:  # a board with two lines of text
        wide, high = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.6)
        colour = (GREEN, BLUE, WHITE)[int(rng.integers(3))]
        ink = BLACK if colour == WHITE else WHITE
        y = (height - high, height + high)
        face = build.across(front, (-wide, wide), y, colour, outside=ahead)
        for line in (0.35, -0.45):
            middle = height + line * high
            build.across(
                front, (-wide * 0.8, wide * rng.uniform(0.1, 0.8)), (middle - 0.06, middle + 0.06), ink, parent=face
            )
        build.across(back, (-wide, wide), y, BACK_OF_SIGN, outside=behind)
        return build.freeze()
    build.face(_round(0, height, size, back), BACK_OF_SIGN, outside=behind)
    return build.freeze()


def traffic_light(height: float, phase: int) -> Model:
    """Return a signal head facing -z whose middle is `height` metres up; phase 0 red, 1 amber, 2 green."""
    build = Builder()
    board = build.box((-0.17, height - 0.5, -0.2), (0.17, height + 0.5, 0.1), (0.06, 0.06, 0.06))["back"]
    lamps = ((1.0, 0.12, 0.06), (1.0, 0.62, 0.05), (0.10, 1.0, 0.45))
    for index, lamp in enumerate(lamps):
        lit = index == phase
        disc = _round(0, height + 0.31 * (1 - index), 0.115, -0.2, 12)
        build.face(disc, lamp if lit else scaled(lamp, 0.22), glow=lamp if lit else None, parent=board)
    return build.freeze()
