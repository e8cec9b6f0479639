"""What stands beside the road: buildings, trees, lamp posts, fences and hedges, signs and traffic lights."""

from __future__ import annotations

import numpy as np

from scenes.shapes import Builder, Colour, Model

WALLS = (
    (0.52, 0.30, 0.22), (0.58, 0.36, 0.26), (0.66, 0.58, 0.42), (0.72, 0.66, 0.52), (0.84, 0.81, 0.74),
    (0.62, 0.60, 0.56),
    (0.50, 0.48, 0.46), (0.42, 0.33, 0.27), (0.76, 0.74, 0.72), (0.56, 0.45, 0.34), (0.80, 0.74, 0.62),
)  # fmt: skip
ROOFS = ((0.30, 0.27, 0.27), (0.38, 0.22, 0.18), (0.26, 0.28, 0.31))
SHOPS = (
    (0.45, 0.08, 0.09),
    (0.08, 0.16, 0.35),
    (0.08, 0.28, 0.18),
    (0.10, 0.10, 0.11),
    (0.70, 0.50, 0.12),
    (0.75, 0.73, 0.68),
    (0.30, 0.12, 0.30),
    (0.15, 0.42, 0.50),
)
LEAVES = (
    (0.20, 0.32, 0.12),
    (0.26, 0.36, 0.14),
    (0.16, 0.27, 0.13),
    (0.34, 0.38, 0.15),
    (0.42, 0.34, 0.13),
    (0.13, 0.22, 0.11),
)
STEEL = (0.34, 0.35, 0.36)
LAMP = (1.0, 0.80, 0.48)


def tinted(rng: np.random.Generator, colour: Colour, spread: float = 0.14) -> Colour:
    """A colour made lighter or darker, and a little warmer or colder."""
    light = rng.uniform(1 - spread, 1 + spread)
    tints = 1 + rng.uniform(-0.035, 0.035, 3)
    return tuple(float(min(0.93, max(0.02, c * light * t))) for c, t in zip(colour, tints, strict=True))


def building(rng: np.random.Generator, depth: float, wide: float, *, far: bool = False) -> Model:
    """A house or office block: `wide` metres along the road (z), `depth` metres deep (x from 0 up).

    The wall towards -x faces the road. `far`: few windows, for what stands beyond 90 m.
    """
    wall = tinted(rng, WALLS[rng.integers(len(WALLS))])
    trim = (0.80, 0.78, 0.72) if rng.random() < 0.6 else tuple(0.6 * c for c in wall)
    storey = rng.uniform(2.9, 3.6)
    storeys = int(rng.integers(2, 5)) if rng.random() < 0.85 else int(rng.integers(5, 8))
    shop = rng.random() < 0.5
    office = rng.random() < 0.28
    height = storey * storeys + rng.uniform(0.3, 0.9)
    z0, z1 = -wide / 2, wide / 2
    build = Builder()
    gable = not office and rng.random() < 0.55
    walls = build.box(
        (0, 0, z0), (depth, height, z1), wall, skip=("bottom", "right") if not gable else ("bottom", "right", "top")
    )
    roof = ROOFS[rng.integers(len(ROOFS))]
    if gable:
        ridge = height + rng.uniform(1.6, 3.2)
        eaves = -0.35
        build.face(
            [(eaves, height - 0.1, z0), (eaves, height - 0.1, z1), (depth / 2, ridge, z1), (depth / 2, ridge, z0)],
            roof,
            outside=(-9, height + 9, 0),
        )
        for z, way in ((z0, -9), (z1, 9)):
            build.face(
                [(0, height, z), (depth, height, z), (depth / 2, ridge, z)], wall, outside=(depth / 2, height, way * 9)
            )
        if rng.random() < 0.7:
            cz, ch = rng.uniform(z0 * 0.8, z1 * 0.8), ridge + rng.uniform(0.4, 1.1)
            build.box(
                (depth / 2 - 0.5, height + 0.5, cz - 0.7),
                (depth / 2 + 0.5, ch, cz + 0.7),
                tuple(0.85 * c for c in WALLS[0]),
            )
    else:
        band = height - 0.45
        for a, b in (((-0.03, z0), (-0.03, z1)),):
            build.face(
                [(a[0], band, a[1]), (b[0], band, b[1]), (b[0], height, b[1]), (a[0], height, a[1])],
                trim,
                parent=walls["left"],
            )
    spacing = rng.uniform(2.0, 3.4)
    columns = max(1, int(wide / spacing))
    pane_w = (0.80 if office else rng.uniform(0.36, 0.55)) * wide / columns
    pane_h = (0.62 if office else rng.uniform(0.42, 0.56)) * storey
    lit_share = rng.uniform(0.1, 0.5)
    warm = (1.0, rng.uniform(0.72, 0.9), rng.uniform(0.4, 0.65))
    first = 1 if shop else 0
    fronts = [("left", -0.02, None, wide, z0, columns)]
    for face, fixed, _, across, start, n in fronts:
        for floor in range(first, storeys):
            y = floor * storey + 0.32 * storey
            for column in range(n):
                middle = start + (column + 0.5) * across / n
                a, b = middle - pane_w / 2, middle + pane_w / 2
                lit = rng.random() < lit_share
                if not far:
                    build.face(
                        [
                            (fixed, y - 0.12, a - 0.12),
                            (fixed, y - 0.12, b + 0.12),
                            (fixed, y + pane_h + 0.1, b + 0.12),
                            (fixed, y + pane_h + 0.1, a - 0.12),
                        ],
                        trim,
                        parent=walls[face],
                    )
                tone = rng.uniform(0.6, 1.5)
                glass = (0.13 * tone, 0.16 * tone, 0.19 * tone)
                level = rng.uniform(0.35, 0.8)
                glow = tuple(c * level for c in warm) if lit else None
                build.face(
                    [(fixed, y, a), (fixed, y, b), (fixed, y + pane_h, b), (fixed, y + pane_h, a)],
                    glass,
                    glow=glow,
                    parent=walls[face],
                )
                if not far and not office:
                    bar = y + pane_h * 0.5
                    build.face(
                        [(fixed, bar, a), (fixed, bar, b), (fixed, bar + 0.07, b), (fixed, bar + 0.07, a)],
                        trim,
                        parent=walls[face],
                    )
    _ground_floor(build, rng, walls["left"], z0, z1, storey, shop, trim, far)
    for face, z in ((walls["back"], z0), (walls["front"], z1)):
        _end_wall(build, rng, face, depth, storey, storeys, z, trim, lit_share, warm, far)
    return build.freeze()


