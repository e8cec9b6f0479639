"""Makes frames with the class of every pixel, and the masks that `segment` gives for them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

import scenes
from bench.class_names import CAMVID
from bench.segment_process import InProcess
from export.training.camvid import Frame

SIZE = (480, 360)  # (width, height) of CamVid's frames here, pixels


def generated(count: int, first: int) -> list[Frame]:
    """Draw scenes of `count` seeds from `first` on."""
    drawn = (scenes.render(seed, SIZE) for seed in range(first, first + count))
    return [Frame(f"scene {one.seed}", "generated", one.image, one.labels) for one in drawn]


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
