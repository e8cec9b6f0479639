"""Makes frames with the class of every pixel, those that training may look at, and the masks of `segment`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import scenes
from bench import drives
from bench.class_names import CAMVID
from bench.segment_process import InProcess
from export.training import camvid
from export.training.camvid import Frame

SIZE = (480, 360)  # (width, height) of CamVid's frames here, pixels
FIRST = 500_000  # seed of the first generated scene that is judged; the seeds of training count from 0
SCENES = 100  # generated scenes that the layout prior is made of


class Part(NamedTuple):
    """Frames to be judged. training: frames of the same kind that a network may be trained on."""

    title: str
    frames: list[Frame]
    training: list[Frame]


def generated(count: int) -> Part:
    """Return generated scenes, `count` to be judged."""
    return Part(f"{count} generated scenes", drawn(count, FIRST), drawn(SCENES, 0))


def held_out(folder: Path) -> Part:
    """Return the stretches of the training drives that no network was trained on. folder: that of CamVid."""
    training, found = camvid.split(camvid.read(folder, camvid.TRAINING_DRIVES))
    return Part(f"{len(found)} held-out frames of the training drives", found, training)


def drive(folder: Path, count: int | None = None) -> Part:
    """Return the drive that no network was trained on. folder: that of CamVid. count: frames; None returns all."""
    found = drives.drive(folder, count)
    title = f"{len(found)} frames of CamVid's drive {camvid.EVALUATION_DRIVE}"
    return Part(title, found, camvid.read(folder, camvid.TRAINING_DRIVES))


def drawn(count: int, first: int) -> list[Frame]:
    """Draw scenes of `count` seeds from `first` on."""
    rendered = (scenes.render(seed, SIZE) for seed in range(first, first + count))
    return [Frame(f"scene {one.seed}", "generated", one.image, one.labels) for one in rendered]


def encoded(image: np.ndarray) -> bytes:
    """Return an image uint8 [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def masks(here: InProcess, frames: Sequence[Frame], options: Mapping[str, Any]) -> list[np.ndarray]:
    """Return the masks of `segment` for each frame: uint8 [H, W], index into `CAMVID`. options: of the request."""
    found = []
    for frame in frames:
        answer = here.segment([encoded(frame.image)], CAMVID, **options)
        found.append(np.asarray(Image.open(io.BytesIO(answer["MASKS"][0]))))
    return found