def _ground_floor(
    build: Builder, rng, face: int, z0: float, z1: float, storey: float, shop: bool, trim, far: bool
) -> None:
    if not shop:
        door = rng.uniform(z0 + 1, max(z0 + 1.1, z1 - 2))
        build.face(
            [(-0.02, 0, door), (-0.02, 0, door + 1.0), (-0.02, 2.2, door + 1.0), (-0.02, 2.2, door)],
            SHOPS[rng.integers(len(SHOPS))],
            parent=face,
        )
        return
    units = max(1, int((z1 - z0) / rng.uniform(5, 8)))
    for unit in range(units):
        a, b = z0 + (z1 - z0) * unit / units, z0 + (z1 - z0) * (unit + 1) / units
        colour = SHOPS[rng.integers(len(SHOPS))]
        top = storey * 0.98
        build.face(
            [(-0.02, 0, a + 0.05), (-0.02, 0, b - 0.05), (-0.02, top, b - 0.05), (-0.02, top, a + 0.05)],
            colour,
            parent=face,
        )
        open_late = rng.random() < 0.7
        glow = tuple(float(c) for c in rng.uniform(0.6, 1.0) * np.array([1.0, 0.9, 0.7])) if open_late else None
        door = a + 0.4 + rng.random() * max(0.1, b - a - 2.0)
        shine = rng.uniform(0.10, 0.30)
        build.face(
            [(-0.02, 0.5, a + 0.4), (-0.02, 0.5, b - 0.4), (-0.02, top * 0.74, b - 0.4), (-0.02, top * 0.74, a + 0.4)],
            (shine, shine * 1.05, shine * 1.1),
            glow=glow,
            parent=face,
        )
        if far:
            continue
        for _ in range(5):  # goods in the window
            z, y, s = rng.uniform(a + 0.5, b - 0.9), rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.6)
            goods = tuple(float(c) for c in rng.uniform(0.15, 0.75, 3))
            build.face(
                [(-0.02, y, z), (-0.02, y, z + s), (-0.02, y + s, z + s), (-0.02, y + s, z)],
                goods,
                glow=tuple(0.6 * c for c in goods) if open_late else None,
                parent=face,
            )
        build.face(
            [(-0.02, 0, door), (-0.02, 0, door + 0.95), (-0.02, 2.1, door + 0.95), (-0.02, 2.1, door)],
            tuple(0.6 * c for c in colour),
            parent=face,
        )
        letters = a + 0.8
        while letters < b - 1.0 and rng.random() < 0.9:  # a name, as strokes
            w = rng.uniform(0.12, 0.3)
            build.face(
                [
                    (-0.02, top * 0.82, letters),
                    (-0.02, top * 0.82, letters + w),
                    (-0.02, top * 0.93, letters + w),
                    (-0.02, top * 0.93, letters),
                ],
                trim,
                parent=face,
            )
            letters += w + rng.uniform(0.08, 0.25)
        if rng.random() < 0.35:  # an awning over the pavement
            build.face(
                [
                    (0, top * 0.9, a + 0.3),
                    (0, top * 0.9, b - 0.3),
                    (-1.1, top * 0.72, b - 0.3),
                    (-1.1, top * 0.72, a + 0.3),
                ],
                tuple(min(0.95, 1.3 * c) for c in colour),
            )


