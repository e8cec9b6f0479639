"""From painted surfaces to a photograph: light, shadow, texture, haze, glow, then the camera's own faults."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scenes.camera import Camera
from scenes.canvas import FINE, Canvas
from scenes.light import Light
from scenes.shapes import Thing

TILE = 512


@cache
def _noise() -> np.ndarray:
    """A fixed texture of several octaves that tiles, float32 [TILE, TILE], mean 0, deviation 1. The same in every process."""
    rng = np.random.default_rng(20)
    total = np.zeros((TILE, TILE), np.float32)
    for size, weight in ((8, 0.35), (32, 0.45), (128, 0.5), (512, 0.55)):
        grid = rng.standard_normal((size, size)).astype(np.float32)
        grid = np.pad(grid, ((2, 2), (2, 2)), mode="wrap")
        scale = TILE // size
        big = Image.fromarray(grid).resize(((size + 4) * scale, (size + 4) * scale), Image.Resampling.BICUBIC)
        total += weight * np.asarray(big)[2 * scale : 2 * scale + TILE, 2 * scale : 2 * scale + TILE]
    return (total - total.mean()) / total.std()


@cache
def _clouds() -> np.ndarray:
    """Cloud cover that tiles, float32 [TILE, TILE] in 0-1."""
    rng = np.random.default_rng(21)
    total = np.zeros((TILE, TILE), np.float32)
    for size, weight in ((4, 1.0), (8, 0.6), (16, 0.35), (64, 0.16)):
        grid = np.pad(rng.standard_normal((size, size)).astype(np.float32), ((2, 2), (2, 2)), mode="wrap")
        scale = TILE // size
        big = Image.fromarray(grid).resize(((size + 4) * scale, (size + 4) * scale), Image.Resampling.BICUBIC)
        total += weight * np.asarray(big)[2 * scale : 2 * scale + TILE, 2 * scale : 2 * scale + TILE]
    total = (total - total.mean()) / total.std()
    return np.clip(0.5 + 0.4 * total, 0, 1)


def shadows(size: tuple[int, int], camera: Camera, light: Light, things: list[Thing]) -> np.ndarray:
    """How much of the sun is kept from the ground at each pixel, float32 [H, W] in 0-1, with the dark under cars."""
    width, height = size
    picture = Image.new("L", size)
    draw = ImageDraw.Draw(picture)
    strong = min(1.0, float(light.direct.max()) * 1.6)
    throw = light.sun / max(float(light.sun[1]), 0.12)
    for thing in things:
        if thing.flat or thing.shadow <= 0 or strong < 0.05 or thing.model.high[1] < 0.3:
            continue
        low, high = thing.model.low * thing.shadow, thing.model.high
        corners = np.array(
            [
                (x, y, z)
                for x in (low[0], high[0] * thing.shadow)
                for y in (0.0, high[1])
                for z in (low[2], high[2] * thing.shadow)
            ],
            np.float32,
        )
        c, s = np.cos(thing.yaw), np.sin(thing.yaw)
        ground = np.zeros_like(corners)
        ground[:, 0] = thing.place[0] + corners[:, 0] * c + corners[:, 2] * s - corners[:, 1] * throw[0]
        ground[:, 2] = thing.place[2] - corners[:, 0] * s + corners[:, 2] * c - corners[:, 1] * throw[2]
        _spread(draw, camera, _hull(ground), int(255 * strong * (0.75 if thing.label == 5 else 1.0)))
    for thing in things:
        if thing.kind in ("car", "truck", "motorcycle", "bicycle", "pedestrian"):
            low, high = thing.model.low * 1.04, thing.model.high * 1.04
            corners = np.array([(x, 0, z) for x in (low[0], high[0]) for z in (low[2], high[2])], np.float32)
            c, s = np.cos(thing.yaw), np.sin(thing.yaw)
            ground = np.zeros_like(corners)
            ground[:, 0] = thing.place[0] + corners[:, 0] * c + corners[:, 2] * s
            ground[:, 2] = thing.place[2] - corners[:, 0] * s + corners[:, 2] * c
            _spread(draw, camera, _hull(ground), 255)
    return np.asarray(picture.filter(ImageFilter.BoxBlur(width / 300))).astype(np.float32) / 255


def _spread(draw, camera: Camera, ground: np.ndarray, value: int) -> None:
    from scenes.camera import cut

    points = cut(camera.turned(ground, (0.0, 0.0, 0.0), 0.0), 1.0)
    if len(points) >= 3:
        draw.polygon(camera.pixels(points).ravel().tolist(), fill=value)


def _hull(points: np.ndarray) -> np.ndarray:
    """The convex hull of ground points [N, 3] in x and z, in order round it."""
    rows = sorted({(float(p[0]), float(p[2])) for p in points})

    def half(rows):
        kept: list = []
        for p in rows:
            while (
                len(kept) > 1
                and (kept[-1][0] - kept[-2][0]) * (p[1] - kept[-2][1])
                - (kept[-1][1] - kept[-2][1]) * (p[0] - kept[-2][0])
                <= 0
            ):
                kept.pop()
            kept.append(p)
        return kept[:-1]

    ring = half(rows) + half(rows[::-1])
    return np.array([(x, 0.0, z) for x, z in ring], np.float32)


def develop(
    canvas: Canvas, camera: Camera, light: Light, things: list[Thing], numbers: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The finished picture, uint8 [H, W, 3] RGB.

    things: as painted; number k on the canvas is things[k - 1]. numbers: int32 [H, W], the thing on top, 0 the sky.
    """
    width, height = canvas.size
    fine = np.asarray(canvas.numbers)
    sky = (fine == 0).reshape(height, FINE, width, FINE).mean((1, 3), dtype=np.float32)
    colour = np.asarray(canvas.surface.reduce(FINE)).astype(np.float32) * (1 / 255)
    colour *= colour
    world_x, world_z, ahead = camera.ground(width, height)
    n = len(things) + 1
    distance, grain, top, foot, is_ground, offset = (np.zeros(n, np.float32) for _ in range(6))
    distance[0] = 1e6
    for k, thing in enumerate(things, 1):
        spot = camera.turned(np.zeros((1, 3), np.float32), thing.place, thing.yaw)[0]
        distance[k] = max(float(spot[2]), 1.0)
        grain[k], is_ground[k], offset[k] = thing.grain, thing.flat, thing.key
        scale = camera.focal / distance[k]
        foot[k], top[k] = (
            camera.horizon + camera.height * scale,
            camera.horizon - (thing.model.high[1] - camera.height) * scale,
        )
    ground = is_ground[numbers] > 0
    depth = np.where(ground, ahead, distance[numbers])

    # Texture: on the ground it lies in metres, on things in pixels that shrink with distance.
    tile = _noise()
    row, column = np.indices((height, width), dtype=np.float32)
    fade = np.clip(18 / np.maximum(depth, 1), 0.12, 1.0)
    u = np.where(ground, world_x * 40, column * (640 / width) * 2)
    v = np.where(ground, world_z * 12, row * (640 / width) * 2)
    shift = offset[numbers]
    texture = tile[(v + shift * 37).astype(np.int32) % TILE, (u + shift * 101).astype(np.int32) % TILE]
    wide = tile[(world_z * 3).astype(np.int32) % TILE, (world_x * 5 + 77).astype(np.int32) % TILE]
    texture = 1 + grain[numbers] * np.where(ground, texture * fade + 0.7 * wide * np.minimum(1, fade * 2), texture)
    span = np.clip((row - top[numbers]) / np.maximum(foot[numbers] - top[numbers], 1), 0, 1)
    texture *= np.where(ground, 1.0, 1.06 - 0.28 * span**3)  # less sky reaches the foot of things

    dark = shadows(canvas.size, camera, light, things) * ground
    openness = 1 - 0.45 * dark
    illumination = light.ambient * openness[..., None] + light.direct * (1 - dark)[..., None]
    if light.lamps:
        illumination = illumination + _lamplight(camera, light, things, world_x, world_z, depth, ground, column, row)
    colour *= np.maximum(texture, 0.05)[..., None]
    colour *= illumination
    haze = (1 - np.exp(-depth / light.reach)) * (1 - sky)
    colour += haze[..., None] * (light.haze * (1 - sky)[..., None] - colour)
    colour += sky[..., None] * _sky(camera, light, width, height, float(rng.uniform(0, TILE)))
    if canvas.glow is not None:
        colour += _glow(canvas, light)
    return _film(colour, light, rng)


