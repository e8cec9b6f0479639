"""Computes where the sun does not reach the ground: shadows of things, and the dark beneath vehicles and feet."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scenes.camera import Camera, cut
from scenes.light import Light
from scenes.shapes import Thing


def shadows(size: tuple[int, int], camera: Camera, light: Light, things: list[Thing]) -> np.ndarray:
    """Return how much of the sun is kept from the ground at each pixel, float32 [H, W] in 0-1."""
    picture = Image.new("L", size)
    draw = ImageDraw.Draw(picture)
    strong = min(1.0, float(light.direct.max()) * 1.6)
    throw = light.sun / max(float(light.sun[1]), 0.12)
    upright = [thing for thing in things if not thing.flat]
    if strong >= 0.05:
        for thing in upright:
            if thing.shadow > 0 and thing.model.high[1] > 0.3:
                value = int(255 * strong * (0.75 if thing.noun == "tree" else 1.0))
                _spread(draw, camera, _footprint(thing, thing.shadow, throw), value)
    for thing in upright:
        if thing.kind and thing.shadow > 0:
            _spread(draw, camera, _footprint(thing, 1.04, None), 255)
    return np.asarray(picture.filter(ImageFilter.BoxBlur(size[0] / 300))).astype(np.float32) * np.float32(1 / 255)


def _footprint(thing: Thing, swell: float, throw: np.ndarray | None) -> np.ndarray:
    """Return where the thing's box meets the ground, and with `throw` where the shadow of its top would:
    world [N, 3]."""
    low, high = thing.model.low * swell, thing.model.high * swell
    levels = (0.0,) if throw is None else (0.0, float(thing.model.high[1]))
    c, s = np.cos(thing.yaw), np.sin(thing.yaw)
    spots = []
    for x in (float(low[0]), float(high[0])):
        for z in (float(low[2]), float(high[2])):
            for y in levels:
                dx, dz = (y * throw[0], y * throw[2]) if throw is not None else (0.0, 0.0)
                spots.append((thing.place[0] + x * c + z * s - dx, thing.place[2] - x * s + z * c - dz))
    return _hull(spots)


def _spread(draw: ImageDraw.ImageDraw, camera: Camera, ground: np.ndarray, value: int) -> None:
    points = cut(camera.turned(ground, (0.0, 0.0, 0.0), 0.0), 1.0)
    if len(points) >= 3:
        draw.polygon(camera.pixels(points).ravel().tolist(), fill=value)


def _hull(spots: list[tuple[float, float]]) -> np.ndarray:
    """Return the convex hull of ground places (x, z), in order round it, as world points [N, 3]."""
    rows = sorted({(float(x), float(z)) for x, z in spots})

    def half(rows: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, z in rows:
            while len(kept) > 1:
                (ax, az), (bx, bz) = kept[-2], kept[-1]
                if (bx - ax) * (z - az) - (bz - az) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, z))
        return kept[:-1]

    return np.array([(x, 0.0, z) for x, z in half(rows) + half(rows[::-1])], np.float32).reshape(-1, 3)