def _end_wall(
    build: Builder, rng, face: int, depth: float, storey: float, storeys: int, z0: float, trim, lit_share, warm, far
) -> None:
    """The wall across the road's direction: a few windows, or none."""
    if rng.random() < 0.4:
        return
    n = max(1, int(depth / 3.5))
    for floor in range(storeys):
        y = floor * storey + 0.35 * storey
        for column in range(n):
            x = (column + 0.5) * depth / n
            glow = tuple(0.6 * c for c in warm) if rng.random() < lit_share else None
            if not far:
                build.face(
                    [
                        (x - 0.55, y - 0.1, z0),
                        (x + 0.55, y - 0.1, z0),
                        (x + 0.55, y + 1.5, z0),
                        (x - 0.55, y + 1.5, z0),
                    ],
                    trim,
                    parent=face,
                )
            build.face(
                [(x - 0.45, y, z0), (x + 0.45, y, z0), (x + 0.45, y + 1.4, z0), (x - 0.45, y + 1.4, z0)],
                (0.12, 0.15, 0.18),
                glow=glow,
                parent=face,
            )


def tree(rng: np.random.Generator, sun: np.ndarray, *, bare: bool, leaves: int = 260) -> Model:
    """A street tree 5 to 11 m tall; leaves are lighter towards the sun. `bare`: winter, branches only."""
    n = max(24, leaves)
    height = rng.uniform(5.0, 11.0)
    crown = height * rng.uniform(0.55, 0.72)
    spread = height * rng.uniform(0.22, 0.36)
    bark = tuple(float(c) for c in np.array([0.24, 0.19, 0.15]) * rng.uniform(0.7, 1.3))
    thick = height * rng.uniform(0.014, 0.024)
    build = Builder()
    fork = height - crown
    build.limb((0, 0, 0), (rng.normal(0, 0.1), fork, rng.normal(0, 0.1)), thick * 1.2, thick, bark)
    if bare:
        tips = [((0.0, fork, 0.0), thick, np.array([rng.normal(0, 0.1), 1.0, rng.normal(0, 0.1)]), crown * 0.45)]
        for level in range(3 if n < 60 else 5):
            grown = []
            for start, radius, way, length in tips:
                for _ in range(2 if level else 4):
                    turn = way + rng.normal(0, 0.55, 3) * (1.0, 0.5, 1.0)
                    turn[1] = max(turn[1], 0.1)
                    turn /= np.linalg.norm(turn)
                    end = tuple(float(v) for v in np.asarray(start) + turn * length * rng.uniform(0.7, 1.1))
                    build.limb(start, end, radius, radius * 0.62, bark)
                    grown.append((end, radius * 0.62, turn, length * 0.68))
            tips = grown
            if len(tips) > 40:
                tips = tips[:40]
        return build.freeze()
    leaf = np.array(LEAVES[rng.integers(len(LEAVES))]) * rng.uniform(0.8, 1.2)
    for _ in range(4):
        a = rng.uniform(0, 2 * np.pi)
        build.limb(
            (0, fork * 0.95, 0),
            (spread * 0.6 * np.cos(a), fork + crown * rng.uniform(0.3, 0.6), spread * 0.6 * np.sin(a)),
            thick * 0.7,
            thick * 0.3,
            bark,
        )
    spots = rng.normal(0, 1, (n, 3))
    spots /= np.linalg.norm(spots, axis=1, keepdims=True)
    lobes = rng.normal(0, 1, (6, 3))  # the crown bulges where a bough carries it
    bulge = 0.80 + 0.32 * np.max(spots @ (lobes / np.linalg.norm(lobes, axis=1, keepdims=True)).T, axis=1)
    spots *= rng.uniform(0.15, 1.0, (n, 1)) ** 0.4 * bulge[:, None]
    tall = crown / 2
    sizes = rng.uniform(0.07, 0.15, n) * (260 / n) ** 0.45 * (spread + tall) / 2
    lights = 0.72 + 0.40 * (spots @ sun) + 0.22 * spots[:, 1] + rng.normal(0, 0.13, n)
    centres = spots * (spread, tall, spread) + (0, fork + tall, 0)
    colours = np.minimum(0.9, leaf * np.maximum(0.3, lights)[:, None])
    build.leafage(centres.tolist(), sizes.tolist(), [(r, g, b) for r, g, b in colours.tolist()])
    return build.freeze()


