"""Cars, vans and trucks as shells of flat faces, with windows, lamps, plates and wheels painted on."""

from __future__ import annotations

import math

import numpy as np

from scenes.draw_street import tinted
from scenes.shapes import Builder, Model

PAINTS = (
    (0.62, 0.64, 0.67), (0.75, 0.76, 0.78), (0.88, 0.88, 0.87), (0.12, 0.12, 0.13), (0.22, 0.23, 0.26), (0.45, 0.47, 0.50),
    (0.55, 0.08, 0.09), (0.68, 0.12, 0.10), (0.10, 0.17, 0.38), (0.15, 0.28, 0.55), (0.10, 0.26, 0.18), (0.72, 0.66, 0.50),
    (0.80, 0.62, 0.12), (0.35, 0.16, 0.12),
)  # fmt: skip
GLASS = (0.10, 0.13, 0.16)
TYRE = (0.07, 0.07, 0.075)
HEAD = (1.0, 0.96, 0.82)
TAIL = (1.0, 0.10, 0.06)


def _circle(x, y, z, radius, n=14):
    turns = (2 * math.pi * k / n for k in range(n))
    return [(x, y + radius * math.sin(t), z + radius * math.cos(t)) for t in turns]


def _wheels(build: Builder, faces, half: float, places, radius: float, hub=(0.55, 0.56, 0.58)) -> None:
    """Arch, tyre and hub of each wheel, painted on the two side faces so that they are hidden with them."""
    for side, face in faces:
        x = side * (half + 0.01)
        for z in places:
            build.face(_circle(x, radius, z, radius * 1.16), (0.03, 0.03, 0.03), parent=face)
            build.face(_circle(x, radius, z, radius), TYRE, parent=face)
            build.face(_circle(x, radius, z, radius * 0.62), hub, parent=face)
            build.face(_circle(x, radius, z, radius * 0.2, 6), (0.2, 0.2, 0.21), parent=face)


def _ends(build: Builder, x, y, z, face, colour, glow, w, h) -> None:
    """Two lamps left and right on an end face."""
    for side in (-1, 1):
        cx = side * x
        build.face(
            [(cx - w, y - h, z), (cx + w, y - h, z), (cx + w, y + h, z), (cx - w, y + h, z)],
            colour,
            glow=glow,
            parent=face,
        )


def _plate(build: Builder, y, z, face, colour) -> None:
    build.face(
        [(-0.26, y - 0.06, z), (0.26, y - 0.06, z), (0.26, y + 0.06, z), (-0.26, y + 0.06, z)], colour, parent=face
    )


