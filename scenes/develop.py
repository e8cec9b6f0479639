"""Turns painted surfaces into a photograph: light, texture, haze, sky and glow, then the camera's own faults.

Colours are linear light in planes, float32 [3, H, W], until the film curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageFilter

from scenes import texture
from scenes.camera import Camera
from scenes.canvas import FINE, Canvas
from scenes.light import Light
from scenes.shadow import shadows
from scenes.shapes import Thing

F = np.float32


def develop(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    things: list[Thing],
    numbers: np.ndarray,
    rng: np.random.Generator,
    noise: np.random.Generator | None = None,
) -> np.ndarray:
    """Return the finished picture, uint8 [H, W, 3] RGB.

    things: as painted; number k on the canvas is things[k - 1]. numbers: int32 [H, W], the thing on top, 0 the sky.
    rng: for the camera's faults and the clouds. noise: for the noise of this picture; None takes `rng`, too.
    """
    width, height = canvas.size
    sky = _sky_share(canvas)
    colour = _planes(canvas.surface.reduce(FINE))
    colour *= colour
    column = np.arange(width, dtype=F)[None] + F(0.5)
    row = np.arange(height, dtype=F)[:, None] + F(0.5)
    world_x, world_z, ahead = camera.ground(width, height)
    table = _table(camera, things)
    ground = table["flat"][numbers]
    depth = np.where(ground, ahead, table["distance"][numbers])

    shade = _grain(table, numbers, ground, depth, world_x, world_z, row, column, width)
    foot, top = table["foot"][numbers], table["top"][numbers]
    span = np.clip((row - top) / np.maximum(foot - top, F(1)), 0, 1)
    shade *= np.where(ground, F(1), F(1.06) - F(0.30) * span * span * span)  # less sky reaches the foot of things
    np.maximum(shade, F(0.05), out=shade)

    dark = shadows(canvas.size, camera, light, things) * ground
    sunlit, open_sky = shade * (1 - dark), shade * (1 - F(0.45) * dark)
    lamps = _lamplight(camera, light, things, world_x, world_z, depth, ground, row, column) if light.lamps else None
    haze = (1 - np.exp(depth * F(-1 / light.reach))) * (1 - sky)
    heaven = _sky(camera, light, width, height, int(rng.integers(texture.TILE)))
    for c in range(3):
        lit = open_sky * light.ambient[c] + sunlit * light.direct[c]
        if lamps is not None:
            lit += shade * lamps[c]
        plane = colour[c]
        plane *= lit
        plane += haze * (light.haze[c] * (1 - sky) - plane)
        plane += sky * heaven[c]
    if canvas.glow is not None:
        _add_glow(colour, canvas.glow, light)
    return _film(colour, light, rng, noise or rng)


def _planes(picture: Image.Image) -> np.ndarray:
    """Return an RGB picture as float32 [3, H, W] in 0-1, each plane contiguous in memory."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)).astype(F) * F(1 / 255)


def _sky_share(canvas: Canvas) -> np.ndarray:
    """Return the share of each pixel that is sky, float32 [H, W]; smooth where roofs and leaves meet the sky."""
    empty = (np.asarray(canvas.numbers) == 0).astype(F)
    share = empty[0::FINE, 0::FINE].copy()
    for y in range(FINE):
        for x in range(FINE):
            if y or x:
                share += empty[y::FINE, x::FINE]
    return share * F(1 / FINE**2)


def _table(camera: Camera, things: list[Thing]) -> dict[str, np.ndarray]:
    """Return the properties of each number on the canvas, as arrays over the numbers; 0 is the sky."""
    n = len(things) + 1
    table = {name: np.zeros(n, F) for name in ("distance", "foot", "top", "grain")}
    table["flat"], table["key"] = np.zeros(n, bool), np.zeros(n, np.int32)
    table["distance"][0] = 1e6
    c, s = np.cos(camera.yaw), np.sin(camera.yaw)
    for k, thing in enumerate(things, 1):
        away = max(float((thing.place[0] - camera.x) * s + (thing.place[2] - camera.z) * c), 1.0)
        scale = camera.focal / away
        table["distance"][k], table["grain"][k], table["flat"][k], table["key"][k] = (
            away,
            thing.grain,
            thing.flat,
            thing.key,
        )
        table["foot"][k] = camera.horizon + camera.height * scale
        table["top"][k] = camera.horizon - (float(thing.model.high[1]) - camera.height) * scale
    return table


def _grain(
    table: Mapping[str, np.ndarray],
    numbers: np.ndarray,
    ground: np.ndarray,
    depth: np.ndarray,
    world_x: np.ndarray,
    world_z: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    width: int,
) -> np.ndarray:
    """Return texture, float32 [H, W] about 1. Texture on the ground is laid out in metres, on things in pixels."""
    fine = F(1280 / width)
    key = table["key"][numbers]
    u = np.where(ground, world_x * F(90), column * fine).astype(np.int32)
    v = np.where(ground, world_z * F(30), row * fine).astype(np.int32)
    near = texture.look(texture.grain(), v + key * 37, u + key * 101)
    wide = texture.look(texture.grain(), (world_z * F(1.5)).astype(np.int32), (world_x * F(9)).astype(np.int32) + 77)
    fade = np.clip(F(14) / depth, F(0.12), F(1))
    return 1 + table["grain"][numbers] * np.where(ground, (near + F(0.45) * wide) * fade, near)


