"""Generated recall: a rare kind of road user in seeded street scenes, one scene in ten.

Pool: 90 scenes without bicycle and motorcycle, and 10 with the kind asked for, within a range of distances; queries are
other scenes with the kind within the same range. Seeds lie far from those that training draws from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.recall.scores import Box, Extractor, Query, View, average_precision, recall_at, scores

RARE: tuple[str, ...] = ("bicycle", "motorcycle")
DISTANCES: tuple[tuple[float, float], ...] = ((5.0, 9.0), (9.0, 15.0), (15.0, 26.0), (26.0, 45.0))  # metres
FIRST_SEED = 7_000_000_000  # training stays below


@dataclass(frozen=True)
class Outcome:
    """One kind at one distance.

    area: [Q] share of the image of each query's box. recall, precision: [3, Q], rows as METHODS.
    """

    kind: str
    distance: tuple[float, float]
    area: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


def scene(extract: Extractor, seed: int, kind: str | None, distance: tuple[float, float]) -> tuple[View, Box]:
    """A scene's view, and the box of its nearest clear thing of the kind (whole image where kind is None)."""
    from scenes import render

    for again in range(20):  # not every layout has room for the kind at that distance
        try:
            if kind is None:
                made = render(seed + again, exclude=RARE)
                height, width = made.labels.shape
                return extract(made.image), (0.0, 0.0, float(width), float(height))
            others = [k for k in RARE if k != kind]
            made = render(seed + again, require={kind}, exclude=others, distance=distance)
        except ValueError:
            continue
        clear = [i for i in made.instances if i.kind == kind and i.clear]
        x0, y0, x1, y1 = clear[0].box
        return extract(made.image), (float(x0), float(y0), float(x1), float(y1))
    raise ValueError(f"no scene with {kind} at {distance} m within 20 seeds of {seed}; take another seed")


def experiment(
    extract: Extractor, common: list[View], kind: str, distance: tuple[float, float], seed: int, queries: int
) -> Outcome:
    """common: views of scenes without any rare kind; a ninth as many scenes with the kind are added."""
    first = FIRST_SEED + seed * 1_000_000 + RARE.index(kind) * 100_000 + round(distance[0] * 1000)
    count = max(1, round(len(common) / 9))
    rare = [scene(extract, first + 20 * i, kind, distance)[0] for i in range(count)]
    positive = np.arange(len(common) + count) >= len(common)
    asked = [scene(extract, first + 50_000 + 20 * i, kind, distance) for i in range(queries)]
    area = [(x1 - x0) * (y1 - y0) / (v.geometry.width * v.geometry.height) for v, (x0, y0, x1, y1) in asked]
    answers = scores([Query.of(*pair) for pair in asked], common + rare).swapaxes(0, 1)
    recall = [[recall_at(row, positive, 10) for row in answer] for answer in answers]
    precision = [[average_precision(row, positive) for row in answer] for answer in answers]
    return Outcome(kind, distance, np.array(area), np.array(recall).T, np.array(precision).T)
