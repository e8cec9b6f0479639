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
from pathlib import Path
from typing import NamedTuple

import numpy as np

import scenes
from export.video import judge
from export.video.codec import Coded, Coding, code
from export.video.motion import pan
from sluice.methods.video.planes import Picture

RATE, LENGTH = 25, 250  # frames per second, frames per clip
SIZE = (360, 640)  # of a clip: (H, W)
SEED = 7001  # of the first drive; no training drew a scene from this seed


class Film(NamedTuple):
    """kind: drive or pan. frames: uint8 [H, W, 3], made while they are read."""

    name: str
    kind: str
    frames: Iterator[np.ndarray]


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


def x264(frames: Sequence[Picture], crf: int) -> Coded:
    """Return the frames as a decoder shows them; only the first is an intra frame."""
    return code(frames, Coding(crf=crf, preset="medium", rate=RATE, group=len(frames)))
