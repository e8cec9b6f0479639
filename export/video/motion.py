"""Makes clips that move out of still images: windows that pan and zoom, things that pass, noise of a sensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

PASSING = 0.5  # share of clips through which a thing passes
NOISY, NOISE = 0.5, 3.0  # share of clips with noise that is new in each frame; its greatest deviation, grey levels


def pan(image: np.ndarray, size: tuple[int, int], frames: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the frames of a window [h, w, 3] that moves over an image without a halt, to and fro between its edges, and
    zooms a little.

    It moves by fractions of a pixel, half a pixel to four pixels per frame. size: (h, w), at most the image's.
    """
    height, width = size
    room = np.array([image.shape[0] - height, image.shape[1] - width], float)
    if room.min() < 0:
        raise ValueError(f"expected an image of at least {width} x {height}, got {image.shape[1]} x {image.shape[0]}")
    speed, heading = rng.uniform(0.5, 4), rng.uniform(0, 2 * np.pi)
    start, step = rng.uniform(0, room), speed * np.array([np.sin(heading), np.cos(heading)])
    zoom, phase = rng.uniform(0, 0.12), rng.uniform(0, 2 * np.pi)
    picture = Image.fromarray(image)
    for index in range(frames):
        share = 1 - zoom * (1 + np.sin(phase + 2 * np.pi * index / 200)) / 2  # of the window
        y, x = to_and_fro(start + index * step, room)
        box = (x, y, x + share * width, y + share * height)
        yield np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box))


def to_and_fro(way: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return the place that a thing has reached which turns back at 0 and at `room`; all per axis, pixels."""
    return np.clip(room - np.abs(np.mod(way, np.maximum(2 * room, 1)) - room), 0, room)


def moving(
    images: Sequence[np.ndarray], size: tuple[int, int], frames: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return a clip of windows [h, w, 3] uint8 over one of the images.

    Through some clips passes a piece of another image, and some have the noise of a sensor. images: uint8, each at
    least of that size. size: (h, w).
    """
    height, width = size
    clip = list(pan(images[rng.integers(len(images))], size, frames, rng))
    if rng.random() < PASSING:
        sides = np.array([height, width]) // rng.integers(2, 5, 2)
        source = images[rng.integers(len(images))]
        y, x = (int(rng.integers(room - side + 1)) for room, side in zip(source.shape, sides, strict=False))
        thing = source[y : y + sides[0], x : x + sides[1]].astype(np.float32)
        mask = Image.new("L", (int(sides[1]), int(sides[0])))
        ImageDraw.Draw(mask).ellipse((1, 1, sides[1] - 2, sides[0] - 2), fill=255)
        share = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
        room = np.array([height, width]) - sides
        start, step = rng.uniform(0, room), rng.normal(0, 2, 2)
        for index, frame in enumerate(clip):
            y, x = to_and_fro(start + index * step, room.astype(float)).round().astype(int)
            place = np.s_[y : y + sides[0], x : x + sides[1]]
            frame = frame.copy()
            frame[place] = (share * thing + (1 - share) * frame[place] + 0.5).astype(np.uint8)
            clip[index] = frame
    if rng.random() < NOISY:
        deviation = rng.uniform(0, NOISE)
        noise = rng.standard_normal((2 * height, 2 * width, 3), np.float32) * deviation
        for index, frame in enumerate(clip):  # windows of one sheet, which no codec can follow
            y, x = rng.integers(height + 1), rng.integers(width + 1)
            clip[index] = (frame + noise[y : y + height, x : x + width] + 0.5).clip(0, 255).astype(np.uint8)
    return clip