def _lamplight(
    camera: Camera,
    light: Light,
    things: Sequence[Thing],
    world_x: np.ndarray,
    world_z: np.ndarray,
    depth: np.ndarray,
    ground: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
) -> np.ndarray:
    """Return the light of street lamps and of the camera car's headlamps, float32 [3, H, W]."""
    pools = np.zeros(world_x.shape, F)
    for thing in things:
        away = thing.place[2] - camera.z
        if thing.noun != "lamp post" or not -15 < away < 90:
            continue
        dx, dz = world_x - F(thing.place[0] * 0.72), world_z - F(thing.place[2])
        near = depth - F(away)
        pools += F(0.4) / (1 + np.where(ground, (dx * dx + dz * dz) * F(1 / 20), F(0.9) + near * near * F(1 / 30)))
    np.minimum(pools, F(0.8), out=pools)
    across = (column - F(camera.middle)) * F(1 / (0.42 * camera.focal))
    over = np.maximum((F(camera.horizon) - row) / F(camera.focal) - F(0.02), 0) * F(1 / 0.07)
    cone = np.exp(-across * across) * np.exp(-over * over)
    own = F(1.1) * cone * np.exp(depth * F(-1 / 26)) * np.where(ground, np.clip(depth * F(1 / 7), 0, 1), F(1))
    sodium = np.array([1.0, 0.72, 0.42], F) * F(light.lamps)
    head = np.array([1.0, 0.95, 0.84], F) * F(0.9 * light.lamps)
    return np.stack([pools * sodium[c] + own * head[c] for c in range(3)])


def _sky(camera: Camera, light: Light, width: int, height: int, drift: int) -> np.ndarray:
    """Return the sky behind everything, float32 [3, H, W]: lighter at the horizon, clouds flattened by perspective."""
    above = np.maximum(F(camera.horizon) - np.arange(height, dtype=F), 0)
    blend = (np.clip(above / F(0.55 * height), 0, 1) ** F(0.6))[:, None]
    up = np.maximum(above / F(camera.focal), F(0.02))
    v = (F(90) / (up + F(0.12)) + drift).astype(np.int32)[:, None]
    u = (
        (np.arange(width, dtype=F) - F(camera.middle))[None] * (F(160 / camera.focal) / (up + F(0.25)))[:, None]
        + 3 * drift
    ).astype(np.int32)
    cloud = np.clip((texture.look(texture.cover(), v, u) - F(0.75 - 0.6 * light.clouds)) * F(2.2), 0, 1)
    if light.time == "day":
        body = np.array([0.95, 0.96, 0.98], F) * F(1.25 if light.weather == "sunny" else 0.8)
    else:
        body = light.low * F(1.05)
    amount = cloud * F(0.85 if light.time == "day" else 0.5)
    tone = 1 - F(0.38) * cloud
    return np.stack(
        [
            (light.low[c] * (1 - blend) + light.high[c] * blend) * (1 - amount) + body[c] * tone * amount
            for c in range(3)
        ]
    )


def _add_glow(colour: np.ndarray, glow: Image.Image, light: Light) -> None:
    """Add lamps and lit windows, sharp and as a halo that the lens spreads."""
    small = glow.reduce(FINE)
    width, height = small.size
    sharp = _planes(small)
    colour += sharp * sharp * F(1.15 * light.lamps)
    quarter = small.reduce(4)
    for radius, weight in ((width / 480, 0.45), (width / 120, 0.7)):
        halo = quarter.filter(ImageFilter.GaussianBlur(radius)).resize((width, height), Image.Resampling.BILINEAR)
        planes = _planes(halo)
        colour += planes * np.sqrt(planes) * F(weight * light.lamps)


def _film(colour: np.ndarray, light: Light, rng: np.random.Generator, speckles: np.random.Generator) -> np.ndarray:
    """Apply exposure, film curve, vignette, lens blur and noise. Returns uint8 [H, W, 3]."""
    height, width = colour.shape[1:]
    y, x = np.linspace(-1, 1, height, dtype=F)[:, None], np.linspace(-1, 1, width, dtype=F)[None]
    vignette = 1 - F(rng.uniform(0.02, 0.14)) * (x * x + y * y)
    gains = light.exposure * (1 + rng.normal(0, 0.02, 3))
    developed = np.empty((height, width, 3), np.uint8)
    for c in range(3):
        plane = np.maximum(colour[c], 0) * F(gains[c])
        developed[..., c] = np.minimum(np.sqrt(plane / (1 + F(0.25) * plane) * F(1.12)) * vignette * F(255), F(255))
    picture = Image.fromarray(developed)
    blur = float(rng.uniform(0, 0.7)) * width / 480
    if blur > 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    noise = F(rng.uniform(1.0, 3.5) * (1.7 if light.time == "night" else 1.0))
    out = np.asarray(picture).astype(F)
    bright = texture.speckle(height, width, speckles) * (noise * F(0.8))
    for c in range(3):
        out[..., c] += bright + texture.speckle(height, width, speckles) * (noise * F(0.5))
    return np.clip(out, 0, 255, out=out).astype(np.uint8)