def car(rng: np.random.Generator, *, braking: bool = False, parked: bool = False) -> Model:
    """A hatchback, saloon or estate of about 4.2 x 1.75 x 1.5 m. Parked cars show no light."""
    paint = PAINTS[rng.integers(len(PAINTS))]
    paint = tinted(rng, paint)
    dark = tuple(c * 0.35 for c in paint)
    style = rng.integers(3)  # hatchback, saloon, estate or off-roader
    length = (3.8, 4.4, 4.5)[style] * rng.uniform(0.95, 1.05)
    half = rng.uniform(0.83, 0.92)
    height = (1.46, 1.42, 1.62)[style] * rng.uniform(0.97, 1.05)
    back, front = -length / 2, length / 2
    belt, floor = 0.62 * height, 0.24
    base_front = front - 0.27 * length
    roof_front = front - 0.44 * length
    roof_back = (back + 0.12 * length, back + 0.25 * length, back + 0.06 * length)[style]
    base_back = (back + 0.03 * length, back + 0.14 * length, back + 0.015 * length)[style]
    top = half * 0.72
    middle = (0.0, 0.6, 0.0)
    build = Builder()

    def strip(za, ya, wa, zb, yb, wb, colour):
        points = [(-wa, ya, za), (wa, ya, za), (wb, yb, zb), (-wb, yb, zb)]
        y, z = (ya + yb) / 2, (za + zb) / 2
        return build.face(points, colour, outside=(0.0, 2 * y - middle[1], 2 * z))

    rear = strip(back, floor, half * 0.94, back, belt * 0.97, half * 0.95, paint)
    strip(back, belt * 0.97, half * 0.95, base_back, belt + 0.04, half * 0.92, paint)
    rear_glass = strip(base_back, belt + 0.04, half * 0.92, roof_back, height, top, paint)
    strip(roof_back, height, top, roof_front, height, top, paint)
    screen = strip(roof_front, height, top, base_front, belt + 0.05, half * 0.93, paint)
    strip(base_front, belt + 0.05, half * 0.93, front - 0.08, belt * 0.86, half * 0.93, paint)
    nose = strip(front - 0.08, belt * 0.86, half * 0.93, front, floor, half * 0.93, paint)
    sides = []
    for side in (-1, 1):
        outline = [
            (back, floor),
            (back, belt * 0.97),
            (base_back, belt + 0.04),
            (base_front, belt + 0.05),
            (front - 0.08, belt * 0.86),
            (front, floor),
        ]
        body = build.face([(side * half, y, z) for z, y in outline], paint, outside=(side * 9, 0.6, 0))
        build.face(
            [
                (side * half, floor, back),
                (side * half, floor, front),
                (side * half, floor + 0.13, front),
                (side * half, floor + 0.13, back),
            ],
            dark,
            parent=body,
        )
        line = 0.5 * (floor + belt)
        build.face(
            [
                (side * half, line, back + 0.1),
                (side * half, line, front - 0.15),
                (side * half, line + 0.03, front - 0.15),
                (side * half, line + 0.03, back + 0.1),
            ],
            tuple(c * 0.75 for c in paint),
            parent=body,
        )
        sides.append((side, body))
        lower, upper = half * 0.925, top
        cabin = build.face(
            [(side * lower, belt + 0.04, base_back), (side * lower, belt + 0.05, base_front), (side * upper, height, roof_front), (side * upper, height, roof_back)],
            paint, outside=(side * 9, 1.2, 0),
        )  # fmt: skip

        def on_cabin(u, v, side=side, lower=lower, upper=upper):
            za, zb = base_back + (roof_back - base_back) * v, base_front + (roof_front - base_front) * v
            return (
                side * (lower + (upper - lower) * v),
                belt + 0.045 + (height - belt - 0.045) * v,
                za + (zb - za) * u,
            )

        split = rng.uniform(0.46, 0.56)
        for u0, u1 in ((0.07, split - 0.02), (split + 0.02, 0.93)):
            build.face(
                [on_cabin(u0, 0.08), on_cabin(u1, 0.08), on_cabin(u1, 0.86), on_cabin(u0, 0.86)], GLASS, parent=cabin
            )
        mirror_z = base_front - 0.1
        build.box(
            (side * (half + 0.02) - 0.09, belt, mirror_z - 0.06),
            (side * (half + 0.02) + 0.09, belt + 0.15, mirror_z + 0.06),
            dark,
        )

    def inset(za, ya, wa, zb, yb, wb, face, colour, lo=0.1, hi=0.9, sq=0.9):
        def at(v, w):
            return za + (zb - za) * v, ya + (yb - ya) * v, (wa + (wb - wa) * v) * w

        (z0, y0, w0), (z1, y1, w1) = at(lo, sq), at(hi, sq)
        build.face([(-w0, y0, z0), (w0, y0, z0), (w1, y1, z1), (-w1, y1, z1)], colour, parent=face)
        (z2, y2, w2), (z3, y3, w3) = at(hi - 0.25, sq), at(hi, sq)  # the sky mirrored in the upper part of the pane
        build.face(
            [(-w2, y2, z2), (w2 * 0.2, y2, z2), (w3 * 0.5, y3, z3), (-w3, y3, z3)], (0.30, 0.35, 0.40), parent=face
        )

    inset(base_back, belt + 0.04, half * 0.92, roof_back, height, top, rear_glass, GLASS)
    inset(base_front, belt + 0.05, half * 0.93, roof_front, height, top, screen, GLASS)
    tail = None if parked else (TAIL if braking else tuple(0.6 * c for c in TAIL))
    _ends(
        build,
        half * 0.78,
        belt * 0.80,
        back,
        rear,
        (0.75, 0.08, 0.08) if braking else (0.50, 0.05, 0.06),
        tail,
        0.12,
        0.10,
    )
    _plate(build, 0.5 * belt, back, rear, (0.80, 0.70, 0.15))
    build.face(
        [
            (-half * 0.94, floor, back),
            (half * 0.94, floor, back),
            (half * 0.94, floor + 0.16, back),
            (-half * 0.94, floor + 0.16, back),
        ],
        dark,
        parent=rear,
    )
    mid_z = front - 0.04
    _ends(build, half * 0.72, belt * 0.70, mid_z, nose, (0.92, 0.93, 0.90), None if parked else HEAD, 0.15, 0.07)
    build.face(
        [
            (-half * 0.45, belt * 0.6, mid_z),
            (half * 0.45, belt * 0.6, mid_z),
            (half * 0.4, belt * 0.78, mid_z),
            (-half * 0.4, belt * 0.78, mid_z),
        ],
        (0.06, 0.06, 0.06),
        parent=nose,
    )
    _plate(build, floor + 0.14, front, nose, (0.86, 0.86, 0.83))
    for z in (back + 0.02, front - 0.02):  # tyres seen from behind or ahead, below the bumper
        for side in (-1, 1):
            x = side * half * 0.80
            build.face(
                [
                    (x - 0.1, 0, z * 0.85),
                    (x + 0.1, 0, z * 0.85),
                    (x + 0.1, floor + 0.1, z * 0.85),
                    (x - 0.1, floor + 0.1, z * 0.85),
                ],
                TYRE,
                outside=(x, 0.2, z * 9),
            )
    _wheels(build, sides, half, (back + 0.19 * length, front - 0.19 * length), 0.32)
    return build.freeze()


