"""Builds solid things from four primitives: flat faces, limbs (tapered capsules), balls and wheels.

Object coordinates are metres: x right, y up, z forward; the origin lies on the ground below the thing's middle. A
`Builder` collects primitives; `freeze` packs them into arrays, so that a thing is placed and projected with a few
products however many primitives it has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from scenes.colours import Colour

FACE, LIMB, BALL, WHEEL = range(4)
Point = tuple[float, float, float]
Pair = tuple[float, float]  # the two ends of something along one axis


class Shape(NamedTuple):
    """One primitive. `first` and `rows` say which are its rows in the model's points.

    colour  RGB 0-1 as displayed by day. None hides nothing but counts as the thing (wheel discs).
    glow    RGB 0-1 of its own light at dusk and night, or None.
    parent  index of the face on which this one is painted (windows on a wall), or -1.
    radii   metres at the first and at the last point (limbs), or across and along (balls), or tyre (wheels).
    """

    kind: int
    first: int
    rows: int
    colour: Colour | None
    glow: Colour | None = None
    parent: int = -1
    radii: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Model:
    """Primitives ready to be placed.

    points [N, 3] float32 metres; normals [S, 3] of unit length, zero for primitives that are no faces; `painted` maps a
    face to the primitives painted on it; `low` and `high` [3] are the corners of the box around all points, beyond
    which no primitive reaches by more than `reach` metres; `leaves`: first and count of a crowd of like balls, which is
    drawn with fewer and larger ones from afar.
    """

    shapes: tuple[Shape, ...]
    points: np.ndarray
    normals: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    roots: np.ndarray
    painted: dict[int, list[int]]
    low: np.ndarray
    high: np.ndarray
    reach: float
    leaves: tuple[int, int] = (0, 0)


@dataclass
class Builder:
    """Collects primitives in object coordinates; every method returns the primitive's index."""

    shapes: list[Shape] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    outside: list[Point | None] = field(default_factory=list)
    leaves: tuple[int, int] = (0, 0)

    def _add(
        self,
        kind: int,
        points: Sequence[Point],
        colour: Colour | None,
        glow: Colour | None = None,
        parent: int = -1,
        radii: Pair = (0.0, 0.0),
        outside: Point | None = None,
    ) -> int:
        self.shapes.append(Shape(kind, len(self.points), len(points), colour, glow, parent, radii))
        self.points.extend(points)
        self.outside.append(outside)
        return len(self.shapes) - 1

    def face(
        self,
        points: Sequence[Point],
        colour: Colour | None,
        *,
        outside: Point | None = None,
        glow: Colour | None = None,
        parent: int = -1,
    ) -> int:
        """Add a flat polygon seen from the side where the point `outside` lies, or from both if that is None."""
        return self._add(FACE, points, colour, glow, parent, outside=outside if parent < 0 else None)

    def along(self, x: float, z: Pair, y: Pair, colour: Colour | None, **more: Any) -> int:
        """Add a rectangle in the plane x = `x`, between the pairs z and y: on a wall along the road or a vehicle's
        side."""
        (z0, z1), (y0, y1) = z, y
        return self.face([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], colour, **more)

    def across(self, z: float, x: Pair, y: Pair, colour: Colour | None, **more: Any) -> int:
        """Add a rectangle in the plane z = `z`, between the pairs x and y: on a vehicle's front or back."""
        (x0, x1), (y0, y1) = x, y
        return self.face([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour, **more)

    def box(self, low: Point, high: Point, colour: Colour, *, skip: Collection[str] = ()) -> dict[str, int]:
        """Add six faces named left, right, bottom, top, back (towards -z), front. Returns their indices."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        cx, cy, cz = (x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2
        sides = {
            "left": ([(x0, y0, z0), (x0, y0, z1), (x0, y1, z1), (x0, y1, z0)], (x0 - 1, cy, cz)),
            "right": ([(x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)], (x1 + 1, cy, cz)),
            "bottom": ([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], (cx, y0 - 1, cz)),
            "top": ([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], (cx, y1 + 1, cz)),
            "back": ([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)], (cx, cy, z0 - 1)),
            "front": ([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], (cx, cy, z1 + 1)),
        }
        return {
            name: self.face(points, colour, outside=outside)
            for name, (points, outside) in sides.items()
            if name not in skip
        }

    def limb(self, a: Point, b: Point, ra: float, rb: float, colour: Colour) -> int:
        """Add a capsule from `a` to `b` with the radii `ra` and `rb`."""
        return self._add(LIMB, [a, b], colour, radii=(ra, rb))

    def ball(
        self,
        centre: Point,
        across: float,
        along: float,
        colour: Colour,
        *,
        glow: Colour | None = None,
        parent: int = -1,
    ) -> int:
        """Add a ball. across, along: its radii, metres."""
        return self._add(BALL, [centre], colour, glow, parent, radii=(across, along))

    def leafage(self, centres: list[Point], sizes: list[float], colours: list[Colour]) -> None:
        """Add many balls at once, in an order in which the first few of them already show the whole crown."""
        self.leaves = (len(self.shapes), len(centres))
        first = len(self.points)
        self.points.extend(centres)
        self.outside.extend([None] * len(centres))
        for index, (size, colour) in enumerate(zip(sizes, colours, strict=True), first):
            self.shapes.append(Shape(BALL, index, 1, colour, None, -1, (size, size * 0.85)))

    def wheel(self, centre: Point, radius: float, tyre: float, colour: Colour) -> int:
        """Add a wheel in the plane of y and z. Its disc counts as the thing although the spokes let the view
        through."""
        cx, cy, cz = centre
        turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)
        return self._add(
            WHEEL, [(cx, cy + radius * np.sin(t), cz + radius * np.cos(t)) for t in turn], colour, radii=(tyre, tyre)
        )

    def freeze(self) -> Model:
        """Pack the primitives into a model."""
        points = np.array(self.points, np.float32).reshape(-1, 3)
        starts = np.array([shape.first for shape in self.shapes])
        counts = np.array([shape.rows for shape in self.shapes])
        painted: dict[int, list[int]] = {}
        roots = []
        for index, shape in enumerate(self.shapes):
            if shape.parent >= 0:
                painted.setdefault(shape.parent, []).append(index)
            else:
                roots.append(index)
        return Model(
            tuple(self.shapes),
            points,
            self._normals(points, starts, counts),
            starts,
            counts,
            np.array(roots),
            painted,
            points.min(0),
            points.max(0),
            max(max(shape.radii) for shape in self.shapes),
            self.leaves,
        )

    def _normals(self, points: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return unit normals [S, 3] towards `outside`, by Newell's sum, which is right for any flat polygon, convex or
        not."""
        after = np.arange(1, len(points) + 1)
        after[starts + counts - 1] = starts
        q = points[after]
        turn = np.empty_like(points)
        for axis in range(3):
            one, two = (axis + 1) % 3, (axis + 2) % 3
            turn[:, axis] = points[:, one] * q[:, two] - points[:, two] * q[:, one]
        normals = np.add.reduceat(turn, starts, axis=0)
        normals /= np.sqrt((normals * normals).sum(1, keepdims=True)) + 1e-9
        middles = np.add.reduceat(points, starts, axis=0) / counts[:, None]
        flat = np.array([place is not None for place in self.outside])
        outside = np.array([(0.0, 0.0, 0.0) if place is None else place for place in self.outside], np.float32)
        way = np.where(((outside - middles) * normals).sum(1) < 0, -1.0, 1.0)
        return (normals * (way * flat)[:, None]).astype(np.float32)


@dataclass
class Thing:
    """A model at a place in the world.

    label: CamVid class index. kind: instance kind, None for things that are not counted. noun: its name in a caption.
    place [3]: metres, x right of the road's middle, z along the road. yaw: radians, 0 looks along +z. speed: metres per
    second along +z. grain: contrast of the surface's texture, 0-1. shadow: True casts a shadow on the ground.
    """

    model: Model
    label: int
    place: tuple[float, float, float]
    yaw: float = 0.0
    kind: str | None = None
    noun: str | None = None
    speed: float = 0.0
    grain: float = 0.1
    shadow: float = 1.0
    flat: bool = False
    key: int = 0