def _lamplight(camera, light, things, world_x, world_z, depth, ground, column, row) -> np.ndarray:
    """Light of street lamps and of the own headlamps, float32 [H, W, 3]."""
    amount = np.zeros(world_x.shape, np.float32)
    for thing in things:
        if thing.noun != "lamp post":
            continue
        dx, dz = world_x - (thing.place[0] * 0.72), world_z - thing.place[2]
        pool = 1 / (1 + (dx * dx + dz * dz) / 20)
        height = np.where(ground, pool, 0)
        near = np.abs(depth - (thing.place[2] - camera.z))
        height += np.where(ground, 0, 0.55 / (1 + near * near / 45))
        amount += height * 0.40
    amount = np.minimum(amount, 0.8)
    across = (column - camera.middle) / camera.focal
    down = (row - camera.horizon) / camera.focal
    cone = np.exp(-((across / 0.42) ** 2)) * np.where(down > -0.02, 1.0, np.exp(-(((down + 0.02) / 0.07) ** 2)))
    own = 1.1 * cone * np.exp(-depth / 26) * np.where(ground, np.clip(depth / 7, 0, 1), 1.0)
    lamps = np.array([1.0, 0.72, 0.42], np.float32) * light.lamps
    head = np.array([1.0, 0.95, 0.84], np.float32) * light.lamps * 0.9
    return amount[..., None] * lamps + own[..., None] * head


