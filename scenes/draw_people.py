"""Draws pedestrians, and riders on bicycles and motorcycles, built of limbs so that they can be seen from any side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scenes.colours import Colour, one_of, scaled
from scenes.shapes import Builder, Model, Point

SKINS = ((0.87, 0.70, 0.60), (0.78, 0.58, 0.46), (0.58, 0.40, 0.30), (0.38, 0.26, 0.20))
HAIR = ((0.10, 0.08, 0.07), (0.22, 0.14, 0.09), (0.45, 0.33, 0.18), (0.55, 0.54, 0.52))
CLOTH = (
    (0.12, 0.13, 0.16), (0.20, 0.22, 0.30), (0.14, 0.18, 0.35), (0.30, 0.30, 0.30), (0.55, 0.54, 0.50),
    (0.45, 0.10, 0.12), (0.15, 0.30, 0.20), (0.62, 0.48, 0.30), (0.75, 0.75, 0.74), (0.40, 0.28, 0.20),
    (0.70, 0.20, 0.15), (0.20, 0.40, 0.55),
)  # fmt: skip
VIVID = (
    (0.80, 0.88, 0.15),
    (0.90, 0.45, 0.08),
    (0.75, 0.12, 0.12),
    (0.12, 0.35, 0.70),
    (0.85, 0.85, 0.84),
    (0.08, 0.08, 0.09),
)
TYRE = (0.06, 0.06, 0.065)


def _pick(rng: np.random.Generator, table: tuple[Colour, ...]) -> Colour:
    return one_of(rng, table, 0.2)


def pedestrian(rng: np.random.Generator) -> Model:
    """Return a person who walks or stands, 1.5 to 1.9 m tall (children now and then), looking along +z."""
    scale = rng.uniform(0.62, 0.78) if rng.random() < 0.08 else rng.uniform(0.9, 1.1)
    skin, hair = _pick(rng, SKINS), _pick(rng, HAIR)
    jacket, legs, shoes = _pick(rng, CLOTH), _pick(rng, CLOTH[:6]), _pick(rng, CLOTH[:2])
    stride = 0.0 if rng.random() < 0.25 else rng.uniform(0.12, 0.32)
    wide = rng.uniform(0.9, 1.15)
    build = Builder()

    def p(x: float, y: float, z: float) -> Point:
        return (x * scale * wide, y * scale, z * scale)

    def limb(a: Point, b: Point, ra: float, rb: float, colour: Colour) -> None:
        build.limb(p(*a), p(*b), ra * scale, rb * scale, colour)

    skirt = rng.random() < 0.22
    for side in (-1, 1):
        step = side * stride
        hip, knee, foot = (
            (side * 0.09, 0.90, 0),
            (side * 0.10, 0.50, step * 0.75),
            (side * 0.10, 0.09, step * 1.1 - (0.1 if step < 0 else 0)),
        )
        limb(hip, knee, 0.095, 0.07, legs)
        limb(knee, foot, 0.068, 0.05, skin if skirt else legs)
        limb(foot, (foot[0], 0.05, foot[2] + 0.16), 0.05, 0.045, shoes)
    if skirt:
        limb((0, 0.95, 0), (0, 0.55, 0), 0.16, 0.24, legs)
    coat = 0.62 if rng.random() < 0.3 else 0.92
    limb((0, coat, 0), (0, 1.18, 0), 0.17, 0.17, jacket)
    limb((0, 1.12, 0), (0, 1.36, 0.01), 0.175, 0.16, jacket)
    limb((-0.12, 1.40, 0), (0.12, 1.40, 0), 0.085, 0.085, jacket)
    for side in (-1, 1):
        swing = -side * stride * 0.8
        elbow, hand = (side * 0.25, 1.12, swing * 0.3 - 0.03), (side * 0.24, 0.86, swing * 0.9 + 0.06)
        limb((side * 0.20, 1.38, 0), elbow, 0.062, 0.052, scaled(jacket, 0.9))
        limb(elbow, hand, 0.05, 0.04, scaled(jacket, 0.9))
        build.ball(p(*hand), 0.045 * scale, 0.05 * scale, skin)
    limb((0, 1.44, 0), (0, 1.54, 0.01), 0.06, 0.06, skin)
    build.ball(p(0, 1.62, 0.03), 0.095 * scale, 0.125 * scale, skin)
    build.ball(p(0, 1.67, -0.02), 0.105 * scale, 0.105 * scale, hair)
    extra = rng.random()
    if extra < 0.22:  # a rucksack
        limb((0, 1.05, -0.19), (0, 1.32, -0.19), 0.14, 0.12, _pick(rng, CLOTH))
    elif extra < 0.4:  # a bag in the hand
        build.box(
            tuple(np.subtract(p(0.26, 0.6, 0.05), 0.1)), tuple(np.add(p(0.30, 0.78, 0.15), 0.06)), _pick(rng, CLOTH)
        )
    return build.freeze()


def _rider(
    build: Builder,
    rng: np.random.Generator,
    hips: Point,
    shoulders: Point,
    head: Point,
    hands: Point,
    feet: Sequence[Point],
    *,
    jacket: Colour,
    legs: Colour,
    helmet: Colour | None,
    full_face: bool = False,
) -> None:
    """Add a person astride. hands: (outwards, height, forwards). feet: left, right. full_face: True for a helmet that
    hides the face."""
    skin = _pick(rng, SKINS)
    knees_out = 0.13
    for side in (-1, 1):
        foot = feet[(side + 1) // 2]
        hip = (side * 0.1, hips[1], hips[2])
        knee = (side * knees_out, (hips[1] + foot[1]) / 2 + 0.1, max(hips[2], foot[2]) + 0.22)
        build.limb(hip, knee, 0.10, 0.075, legs)
        build.limb(knee, foot, 0.07, 0.055, legs)
        build.limb(foot, (foot[0], foot[1] - 0.02, foot[2] + 0.15), 0.05, 0.04, (0.1, 0.1, 0.1))
    build.limb(hips, shoulders, 0.165, 0.17, jacket)
    _, sy, sz = shoulders
    build.limb((-0.14, sy + 0.02, sz), (0.14, sy + 0.02, sz), 0.085, 0.085, jacket)
    for side in (-1, 1):
        hand = (side * hands[0], hands[1], hands[2])
        elbow = (side * (hands[0] * 0.6 + 0.14), (sy + hands[1]) / 2 - 0.06, (sz + hands[2]) / 2 - 0.04)
        build.limb((side * 0.2, sy, sz), elbow, 0.062, 0.052, jacket)
        build.limb(elbow, hand, 0.05, 0.045, jacket)
    build.limb((0, sy + 0.05, sz), head, 0.06, 0.06, skin)
    if full_face:
        assert helmet is not None
        build.ball((head[0], head[1] + 0.03, head[2]), 0.15, 0.165, helmet)
    elif helmet is None:
        build.ball(head, 0.10, 0.13, skin)
        build.ball((head[0], head[1] + 0.05, head[2] - 0.05), 0.11, 0.10, _pick(rng, HAIR))
    else:
        build.ball(head, 0.10, 0.12, skin)
        build.ball((head[0], head[1] + 0.06, head[2] - 0.02), 0.125, 0.10, helmet)


def bicycle(rng: np.random.Generator) -> Model:
    """Return a bicycle and its rider, about 1.8 m high, riding along +z."""
    paint = _pick(rng, VIVID)
    build = Builder()
    front, back, radius = 0.52, -0.50, 0.34
    build.wheel((0, radius, back), radius, 0.022, TYRE)
    build.wheel((0, radius, front), radius, 0.022, TYRE)
    crank, seat, head = (0, 0.29, -0.05), (0, 0.88, -0.20), (0, 0.85, 0.40)
    for a, b in (
        (crank, seat),
        (seat, head),
        (crank, head),
        ((0, radius, back), crank),
        ((0, radius, back), seat),
        (head, (0, radius, front)),
    ):
        build.limb(a, b, 0.022, 0.022, paint)
    build.limb(head, (0, 1.02, 0.38), 0.02, 0.02, (0.3, 0.3, 0.3))
    build.limb((-0.27, 1.03, 0.36), (0.27, 1.03, 0.36), 0.02, 0.02, (0.12, 0.12, 0.12))
    build.limb((0, 0.93, -0.32), (0, 0.95, -0.08), 0.07, 0.04, (0.08, 0.08, 0.08))
    build.ball((0, 0.80, -0.35), 0.03, 0.03, (0.8, 0.1, 0.1), glow=(1.0, 0.08, 0.05))
    build.ball((0, 0.98, 0.47), 0.04, 0.04, (0.9, 0.9, 0.85), glow=(1.0, 0.97, 0.85))
    lean = rng.uniform(0.10, 0.32)
    turn = rng.uniform(0, 2 * np.pi)
    feet = [
        (side * 0.12, 0.29 + 0.16 * np.sin(turn + (side > 0) * np.pi), -0.05 + 0.16 * np.cos(turn + (side > 0) * np.pi))
        for side in (-1, 1)
    ]
    jacket = _pick(rng, VIVID) if rng.random() < 0.5 else _pick(rng, CLOTH)
    helmet = _pick(rng, VIVID) if rng.random() < 0.6 else None
    shoulders, head = (0, 1.46 - 0.25 * lean, -0.1 + lean), (0, 1.70 - 0.3 * lean, -0.02 + 1.2 * lean)
    _rider(build, rng, (0, 0.98, -0.18), shoulders, head, (0.24, 1.05, 0.34), feet,
           jacket=jacket, legs=_pick(rng, CLOTH[:6]), helmet=helmet)  # fmt: skip
    return build.freeze()


def motorcycle(rng: np.random.Generator) -> Model:
    """Return a motorcycle or scooter and its helmeted rider, about 1.6 m high, riding along +z."""
    paint = _pick(rng, VIVID)
    metal, dark = (0.42, 0.42, 0.44), (0.09, 0.09, 0.10)
    build = Builder()
    front, back, radius = 0.72, -0.68, 0.31
    build.wheel((0, radius, back), radius - 0.07, 0.085, TYRE)
    build.wheel((0, radius, front), radius - 0.06, 0.07, TYRE)
    build.limb((0, 0.42, -0.10), (0, 0.48, 0.25), 0.21, 0.19, dark)
    build.limb((0, 0.36, -0.2), (0, 0.40, 0.15), 0.17, 0.17, metal)
    build.limb((0.16, 0.32, -0.1), (0.17, 0.38, -0.75), 0.06, 0.075, metal)
    build.limb((0, 0.84, 0.02), (0, 0.90, 0.36), 0.15, 0.17, paint)
    build.limb((0, 0.80, -0.05), (0, 0.88, -0.72), 0.13, 0.10, dark)
    build.limb((0, 0.70, -0.45), (0, 0.80, -0.80), 0.12, 0.09, paint)
    for side in (-1, 1):
        build.limb((side * 0.09, radius, front), (side * 0.09, 0.95, 0.46), 0.035, 0.035, metal)
    build.limb((0, radius * 2 + 0.02, front + 0.14), (0, radius * 2 + 0.04, front - 0.2), 0.07, 0.07, paint)
    build.limb((-0.36, 1.04, 0.34), (0.36, 1.04, 0.34), 0.025, 0.025, dark)
    if rng.random() < 0.6:  # a fairing with a low screen
        build.limb((0, 0.75, 0.55), (0, 1.0, 0.52), 0.21, 0.19, paint)
        build.limb((0, 1.08, 0.50), (0, 1.22, 0.40), 0.15, 0.11, (0.35, 0.40, 0.45))
    for side in (-1, 1):
        build.limb((side * 0.34, 1.05, 0.36), (side * 0.40, 1.22, 0.36), 0.012, 0.012, dark)
        build.ball((side * 0.41, 1.24, 0.36), 0.07, 0.045, dark)
    build.ball((0, 0.88, 0.68), 0.10, 0.10, (0.93, 0.93, 0.90), glow=(1.0, 0.96, 0.85))
    build.ball((0, 0.78, -0.90), 0.08, 0.05, (0.75, 0.08, 0.08), glow=(1.0, 0.08, 0.05))
    build.face(
        [(-0.1, 0.45, -0.92), (0.1, 0.45, -0.92), (0.1, 0.62, -0.93), (-0.1, 0.62, -0.93)],
        (0.8, 0.7, 0.15),
        outside=(0, 0.5, -9),
    )
    if rng.random() < 0.3:  # luggage
        build.box((-0.25, 0.90, -1.05), (0.25, 1.22, -0.62), dark)
    jacket = _pick(rng, CLOTH[:4]) if rng.random() < 0.6 else _pick(rng, VIVID)
    feet = [(-0.2, 0.36, -0.12), (0.2, 0.36, -0.12)]
    _rider(build, rng, (0, 0.95, -0.22), (0, 1.42, 0.02), (0, 1.66, 0.12), (0.33, 1.07, 0.32), feet,
           jacket=jacket, legs=_pick(rng, CLOTH[:4]), helmet=_pick(rng, VIVID), full_face=True)  # fmt: skip
    build.face(
        [(-0.1, 1.66, 0.29), (0.1, 1.66, 0.29), (0.11, 1.75, 0.27), (-0.11, 1.75, 0.27)],
        (0.05, 0.05, 0.06),
        outside=(0, 1.7, 9),
    )
    return build.freeze()
