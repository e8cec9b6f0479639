"""Paints things back to front into three pictures at twice the size: surface colour, glow, and the number of
the thing."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from scenes.camera import NEAR, Camera, cut
from scenes.colours import Colour
from scenes.shapes import BALL, FACE, LIMB, WHEEL, Shape, Thing

FINE = 2  # the pictures are painted this many times larger, then reduced, for smooth edges
DETAIL = 7  # pixels of the fine canvas per metre; below this, details painted on a face are left out
LEAFY = 90  # pixels of the fine canvas per metre; from here on, all leaves of a tree are painted


class Canvas:
    """Surface colour (RGB), glow (RGB, only if `glowing`) and the number of the thing on top (0 is the sky)."""

    def __init__(self, size: tuple[int, int], camera: Camera, sun: np.ndarray, glowing: bool):
        self.size = size
        fine = (size[0] * FINE, size[1] * FINE)
        self.camera = Camera(
            camera.x,
            camera.height,
            camera.z,
            camera.yaw,
            camera.focal * FINE,
            camera.middle * FINE,
            camera.horizon * FINE,
        )
        self.sun = sun
        self.surface = Image.new("RGB", fine)
        self.numbers = Image.new("I", fine)
        self.glow = Image.new("RGB", fine) if glowing else None
        self._surface = ImageDraw.Draw(self.surface)
        self._numbers = ImageDraw.Draw(self.numbers)
        self._glow = ImageDraw.Draw(self.glow) if self.glow else None

    def paint(self, thing: Thing, number: int) -> None:
        """Paint a thing on top of those painted before; nearer things must be painted later."""
        model, camera = thing.model, self.camera
        points = camera.turned(model.points, thing.place, thing.yaw)
        if points[:, 2].max() < NEAR:
            return
        pixels = camera.pixels(points)
        behind = points[:, 2].min() < NEAR
        if behind and thing.kind:
            return  # a thing that reaches past the lens cannot be cut cleanly, and would be a blur in a photograph
        if not behind and not self._within(pixels, model.reach, points):
            return
        c, s = np.cos(thing.yaw - camera.yaw), np.sin(thing.yaw - camera.yaw)
        normals = model.normals @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], np.float32)
        middles = np.add.reduceat(points, model.starts, axis=0) / model.counts[:, None]
        facing = (normals * middles).sum(1) <= 0
        shades = self._shades(normals)
        order = (
            model.roots if thing.flat else model.roots[np.argsort(-(middles[model.roots] ** 2).sum(1), kind="stable")]
        )
        small = not thing.flat and camera.focal / max(float(points[:, 2].min()), NEAR) < DETAIL
        swell = 1.0
        if model.leaves[1]:
            first, count = model.leaves
            shown = int(min(count, max(24, count * camera.focal / max(float(points[:, 2].min()), NEAR) / LEAFY)))
            order = order[(order < first + shown) | (order >= first + count)]
            swell = (count / shown) ** 0.45
        for index in order:
            if not facing[index]:
                continue
            self._shape(model.shapes[index], points, pixels, behind, shades[index], number, swell)
            for painted in model.painted.get(int(index), ()):
                if small and not model.shapes[painted].glow:
                    continue
                self._shape(model.shapes[painted], points, pixels, behind, shades[index], number)

    def _within(self, pixels: np.ndarray, reach: float, points: np.ndarray) -> bool:
        margin = reach * self.camera.focal / max(points[:, 2].min(), NEAR)
        low, high = pixels.min(0) - margin, pixels.max(0) + margin
        return high[0] > 0 and high[1] > 0 and low[0] < self.surface.width and low[1] < self.surface.height

    def _shades(self, normals: np.ndarray) -> np.ndarray:
        """Return how bright a face is against a face in open light: sky from above, ground from below, sun from its
        side."""
        c, s = np.cos(self.camera.yaw), np.sin(self.camera.yaw)
        sun = np.array([self.sun[0] * c - self.sun[2] * s, self.sun[1], self.sun[0] * s + self.sun[2] * c], np.float32)
        lit = np.maximum(normals @ sun, 0)
        shade = 0.70 + 0.12 * normals[:, 1] + 0.38 * lit
        return np.where((normals == 0).all(1), 0.9, shade)

    def _shape(
        self,
        shape: Shape,
        points: np.ndarray,
        pixels: np.ndarray,
        behind: bool,
        shade: float,
        number: int,
        swell: float = 1.0,
    ) -> None:
        rows = slice(shape.first, shape.first + shape.rows)
        if shape.kind == FACE:
            if behind and points[rows, 2].min() < NEAR:
                pixels = self.camera.pixels(cut(points[rows]))
                rows = slice(0, len(pixels))
            polygon = pixels[rows].ravel().tolist()
            if len(polygon) >= 6:
                self._polygon(polygon, shape.colour, shape.glow, shade, number)
            return
        if behind and points[rows, 2].min() < NEAR:
            return
        assert shape.colour is not None  # a face alone may have none
        scale = self.camera.focal / points[rows, 2]
        spots = pixels[rows].tolist()
        if shape.kind == LIMB:
            self._limb(
                spots, shape.radii[0] * float(scale[0]), shape.radii[1] * float(scale[1]), shape.colour, shade, number
            )
        elif shape.kind == BALL:
            (x, y), size = spots[0], float(scale[0]) * swell
            rx, ry = shape.radii[0] * size, shape.radii[1] * size
            self._ellipse((x - rx, y - ry, x + rx, y + ry), shape.colour, shape.glow, shade, number)
        elif shape.kind == WHEEL:
            flat = [v for spot in spots for v in spot]
            self._numbers.polygon(flat, fill=number)
            width = max(1, round(2 * shape.radii[0] * float(scale[0])))
            colour = _bytes(shape.colour, shade)
            closed = flat + flat[:4]
            self._surface.line(closed, fill=colour, width=width, joint="curve")
            self._numbers.line(closed, fill=number, width=width, joint="curve")
            if self._glow:
                self._glow.line(closed, fill=0, width=width)

    def _polygon(
        self, polygon: list[float], colour: Colour | None, glow: Colour | None, shade: float, number: int
    ) -> None:
        self._numbers.polygon(polygon, fill=number)
        if colour is None:
            return
        self._surface.polygon(polygon, fill=_bytes(colour, shade))
        if self._glow:
            self._glow.polygon(polygon, fill=_bytes(glow, 1.0) if glow else 0)

    def _ellipse(
        self, box: tuple[float, float, float, float], colour: Colour, glow: Colour | None, shade: float, number: int
    ) -> None:
        self._surface.ellipse(box, fill=_bytes(colour, shade))
        self._numbers.ellipse(box, fill=number)
        if self._glow:
            self._glow.ellipse(box, fill=_bytes(glow, 1.0) if glow else 0)

    def _limb(self, spots: list[list[float]], ra: float, rb: float, colour: Colour, shade: float, number: int) -> None:
        (ax, ay), (bx, by) = spots
        dx, dy = bx - ax, by - ay
        length = (dx * dx + dy * dy) ** 0.5
        if length > 0.5:
            nx, ny = -dy / length, dx / length
            quad = [
                ax + nx * ra,
                ay + ny * ra,
                bx + nx * rb,
                by + ny * rb,
                bx - nx * rb,
                by - ny * rb,
                ax - nx * ra,
                ay - ny * ra,
            ]
            self._polygon(quad, colour, None, shade, number)
        if ra > 0.6:
            self._ellipse((ax - ra, ay - ra, ax + ra, ay + ra), colour, None, shade, number)
        if rb > 0.6:
            self._ellipse((bx - rb, by - rb, bx + rb, by + rb), colour, None, shade, number)
        if max(ra, rb) > 2.5:  # a lighter streak on the side of the sun makes the limb look round
            side = 0.35 if self.sun[0] > 0 else -0.35
            lit = _bytes(colour, shade * 1.22)
            ux, wx = ax + side * ra, bx + side * rb
            self._surface.line((ux, ay, wx, by), fill=lit, width=max(1, round(0.8 * min(ra, rb))))


def _bytes(colour: Colour, shade: float) -> tuple[int, int, int]:
    r, g, b = colour
    shade = 255 * float(shade)
    return (min(255, int(r * shade)), min(255, int(g * shade)), min(255, int(b * shade)))