def lamp_post(rng: np.random.Generator, reach: float) -> Model:
    """A lamp post 6 to 9 m tall whose arm reaches `reach` metres along x, over the road."""
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


def post(rng: np.random.Generator, height: float, radius: float = 0.045, colour=STEEL) -> Model:
    """A plain upright post."""
    build = Builder()
    build.limb((0, 0, 0), (0, height, 0), radius, radius, colour)
    return build.freeze()


def fence(rng: np.random.Generator, length: float, style: int) -> Model:
    """A fence along z, of boards (0), railings that one sees through (1), or a low brick wall (2)."""
    build = Builder()
    z0, z1 = -length / 2, length / 2
    if style == 1:
        top, colour = rng.uniform(0.95, 1.4), (0.08, 0.09, 0.09) if rng.random() < 0.7 else (0.45, 0.46, 0.46)
        build.face([(0, 0.05, z0), (0, 0.05, z1), (0, top, z1), (0, top, z0)], None)
        for y in (0.15, top - 0.05):
            build.face([(0, y - 0.03, z0), (0, y - 0.03, z1), (0, y + 0.03, z1), (0, y + 0.03, z0)], colour)
        for z in np.arange(z0, z1, 0.22):
            w = 0.045 if round(float(z - z0) / 0.22) % 9 == 0 else 0.016
            build.face([(0, 0, z - w), (0, 0, z + w), (0, top, z + w), (0, top, z - w)], colour)
        return build.freeze()
    if style == 2:
        top, colour = rng.uniform(0.7, 1.5), tuple(c * rng.uniform(0.8, 1.1) for c in WALLS[rng.integers(3)])
        build.box((0, 0, z0), (0.25, top, z1), colour, skip=("bottom",))
        build.box((-0.04, top, z0), (0.29, top + 0.09, z1), (0.62, 0.60, 0.56), skip=("bottom",))
        return build.freeze()
    top = rng.uniform(1.2, 2.0)
    colour = np.array([0.42, 0.31, 0.21]) * rng.uniform(0.7, 1.4)
    for z in np.arange(z0, z1, 0.5):
        tone = tuple(float(c) for c in np.clip(colour * rng.uniform(0.85, 1.12), 0, 0.95))
        build.face([(0, 0.05, z), (0, 0.05, min(z + 0.47, z1)), (0, top, min(z + 0.47, z1)), (0, top, z)], tone)
    return build.freeze()


def hedge(rng: np.random.Generator, length: float) -> Model:
    """A clipped hedge along z."""
    top = rng.uniform(0.9, 1.8)
    leaf = np.array(LEAVES[rng.integers(len(LEAVES))]) * 0.9
    build = Builder()
    build.box((0, 0, -length / 2), (0.7, top, length / 2), tuple(float(c) for c in leaf), skip=("bottom",))
    for _ in range(int(length * 6)):
        tone = tuple(float(c) for c in np.clip(leaf * rng.uniform(0.7, 1.35), 0.02, 0.9))
        build.ball(
            (rng.uniform(-0.02, 0.3), rng.uniform(0.15, top), rng.uniform(-length / 2, length / 2)), 0.16, 0.14, tone
        )
    return build.freeze()


