"""Makes video and codes it, in clips of a whole group of pictures, since short clips look worse than real files.

The first frame of a group costs many times the bits of the others. In a clip of 8 frames it takes most of the bits, in
a file it is one frame in 250. So a clip here has 250 frames at 25 per second, of which the first alone is an intra
frame.

Drives are generated (`scenes.film`): they move fast, with noise that is new in each frame. Pans move a window over
photographs, like a turning camera before still things, and are easily predicted. Video from a camera lies between the
two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import scenes
from bench.enhance.networks import COLOUR
from export.video import judge
from sluice.methods.video.planes import Picture

RATE, LENGTH = 25, 250  # frames per second, frames per clip
SIZE = (360, 640)  # of a clip: (H, W)
SEED = 7001  # of the first drive; no training drew a scene from this seed


class Film(NamedTuple):
    """kind: drive or pan. frames: uint8 [H, W, 3], made while they are read."""

    name: str
    kind: str
    frames: Iterator[np.ndarray]


class Coded(NamedTuple):
    """A clip after the codec. bits: per frame, on average."""

    frames: list[Picture]
    bits: float


def films(
    drives: int, photographs: Path, pans: int, length: int = LENGTH, size: tuple[int, int] = SIZE
) -> Iterator[Film]:
    """Yield generated drives, then pans over the first photographs that a clip fits into. drives, pans: how many. size:
    (H, W)."""
    for seed in range(SEED, SEED + drives):
        yield Film(f"drive {seed}", "drive", scenes.film(seed, length, size[::-1], fps=RATE))
    wide = [
        (name, image)
        for name, image in (judge.pictures(photographs).items() if photographs.is_dir() else ())
        if image.shape[0] >= size[0] * 4 / 3 and image.shape[1] >= size[1] * 6 / 5  # there is room to move
    ]
    for i, (name, image) in enumerate(wide[:pans]):
        yield Film(name, "pan", pan(image, size, length, np.random.default_rng(i)))


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
        way = start + index * step
        y, x = np.clip(room - np.abs(np.mod(way, np.maximum(2 * room, 1)) - room), 0, room)
        box = (x, y, x + share * width, y + share * height)
        yield np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box))


def planes(image: np.ndarray) -> Picture:
    """Return RGB [H, W, 3] of even size as YUV 4:2:0."""
    height, width = image.shape[:2]
    return Picture.of_planes(Picture.of_rgb(image).planes(COLOUR), height, width, COLOUR)


def x264(frames: Sequence[Picture], crf: int, **options: str) -> Coded:
    """Return the frames as a decoder shows them; only the first is an intra frame. options: of the encoder."""
    import av
    from av.video.frame import VideoFrame

    height, width = frames[0].height, frames[0].width
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    whole = {"g": str(len(frames)), "sc_threshold": "0"}
    encoder.options = {"preset": "medium", "threads": "1", "crf": str(crf), **whole, **options}
    packets = []
    for i, picture in enumerate(frames):
        frame = VideoFrame.from_ndarray(picture.planes(COLOUR).reshape(-1, width), format="yuv420p")
        frame.pts = i
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    shown = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    decoded = [frame.to_ndarray(format="yuv420p").reshape(-1) for frame in shown]
    bits = 8 * sum(packet.size for packet in packets) / len(frames)
    return Coded([Picture.of_planes(one, height, width, COLOUR) for one in decoded], bits)