def _sky(camera: Camera, light: Light, width: int, height: int, drift: float) -> np.ndarray:
    rows = np.clip((camera.horizon - np.arange(height, dtype=np.float32)) / (0.55 * height), 0, 1)
    blend = (rows**0.6)[:, None, None]
    sky = light.low * (1 - blend) + light.high * blend
    cover = _clouds()
    up = np.maximum((camera.horizon - np.arange(height, dtype=np.float32)) / camera.focal, 0.02)
    v = (90 / (up + 0.12))[:, None] + drift
    u = (np.arange(width, dtype=np.float32)[None] - camera.middle) / camera.focal / (up + 0.25)[
        :, None
    ] * 160 + drift * 3
    cloud = np.clip(
        (cover[v.astype(np.int32) % TILE, u.astype(np.int32) % TILE] - 0.75 + 0.6 * light.clouds) * 2.2, 0, 1
    )
    body = (
        light.low * 1.05
        if light.time != "day"
        else np.array([0.95, 0.96, 0.98], np.float32) * (1.25 if light.weather == "sunny" else 0.8)
    )
    tone = 0.62 + 0.38 * (1 - cloud)
    amount = (cloud * (0.85 if light.time == "day" else 0.5))[..., None]
    return (sky * (1 - amount) + body * tone[..., None] * amount).astype(np.float32)


def _glow(canvas: Canvas, light: Light) -> np.ndarray:
    width, height = canvas.size
    small = canvas.glow.reduce(FINE)
    sharp = np.asarray(small).astype(np.float32) * (1 / 255)
    out = sharp * sharp * (1.6 * light.lamps)
    tiny = small.reduce(2)
    for radius, weight in ((width / 240, 0.7), (width / 60, 0.9)):
        halo = tiny.filter(ImageFilter.GaussianBlur(radius)).resize((width, height), Image.Resampling.BILINEAR)
        out += np.asarray(halo).astype(np.float32) ** 1.5 * (1 / 255**1.5 * weight * light.lamps)
    return out


def _film(colour: np.ndarray, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Exposure, film curve, lens blur, vignette, noise: uint8 [H, W, 3]."""
    height, width = colour.shape[:2]
    gains = (light.exposure * (1 + rng.normal(0, 0.02, 3))).astype(np.float32)
    colour *= gains
    colour = np.sqrt(colour / (1 + 0.25 * colour) * 1.12)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    colour *= (1 - float(rng.uniform(0.02, 0.14)) * (x * x + y * y))[..., None]
    picture = Image.fromarray((np.clip(colour, 0, 1) * 255).astype(np.uint8))
    blur = float(rng.uniform(0, 0.7)) * width / 480
    if blur > 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    noise = float(rng.uniform(1.0, 3.5)) * (1.8 if light.time == "night" else 1.0)
    grain = (
        rng.standard_normal((height, width, 1), dtype=np.float32) * 0.7
        + rng.standard_normal((height, width, 3), dtype=np.float32) * 0.6
    )
    return np.clip(np.asarray(picture) + grain * noise, 0, 255).astype(np.uint8)