def sign(rng: np.random.Generator, height: float) -> Model:
    """The plate of a traffic sign whose middle is `height` metres up, facing -z: round, a triangle or a board."""
    style = rng.integers(5)
    build = Builder()
    size = rng.uniform(0.30, 0.42)
    red, blue, white = (0.72, 0.06, 0.07), (0.06, 0.20, 0.58), (0.90, 0.90, 0.88)

    def plate(radius, n, colour, start=0.0, parent=-1, z=-0.06):
        turn = start + np.linspace(0, 2 * np.pi, n, endpoint=False)
        return build.face(
            [(radius * np.cos(t), height + radius * np.sin(t), z) for t in turn],
            colour,
            outside=(0, height, -9),
            parent=parent,
        )

    def bar(x0, y0, x1, y1, colour, parent):
        build.face(
            [(x0, height + y0, -0.06), (x1, height + y0, -0.06), (x1, height + y1, -0.06), (x0, height + y1, -0.06)],
            colour,
            parent=parent,
        )

    turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    if style == 0:
        face = plate(size, 18, red)
        plate(size * 0.74, 18, white, parent=face)
        bar(-size * 0.35, -size * 0.3, -size * 0.1, size * 0.3, (0.08, 0.08, 0.08), face)
        bar(size * 0.05, -size * 0.3, size * 0.35, size * 0.3, (0.08, 0.08, 0.08), face)
    elif style == 1:
        face = plate(size * 1.15, 3, red, start=np.pi / 2)
        plate(size * 0.78, 3, white, start=np.pi / 2, parent=face)
        bar(-0.04, -size * 0.2, 0.04, size * 0.3, (0.08, 0.08, 0.08), face)
    elif style == 2:
        face = plate(size, 18, blue)
        build.face(
            [
                (-0.15, height - 0.03, -0.06),
                (0.0, height + 0.2, -0.06),
                (0.15, height - 0.03, -0.06),
                (0.05, height - 0.03, -0.06),
                (0.05, height - 0.22, -0.06),
                (-0.05, height - 0.22, -0.06),
                (-0.05, height - 0.03, -0.06),
            ],
            white,
            parent=face,
        )
    elif style == 3:
        face = plate(size, 18, red)
        bar(-size * 0.65, -size * 0.16, size * 0.65, size * 0.16, white, face)
    else:
        w, h = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.6)
        colour = ((0.05, 0.32, 0.18), blue, white)[rng.integers(3)]
        ink = (0.1, 0.1, 0.1) if colour == white else white
        face = build.face(
            [(-w, height - h, -0.06), (w, height - h, -0.06), (w, height + h, -0.06), (-w, height + h, -0.06)],
            colour,
            outside=(0, height, -9),
        )
        for row in range(2):
            y = h * (0.35 - 0.8 * row)
            bar(-w * 0.8, y - 0.06, w * rng.uniform(0.1, 0.8), y + 0.06, ink, face)
        build.face(
            [(-w, height - h, -0.05), (w, height - h, -0.05), (w, height + h, -0.05), (-w, height + h, -0.05)],
            (0.45, 0.45, 0.46),
            outside=(0, height, 9),
        )
        return build.freeze()
    build.face(
        [(size * np.cos(t), height + size * np.sin(t), -0.05) for t in turn], (0.45, 0.45, 0.46), outside=(0, height, 9)
    )
    return build.freeze()


def traffic_light(rng: np.random.Generator, height: float, phase: int) -> Model:
    """A signal head facing -z whose middle is `height` metres up; phase 0 red, 1 amber, 2 green."""
    build = Builder()
    box = build.box((-0.17, height - 0.5, -0.2), (0.17, height + 0.5, 0.1), (0.06, 0.06, 0.06))
    board = box["back"]
    lit = ((1.0, 0.12, 0.06), (1.0, 0.62, 0.05), (0.10, 1.0, 0.45))
    for index in range(3):
        y = height + 0.31 * (1 - index)
        on = index == phase
        colour = lit[index] if on else tuple(0.22 * c for c in lit[index])
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        build.face(
            [(0.115 * np.cos(t), y + 0.115 * np.sin(t), -0.2) for t in turn],
            colour,
            glow=lit[index] if on else None,
            parent=board,
        )
    return build.freeze()