def truck(rng: np.random.Generator, *, parked: bool = False) -> Model:
    """A delivery van or a lorry with cab and box, 5 to 8 m long; no light when parked."""
    van = rng.random() < 0.45
    paint = PAINTS[rng.integers(len(PAINTS))] if not van or rng.random() < 0.5 else (0.86, 0.87, 0.86)
    second = PAINTS[rng.integers(len(PAINTS))]
    load = (0.84, 0.84, 0.82) if rng.random() < 0.5 else second
    length = rng.uniform(4.9, 5.8) if van else rng.uniform(6.2, 8.5)
    half = rng.uniform(0.95, 1.02) if van else rng.uniform(1.12, 1.25)
    height = rng.uniform(2.0, 2.4) if van else rng.uniform(2.9, 3.6)
    back, front = -length / 2, length / 2
    cab = front - (1.7 if van else 1.9)
    floor = 0.35 if van else 0.55
    build = Builder()
    box = build.box((-half, floor, back), (half, height, cab - (0.0 if van else 0.12)), paint if van else load)
    roof = height * 0.97 if van else min(height * 0.85, 2.7)
    low = 0.32
    slope = 0.75 if van else 0.12
    nose_y = (0.5 if van else 0.98) * roof
    sides = [(-1, box["left"]), (1, box["right"])]
    cab_sides = []
    for side in (-1, 1):
        outline = [(cab, low), (cab, roof), (front - slope, roof), (front - 0.05, nose_y), (front, low)]
        face = build.face([(side * half * 0.97, y, z) for z, y in outline], paint, outside=(side * 9, 1, cab))
        w0, w1 = 0.56 * roof, 0.86 * roof
        x = side * half * 0.97
        build.face(
            [(x, w0, cab + 0.3), (x, w0, front - 0.25), (x, w1, front - slope - 0.1), (x, w1, cab + 0.3)],
            GLASS,
            parent=face,
        )
        cab_sides.append((side, face))
    w = half * 0.97
    build.face(
        [(-w, roof, cab), (w, roof, cab), (w, roof, front - slope), (-w, roof, front - slope)],
        paint,
        outside=(0, 9, cab),
    )
    screen = build.face(
        [(-w, nose_y, front - 0.05), (w, nose_y, front - 0.05), (w, roof, front - slope), (-w, roof, front - slope)],
        paint,
        outside=(0, 9, front + 9),
    )
    nose = build.face(
        [(-w, low, front), (w, low, front), (w, nose_y, front - 0.05), (-w, nose_y, front - 0.05)],
        paint,
        outside=(0, 1, front + 9),
    )
    if van:
        build.face(
            [
                (-w * 0.88, nose_y + 0.08, front - 0.1),
                (w * 0.88, nose_y + 0.08, front - 0.1),
                (w * 0.8, roof * 0.92, front - slope),
                (-w * 0.8, roof * 0.92, front - slope),
            ],
            GLASS,
            parent=screen,
        )
    else:
        build.face(
            [
                (-w * 0.92, roof * 0.55, front - 0.03),
                (w * 0.92, roof * 0.55, front - 0.03),
                (w * 0.9, roof * 0.9, front - 0.04),
                (-w * 0.9, roof * 0.9, front - 0.04),
            ],
            GLASS,
            parent=nose,
        )
    _ends(build, w * 0.75, low + 0.42, front, nose, (0.92, 0.93, 0.90), None if parked else HEAD, 0.16, 0.09)
    _plate(build, low + 0.12, front, nose, (0.86, 0.86, 0.83))
    build.face(
        [
            (-w * 0.5, low + 0.55, front),
            (w * 0.5, low + 0.55, front),
            (w * 0.5, low + 0.75, front),
            (-w * 0.5, low + 0.75, front),
        ],
        (0.08, 0.08, 0.08),
        parent=nose,
    )
    rear = box["back"]
    build.face(
        [
            (-0.02, floor + 0.1, back),
            (0.02, floor + 0.1, back),
            (0.02, height - 0.1, back),
            (-0.02, height - 0.1, back),
        ],
        (0.25, 0.25, 0.25),
        parent=rear,
    )
    build.face(
        [(-half, floor, back), (half, floor, back), (half, floor + 0.12, back), (-half, floor + 0.12, back)],
        (0.15, 0.15, 0.15),
        parent=rear,
    )
    if van:
        for side in (-1, 1):
            x = side * half * 0.48
            build.face(
                [
                    (x - 0.34, height * 0.6, back),
                    (x + 0.34, height * 0.6, back),
                    (x + 0.34, height * 0.85, back),
                    (x - 0.34, height * 0.85, back),
                ],
                GLASS,
                parent=rear,
            )
    _ends(
        build,
        half * 0.86,
        floor + 0.28,
        back,
        rear,
        (0.50, 0.05, 0.06),
        None if parked else tuple(0.7 * c for c in TAIL),
        0.08,
        0.17,
    )
    _plate(build, floor + 0.2, back, rear, (0.80, 0.70, 0.15))
    if not van or rng.random() < 0.4:  # a band of colour where the company's name stands
        for side, face in sides:
            x, y0, y1 = side * half, floor + 0.35 * (height - floor), floor + 0.65 * (height - floor)
            build.face(
                [(x, y0, back + 0.4), (x, y0, cab - 0.5), (x, y1, cab - 0.5), (x, y1, back + 0.4)], second, parent=face
            )
    for side in (-1, 1):
        x = side * half * 0.82
        for z, way in ((back + 0.5, -9), (front - 0.5, 9)):
            build.face(
                [(x - 0.13, 0, z), (x + 0.13, 0, z), (x + 0.13, floor + 0.1, z), (x - 0.13, floor + 0.1, z)],
                TYRE,
                outside=(x, 0.2, way),
            )
    radius = 0.34 if van else 0.46
    _wheels(build, sides, half, (back + 0.2 * length,), radius)
    _wheels(build, cab_sides, half * 0.97, (front - 0.85,), radius)
    return build.freeze()
