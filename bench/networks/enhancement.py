"""Judges the networks of `enhance`: PSNR of the luma against the picture before it was damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.networks.engines import Run
from bench.networks.pictures import photographs
from bench.networks.task import Task, Work
from export.video.codec import jpeg
from export.video.judge import luma, psnr, resized
from sluice.methods.video.planes import Colour

BORDER = 2  # pixels left out at each edge


def _reduced(image: np.ndarray) -> np.ndarray:
    return resized(image, (image.shape[0] // 2, image.shape[1] // 2))


# Graph -> how pictures are damaged before it.
DAMAGE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "artifact_remover_weak": lambda image: jpeg(image, 40),
    "artifact_remover_strong": lambda image: jpeg(image, 10),
    "frame_upscaler_clean": _reduced,
    "frame_upscaler_lossy": lambda image: jpeg(_reduced(image), 40),
}


def task(name: str) -> Task:
    """Return the task of one of the networks."""

    def prepare(data: Path | None, count: int) -> tuple[Work, str]:
        wanted = [image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2] for image in photographs(data, count)]
        given = [DAMAGE[name](image) for image in wanted]
        colour = Colour()

        def work(run: Run) -> list[float]:
            pieces = []
            for image, original in zip(given, wanted, strict=True):
                found = run({
                    "LUMA": np.ascontiguousarray(image[None, ..., 0]),
                    "CHROMA": np.ascontiguousarray(image[None, ..., 1:]),
                    "COLOUR": colour.to_rgb[None].astype(np.float32),
                    "STRENGTH": np.ones((1, 1), np.float32),
                })  # fmt: skip
                made = np.dstack([found["LUMA_OUT"][0], found["CHROMA_OUT"][0]])
                pieces.append(psnr(luma(made), luma(original), BORDER))
            return pieces

        return work, f"{len(given)} photographs of LIVE1" if data else f"{len(given)} generated scenes"

    return Task("PSNR of luma, dB", prepare, inputs=12, quick=2)
