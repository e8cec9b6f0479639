"""Draws cars, vans and lorries as shells of flat faces, with windows, lamps, plates and wheels painted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scenes.colours import Colour, scaled, tinted
from scenes.shapes import Builder, Model, Pair, Point

PAINTS = (
    (0.62, 0.64, 0.67), (0.75, 0.76, 0.78), (0.88, 0.88, 0.87), (0.12, 0.12, 0.13), (0.22, 0.23, 0.26),
    (0.45, 0.47, 0.50), (0.55, 0.08, 0.09), (0.68, 0.12, 0.10), (0.10, 0.17, 0.38), (0.15, 0.28, 0.55),
    (0.10, 0.26, 0.18), (0.72, 0.66, 0.50), (0.80, 0.62, 0.12), (0.35, 0.16, 0.12), (0.55, 0.60, 0.66),
)  # fmt: skip
GLASS = (0.10, 0.13, 0.16)
MIRRORED = (0.30, 0.35, 0.40)
TYRE = (0.07, 0.07, 0.075)
BLACK = (0.06, 0.06, 0.06)
HEAD = (1.0, 0.96, 0.82)
TAIL = (1.0, 0.10, 0.06)
WHITE_PLATE, YELLOW_PLATE = (0.86, 0.86, 0.83), (0.80, 0.70, 0.15)


def _circle(x: float, y: float, z: float, radius: float, n: int = 14) -> list[Point]:
    turns = (2 * math.pi * k / n for k in range(n))
    return [(x, y + radius * math.sin(t), z + radius * math.cos(t)) for t in turns]


def _wheels(
    build: Builder, faces: Sequence[tuple[int, int]], half: float, places: Sequence[float], radius: float
) -> None:
    """Paint arch, tyre and hub of each wheel on the two side faces, so that they are hidden with the faces."""
    for side, face in faces:
        x = side * (half + 0.01)
        for z in places:
            build.face(_circle(x, radius, z, radius * 1.17), (0.03, 0.03, 0.03), parent=face)
            build.face(_circle(x, radius, z, radius), TYRE, parent=face)
            build.face(_circle(x, radius, z, radius * 0.64), (0.50, 0.51, 0.53), parent=face)
            build.face(_circle(x, radius, z, radius * 0.40, 8), (0.30, 0.30, 0.31), parent=face)
            build.face(_circle(x, radius, z, radius * 0.16, 6), (0.55, 0.55, 0.56), parent=face)


def _lamps(
    build: Builder,
    face: int,
    z: float,
    x: float,
    y: float,
    wide: float,
    high: float,
    colour: Colour,
    glow: Colour | None,
) -> None:
    """Paint two lamps, left and right, on the face at z."""
    for side in (-1, 1):
        build.across(z, (side * x - wide, side * x + wide), (y - high, y + high), colour, glow=glow, parent=face)


def _plate(build: Builder, face: int, z: float, y: float, colour: Colour) -> None:
    build.across(z, (-0.26, 0.26), (y - 0.06, y + 0.06), colour, parent=face)
    build.across(z, (-0.20, 0.20), (y - 0.025, y + 0.025), scaled(colour, 0.4), parent=face)


def _tyres_from_the_end(build: Builder, x: float, wide: float, high: float, back: float, front: float) -> None:
    for z, way in ((back, -9), (front, 9)):
        for side in (-1, 1):
            build.across(z, (side * x - wide, side * x + wide), (0, high), TYRE, outside=(0, 0.2, z + way))


def car(rng: np.random.Generator, *, braking: bool = False, parked: bool = False) -> Model:
    """Return a hatchback, a saloon or an estate of about 4.2 x 1.75 x 1.5 m, looking along +z. A parked car shows no
    light."""
    paint = tinted(rng, PAINTS[rng.integers(len(PAINTS))])
    style = int(rng.integers(3))
    length = (3.8, 4.4, 4.5)[style] * rng.uniform(0.95, 1.05)
    half = rng.uniform(0.83, 0.92)
    height = (1.46, 1.42, 1.60)[style] * rng.uniform(0.97, 1.05)
    back, front = -length / 2, length / 2
    belt, floor, top = 0.60 * height, 0.20, half * 0.74
    bonnet = belt * 0.88
    # The ends of the glass along the car, below at the belt and above at the roof.
    glass_front, roof_front = front - 0.26 * length, front - 0.43 * length
    roof_back = back + (0.13, 0.27, 0.06)[style] * length
    glass_back = back + (0.03, 0.15, 0.015)[style] * length
    build = Builder()

    def strip(a: Point, b: Point, colour: Colour) -> int:
        """Add a face across the car between two outlines (z, y, half width)."""
        (za, ya, wa), (zb, yb, wb) = a, b
        points = [(-wa, ya, za), (wa, ya, za), (wb, yb, zb), (-wb, yb, zb)]
        return build.face(points, colour, outside=(0.0, ya + yb - 0.6, za + zb))

    below = edge = half * 0.995
    tail = strip((back, floor, below), (back, belt * 0.97, half * 0.995), paint)
    strip((back, belt * 0.97, half * 0.995), (glass_back, belt + 0.04, edge), paint)
    rear_pane = strip((glass_back, belt + 0.04, edge), (roof_back, height - 0.02, top), paint)
    strip((roof_back, height - 0.02, top), (roof_front, height, top), scaled(paint, 1.06))
    screen = strip((roof_front, height, top), (glass_front, belt + 0.05, edge), paint)
    strip((glass_front, belt + 0.05, edge), (front - 0.10, bonnet, edge), scaled(paint, 1.04))
    nose = strip((front - 0.10, bonnet, edge), (front, floor, edge), paint)
    sides = []
    for side in (-1, 1):
        outline = [(back, floor), (back, belt * 0.97), (glass_back, belt + 0.04), (glass_front, belt + 0.05),
                   (front - 0.10, bonnet), (front, floor)]  # fmt: skip
        x = side * half
        body = build.face([(x, y, z) for z, y in outline], paint, outside=(side * 9, 0.6, 0))
        build.along(x, (back, front), (floor, floor + 0.12), scaled(paint, 0.35), parent=body)
        build.along(x, (back, front), (floor + 0.12, 0.45 * belt), scaled(paint, 0.82), parent=body)
        build.along(x, (back + 0.05, front - 0.2), (0.86 * belt, 0.93 * belt), scaled(paint, 1.22), parent=body)
        door = roof_back + rng.uniform(0.42, 0.5) * (glass_front - roof_back)
        for z in (door, glass_front - 0.12):
            build.along(x, (z - 0.012, z + 0.012), (floor + 0.1, belt), scaled(paint, 0.5), parent=body)
        build.along(x, (door - 0.32, door - 0.14), (0.80 * belt, 0.84 * belt), scaled(paint, 0.45), parent=body)
        sides.append((side, body))
        _cabin_side(
            build, side, paint, edge, top, belt, height, (glass_back, glass_front), (roof_back, roof_front), door
        )
        mirror = glass_front - 0.1
        x = side * (half + 0.03)
        build.box((x - 0.08, belt, mirror - 0.05), (x + 0.08, belt + 0.13, mirror + 0.05), scaled(paint, 0.6))
    _pane(build, rear_pane, (glass_back, belt + 0.04, edge), (roof_back, height - 0.02, top))
    _pane(build, screen, (glass_front, belt + 0.05, edge), (roof_front, height, top))
    red = (0.75, 0.08, 0.08) if braking else (0.50, 0.05, 0.06)
    glow = None if parked else (TAIL if braking else scaled(TAIL, 0.6))
    build.across(back, (-half * 0.9, half * 0.9), (0.86 * belt, 0.92 * belt), scaled(paint, 1.18), parent=tail)
    if rng.random() < 0.5:
        _lamps(build, tail, back, half * 0.80, belt * 0.78, 0.12, 0.11, red, glow)
    else:
        _lamps(build, tail, back, half * 0.87, belt * 0.80, 0.06, 0.20, red, glow)
    _lamps(build, tail, back, half * 0.60, belt * 0.78, 0.05, 0.06, (0.80, 0.75, 0.70), None)
    build.across(
        back, (-below, below), (floor, floor + 0.20), scaled(paint, 0.40 if rng.random() < 0.5 else 0.8), parent=tail
    )
    build.across(back, (-below, below), (floor, floor + 0.07), BLACK, parent=tail)
    _plate(build, tail, back, (0.52, 0.36)[int(rng.integers(2))] * belt + 0.06, YELLOW_PLATE)
    middle = front - 0.05
    build.across(middle, (-half * 0.45, half * 0.45), (belt * 0.60, belt * 0.76), BLACK, parent=nose)
    build.across(middle, (-half * 0.7, half * 0.7), (floor + 0.05, floor + 0.16), BLACK, parent=nose)
    _lamps(build, nose, middle, half * 0.72, belt * 0.70, 0.15, 0.07, (0.92, 0.93, 0.90), None if parked else HEAD)
    _plate(build, nose, front, floor + 0.20, WHITE_PLATE)
    _tyres_from_the_end(build, half * 0.80, 0.1, floor, back, front)
    _wheels(build, sides, half, (back + 0.19 * length, front - 0.19 * length), 0.32)
    return build.freeze()


def _cabin_side(
    build: Builder,
    side: int,
    paint: Colour,
    edge: float,
    top: float,
    belt: float,
    height: float,
    glass: Pair,
    roof: Pair,
    door: float,
) -> None:
    """Paint the upper side of a car, with two or three panes between the pillars."""
    (back, front), (roof_back, roof_front) = glass, roof
    low, high = belt + 0.045, height - 0.01
    corners = [
        (side * edge, low, back),
        (side * edge, low, front),
        (side * top, high, roof_front),
        (side * top, high, roof_back),
    ]
    face = build.face(corners, paint, outside=(side * 9, 1.2, 0))

    def at(u: float, v: float) -> Point:
        za, zb = back + (roof_back - back) * v, front + (roof_front - front) * v
        return (side * (edge + (top - edge) * v), low + (high - low) * v, za + (zb - za) * u)

    split = (door - back) / (front - back)
    for u0, u1 in ((0.06, split - 0.02), (split + 0.02, 0.93)):
        build.face([at(u0, 0.06), at(u1, 0.06), at(u1, 0.86), at(u0, 0.86)], GLASS, parent=face)
        u2 = u0 + 0.45 * (u1 - u0)
        build.face([at(u0, 0.45), at(u2, 0.45), at(u2 + 0.05, 0.86), at(u0, 0.86)], MIRRORED, parent=face)


def _pane(build: Builder, face: int, low: Point, high: Point) -> None:
    """Paint the glass of a windscreen or rear window, which mirrors the sky. low, high: (z, y, half width)."""

    def at(v: float, w: float) -> Point:
        z, y, half = (a + (b - a) * v for a, b in zip(low, high, strict=True))
        return half * w, y, z

    def band(v0: float, v1: float, left: float, right: float, colour: Colour) -> None:
        (w0, y0, z0), (w1, y1, z1) = at(v0, 0.9), at(v1, 0.9)
        points = [(w0 * left, y0, z0), (w0 * right, y0, z0), (w1 * right, y1, z1), (w1 * left, y1, z1)]
        build.face(points, colour, parent=face)

    band(0.08, 0.92, -1, 1, GLASS)
    band(0.62, 0.92, -1, 0.35, MIRRORED)
    band(0.40, 0.62, -1, -0.4, (0.20, 0.24, 0.28))


def truck(rng: np.random.Generator, *, parked: bool = False) -> Model:
    """Return a delivery van, or a lorry with cab and box, 5 to 8 m long, looking along +z. A parked one shows
    no light."""
    van = rng.random() < 0.45
    paint = tinted(rng, PAINTS[rng.integers(len(PAINTS))] if rng.random() < 0.6 else (0.86, 0.87, 0.86))
    second = PAINTS[rng.integers(len(PAINTS))]
    load = (0.84, 0.84, 0.82) if rng.random() < 0.5 else second
    length = rng.uniform(4.9, 5.8) if van else rng.uniform(6.2, 8.5)
    half = rng.uniform(0.95, 1.02) if van else rng.uniform(1.12, 1.25)
    height = rng.uniform(2.0, 2.4) if van else rng.uniform(2.9, 3.6)
    back, front = -length / 2, length / 2
    cab = front - (1.7 if van else 1.9)
    floor = 0.35 if van else 0.55
    build = Builder()
    end = cab if van else cab - 0.12
    box = build.box((-half, floor, back), (half, height, end), paint if van else load)
    sides = [(-1, box["left"]), (1, box["right"])]
    for side, face in sides:
        x = side * half
        build.along(x, (back, end), (floor, floor + 0.10), scaled(paint, 0.4), parent=face)
        build.along(x, (back, end), (height - 0.08, height), scaled(paint, 0.75), parent=face)
        if not van or rng.random() < 0.4:  # a band of colour, as for a company's name
            y0, y1 = (floor + share * (height - floor) for share in (0.40, 0.66))
            build.along(x, (back + 0.4, end - 0.5), (y0, y1), second, parent=face)
            for z in np.arange(back + 0.7, end - 0.9, 0.42):
                build.along(x, (z, z + 0.26), (y0 + 0.1, y1 - 0.1), (0.88, 0.88, 0.85), parent=face)
    cab_sides = _cab(build, paint, half * 0.97, height, cab, front, van=van, parked=parked)
    rear = box["back"]
    build.across(back, (-0.02, 0.02), (floor + 0.1, height - 0.1), (0.25, 0.25, 0.25), parent=rear)
    build.across(back, (-half, half), (floor, floor + 0.12), (0.15, 0.15, 0.15), parent=rear)
    for side in (-1, 1):
        x = side * half * 0.48
        if van:
            build.across(back, (x - 0.34, x + 0.34), (height * 0.60, height * 0.85), GLASS, parent=rear)
            build.across(back, (x - 0.34, x + 0.05), (height * 0.72, height * 0.85), MIRRORED, parent=rear)
        else:
            build.across(back, (x - 0.02, x + 0.02), (floor + 0.2, height - 0.2), (0.45, 0.45, 0.45), parent=rear)
    glow = None if parked else scaled(TAIL, 0.7)
    _lamps(build, rear, back, half * 0.86, floor + 0.30, 0.08, 0.17, (0.50, 0.05, 0.06), glow)
    _plate(build, rear, back, floor + 0.20, YELLOW_PLATE)
    _tyres_from_the_end(build, half * 0.82, 0.13, floor, back + 0.5, front - 0.4)
    radius = 0.34 if van else 0.46
    _wheels(build, sides, half, (back + 0.2 * length,), radius)
    _wheels(build, cab_sides, half * 0.97, (front - 0.85,), radius)
    return build.freeze()


def _cab(
    build: Builder, paint: Colour, half: float, height: float, cab: float, front: float, *, van: bool, parked: bool
) -> list[tuple[int, int]]:
    """Add the driver's end of a truck. Returns its two side faces."""
    roof = height * 0.97 if van else min(height * 0.85, 2.7)
    low, slope = 0.32, 0.75 if van else 0.12
    shoulder = (0.5 if van else 0.98) * roof
    sides = []
    for side in (-1, 1):
        x = side * half
        outline = [(cab, low), (cab, roof), (front - slope, roof), (front - 0.05, shoulder), (front, low)]
        face = build.face([(x, y, z) for z, y in outline], paint, outside=(side * 9, 1, cab))
        w0, w1 = 0.56 * roof, 0.86 * roof
        pane = [(x, w0, cab + 0.3), (x, w0, front - 0.25), (x, w1, front - slope - 0.1), (x, w1, cab + 0.3)]
        build.face(pane, GLASS, parent=face)
        build.along(x, (cab + 0.2, cab + 0.22), (low + 0.15, roof * 0.9), scaled(paint, 0.5), parent=face)
        sides.append((side, face))
    corners = [(-half, roof, cab), (half, roof, cab), (half, roof, front - slope), (-half, roof, front - slope)]
    build.face(corners, paint, outside=(0, 9, cab))

    def sloped(y0: float, y1: float, z0: float, z1: float, share: float, colour: Colour, **more: Any) -> int:
        w = half * share
        return build.face([(-w, y0, z0), (w, y0, z0), (w, y1, z1), (-w, y1, z1)], colour, **more)

    screen = sloped(shoulder, roof, front - 0.05, front - slope, 1, paint, outside=(0, 9, front + 9))
    nose = sloped(low, shoulder, front, front - 0.05, 1, paint, outside=(0, 1, front + 9))
    if van:
        sloped(shoulder + 0.08, roof * 0.93, front - 0.1, front - slope, 0.88, GLASS, parent=screen)
        sloped(roof * 0.8, roof * 0.93, front - 0.5, front - slope, 0.6, MIRRORED, parent=screen)
    else:
        sloped(roof * 0.55, roof * 0.9, front - 0.03, front - 0.05, 0.92, GLASS, parent=nose)
        sloped(roof * 0.75, roof * 0.9, front - 0.04, front - 0.05, 0.6, MIRRORED, parent=nose)
    build.across(front, (-half * 0.5, half * 0.5), (low + 0.5, low + 0.7), (0.08, 0.08, 0.08), parent=nose)
    build.across(front, (-half, half), (low, low + 0.25), (0.2, 0.2, 0.2), parent=nose)
    _lamps(build, nose, front, half * 0.75, low + 0.4, 0.16, 0.09, (0.92, 0.93, 0.90), None if parked else HEAD)
    _plate(build, nose, front, low + 0.13, WHITE_PLATE)
    return sides
