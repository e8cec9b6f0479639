"""Judges feature maps: riders pasted into one frame of ten at 1 % of its area are searched for by their like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.networks.engines import Run
from bench.networks.pictures import empty, encoded, riders
from bench.networks.task import Task, Work
from export.training import camvid
from export.training.camvid import CutOut, Frame
from sluice import images
from sluice.images import Geometry
from sluice.methods import matching

AREA = 0.01  # of the frame, covered by the pasted box
QUERIES, DRAWS = 12, 20


def prepare(data: Path | None, count: int) -> tuple[Work, str]:
    """Return the search over `count` frames. Each query has an average precision, a mean over random draws of the
    frames that hold a rider."""
    pool = empty(data, count)
    asked, hidden = riders(data)
    rng = np.random.default_rng(0)
    planted = [_plant(frame, hidden[rng.integers(len(hidden))], rng) for frame in pool]
    queries = [
        _plant(pool[rng.integers(len(pool))], asked[i % len(asked)], rng) for i in range(min(QUERIES, len(pool)))
    ]
    draws = [rng.permutation(len(pool))[: max(1, round(len(pool) / 10))] for _ in range(DRAWS)]

    def work(run: Run) -> list[float]:
        regions = []
        for image, box in queries:
            features, geometry = _features(run, image)
            regions.append(matching.template(features, matching.roi_cells(box, geometry, _grid(features))))
        templates = matching.stack(regions)
        with_it, without = (
            np.array([matching.image_scores(*_shown(run, image, templates)) for image in shown]).T
            for shown in ([image for image, _ in planted], [frame.image for frame in pool])
        )
        return [_precision(a, b, draws) for a, b in zip(with_it, without, strict=True)]

    where = "CamVid's drive 0006R0 with pasted riders" if data else "generated scenes with pasted riders"
    return work, f"{len(pool)} frames of {where}"


def _plant(frame: Frame, thing: CutOut, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Return the frame with an object pasted in, its foot in the lower half, and the box."""
    height, width = frame.labels.shape
    h, w = camvid.size_for_area((len(thing.mask), thing.mask.shape[1]), AREA, (height, width))
    foot = int(min(height, max(h, rng.uniform(0.5, 0.98) * height)))
    x, y = int(rng.integers(0, width - w + 1)), foot - h
    image, labels = frame.image.copy(), frame.labels.copy()
    camvid.paste(image, labels, thing, (h, w), (x, y))
    return image, (x, y, x + w, y + h)


def _grid(features: np.ndarray) -> tuple[int, int]:
    return features.shape[0], features.shape[1]


def _features(run: Run, image: np.ndarray) -> tuple[np.ndarray, Geometry]:
    canvas, geometry = images.read(encoded(image))
    return run({"IMAGE": canvas[None]})["FEATURES"][0], geometry


def _shown(
    run: Run, image: np.ndarray, templates: matching.Templates
) -> tuple[np.ndarray, matching.Templates, Geometry]:
    features, geometry = _features(run, image)
    return features, templates, geometry


def _precision(with_it: np.ndarray, without: np.ndarray, draws: list[np.ndarray]) -> float:
    """Return one query's average precision, a mean over the draws. with_it, without: [frames] scores."""
    found = []
    for draw in draws:
        positive = np.isin(np.arange(len(with_it)), draw)
        scores = np.where(positive, with_it, without)
        hits = np.flatnonzero(positive[np.lexsort((positive, -scores))]) + 1
        found.append(float((np.arange(1, len(hits) + 1) / hits).mean()))
    return float(np.mean(found))


TASK = Task("mean average precision of planted riders", prepare, inputs=40, quick=3)
