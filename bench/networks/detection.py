"""Judges the detector: mean average precision at an overlap of 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.networks.engines import Run
from bench.networks.pictures import encoded, frames
from bench.networks.task import Task, Work
from export.mixtures.average_precision import Found, Truth, mean_average_precision, truth_of
from export.training import camvid
from sluice import contracts, images
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.objects import detections
from sluice.models.object_detector import Config
from sluice.models.uncertainty_aggregator import Defaults, read_reading
from sluice.server import root as roots

LEAST = 0.05  # score; detections below it change average precision in the third digit


def prepare(data: Path | None, count: int) -> tuple[Work, str]:
    """Return the detection of `count` frames. Each has what was found and what there is."""
    given = frames(data, count)
    truth = [truth_of(frame.labels) for frame in given]
    repository = roots.default() / "model_repository"
    defaults = contracts.configured(Defaults, repository, "uncertainty_aggregator")
    options = replace(defaults.options(read_reading(repository, "mixture_detector", defaults)), min_score=LEAST)

    def work(run: Run) -> list[tuple[Found, Truth]]:
        pieces = []
        for frame, wanted in zip(given, truth, strict=True):
            canvas, geometry = images.read(encoded(frame.image), Config())
            found = detections(Heads.of(run({"IMAGE": canvas[None]})), [geometry], options)[0]
            pieces.append((Found(found.boxes, found.classes, found.scores), wanted))
        return pieces

    return work, f"{len(given)} frames of CamVid's drive 0006R0" if data else f"{len(given)} generated scenes"


def score(pieces: Sequence[tuple[Found, Truth]]) -> float:
    """Return the mean average precision over the classes that occur."""
    found, truth = zip(*pieces, strict=True)
    return mean_average_precision(found, truth, len(camvid.OBJECT_CLASSES))[0]


TASK = Task("mAP at 0.5", prepare, score, inputs=48, resamples=200)
