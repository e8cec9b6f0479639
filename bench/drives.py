"""Reads frames of the drive that no network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.training import camvid
from export.training.camvid import Frame


def drive(folder: Path, count: int | None = None) -> list[Frame]:
    """Return frames of the drive that no network was trained on, or [] when the folder is missing. count: frames,
    evenly spread over the drive; None returns all."""
    if not folder.is_dir():
        return []
    frames = camvid.read(folder, (camvid.EVALUATION_DRIVE,))
    return frames if count is None else evenly(frames, count)


def evenly(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Return at most `count` of the frames, evenly spread over the drive."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]
