"""Generated recall: a rare kind of road user in seeded street scenes, one scene in ten.

Pool: 90 scenes without bicycle and motorcycle, and 10 with the kind asked for, within a range of distances. The queries
are other scenes with the kind within the same range. Their seeds lie far from those that training draws from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.recall.findings import (
    FAST,
    FULL,
    QUICK,
    RECALL,
    TIMES,
    Case,
    Claim,
    Findings,
    Setting,
    at_least,
    times_better,
)
from bench.recall.scores import Box, Extractor, Query, View, judged, scores

RARE: tuple[str, ...] = ("bicycle", "motorcycle")
DISTANCES: tuple[tuple[float, float], ...] = ((5.0, 9.0), (9.0, 15.0), (15.0, 26.0), (26.0, 45.0))  # metres
FIRST_SEED = 7_000_000_000  # the seeds of all trainings are smaller


@dataclass(frozen=True)
class Outcome:
    """The queries of one kind at one distance.

    area: [Q] share of the image that each query's box covers. recall, precision: [3, Q], rows as METHODS.
    """

    kind: str
    distance: tuple[float, float]
    area: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


def scene(extract: Extractor, seed: int, kind: str | None, distance: tuple[float, float]) -> tuple[View, Box]:
    """Draw a scene and return its view, and the box of its nearest clear object of the kind.

    kind: None draws a scene without any rare kind, and its box is the whole image. distance: metres, from and to.
    Raises ValueError when none of 20 seeds has room for the kind at that distance.
    """
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
    """Ask for one kind at one distance.

    common: views of scenes without any rare kind; a ninth as many scenes with the kind are added. queries: how many.
    """
    first = FIRST_SEED + seed * 1_000_000 + RARE.index(kind) * 100_000 + round(distance[0] * 1000)
    count = max(1, round(len(common) / 9))
    rare = [scene(extract, first + 20 * i, kind, distance)[0] for i in range(count)]
    positive = np.arange(len(common) + count) >= len(common)
    asked = [scene(extract, first + 50_000 + 20 * i, kind, distance) for i in range(queries)]
    area = [(x1 - x0) * (y1 - y0) / (v.geometry.width * v.geometry.height) for v, (x0, y0, x1, y1) in asked]
    answers = scores([Query.of(*pair) for pair in asked], common + rare).swapaxes(0, 1)
    recall, precision = zip(*(judged(answer, positive, 10) for answer in answers), strict=True)
    return Outcome(kind, distance, np.array(area), np.array(recall).T, np.array(precision).T)


def measure(given: Setting) -> Findings:
    """Ask for every rare kind at every distance."""
    count, queries, kinds, distances = {
        FULL: (90, 8, RARE, DISTANCES),
        FAST: (36, 6, RARE, DISTANCES[1:3]),
        QUICK: (9, 1, RARE[:1], DISTANCES[:1]),
    }[given.length]
    # Seeds are 20 apart, because `scene` takes the next ones when a layout has no room.
    common = [scene(given.extract, FIRST_SEED - 100_000 + 20 * i, None, (0, 0))[0] for i in range(count)]
    made = [experiment(given.extract, common, kind, d, 0, queries) for kind in kinds for d in distances]
    title = f"generated: recall@10 in {round(count / 0.9)} street scenes, one in ten with the kind asked for"
    return Findings(title, ("kind", "distance, m", "median area of query"), [case(one) for one in made], claims(made))


def case(one: Outcome) -> Case:
    """Return the row of one outcome."""
    labels = one.kind, f"{one.distance[0]:.0f} to {one.distance[1]:.0f}", f"{np.median(one.area):.2%}"
    return Case(labels, one.recall, precision=one.precision)


def claims(made: list[Outcome]) -> list[Claim]:
    """Return what is claimed of queries that cover about 1 % and about 0.3 % of the image, of whatever kind."""
    area, recall = np.concatenate([m.area for m in made]), np.concatenate([m.recall for m in made], axis=1)
    found = []
    for name, low, high, mark in (("1%", 0.005, 0.02, 0.6), ("0.3%", 0.0015, 0.005, 0.3)):
        chosen = (area >= low) & (area < high)
        if not chosen.any():
            reason = "no query of this size was drawn"
            found.append(Claim(f"recall generated at {name}", None, mark, False, RECALL, reason=reason))
            continue
        mean, ends = recall[:, chosen].mean(axis=1), np.percentile(recall[0, chosen], (10, 90))
        found.append(
            at_least(f"recall generated at {name} ({low:.2%} to {high:.1%})", float(mean[0]), mark, RECALL, ends)
        )
        if name == "1%":
            found.append(at_least("recall generated at 1% against the better pooling", times_better(mean), 3.0, TIMES))
    return found
