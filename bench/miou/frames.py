"""Pictures with the class of every pixel, generated and real, and the masks that `segment` gives for them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import scenes
from bench.class_names import CAMVID
from bench.segment_process import InProcess
from export.training import camvid
from export.training.camvid import Frame

SIZE = (480, 360)  # CamVid's here


def generated(count: int, first: int) -> list[Frame]:
    """Scenes of `count` seeds from `first` on."""
    drawn = (scenes.render(seed, SIZE) for seed in range(first, first + count))
    return [Frame(f"scene {one.seed}", "generated", one.image, one.labels) for one in drawn]


def drive(folder: Path, count: int | None = None) -> list[Frame]:
    """The drive that no network was trained on, all of it or `count` frames evenly; [] where the folder is missing."""
    if not folder.is_dir():
        return []
    frames = camvid.read(folder, (camvid.EVALUATION_DRIVE,))
    return frames if count is None else evenly(frames, count)


def evenly(frames: Sequence[Frame], count: int) -> list[Frame]:
    """At most `count` of the frames, from all over the drive."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]


def encoded(image: np.ndarray) -> bytes:
    """As PNG. image: uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def masks(here: InProcess, frames: Sequence[Frame], options: Mapping[str, Any]) -> list[np.ndarray]:
    """What `segment` says of each frame: uint8 [H, W], index into `CAMVID`. options: of the request."""
    found = []
    for frame in frames:
        answer = here.segment([encoded(frame.image)], CAMVID, **options)
        found.append(np.asarray(Image.open(io.BytesIO(answer["MASKS"][0]))))
    return found
