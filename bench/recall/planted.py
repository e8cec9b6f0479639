"""Planted recall: objects cut out by their masks and pasted at a chosen size into one frame in ten of another drive.

Pool: the frames of the evaluation drive that lack the class. Objects, of the pool and of the queries, come from the
held-out stretches of the training drives, so that neither a pool frame nor an object was trained on; query and pool
objects are of different drives, so they are never the same object. A query is an object pasted at the same size
into a held-out frame that lacks the class; its region is the pasted box. Area is that of the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.recall.scores import METHODS, Extractor, Query, View, average_precision, recall_at, scores
from export.training import camvid
from export.training.camvid import CutOut, Frame

BICYCLIST, PEDESTRIAN = 10, 9


@dataclass(frozen=True)
class Planted:
    """A frame with an object in it."""

    image: np.ndarray
    box: tuple[int, int, int, int]
    thing: CutOut


def plant(frame: Frame, thing: CutOut, fraction: float, rng: np.random.Generator) -> Planted:
    """Paste an object so that its box covers a fraction of the frame, its foot in the lower part, where objects stand.

    The foot lies between 45 % and 98 % of the height where the object's own height allows it.
    """
    height, width = frame.labels.shape
    h, w = camvid.size_for_area((len(thing.mask), thing.mask.shape[1]), fraction, (height, width))
    foot = int(min(height, max(h, rng.uniform(0.45, 0.98) * height)))
    x, y = int(rng.integers(0, width - w + 1)), foot - h
    image, labels = frame.image.copy(), frame.labels.copy()
    camvid.paste(image, labels, thing, (h, w), (x, y))
    return Planted(image, (x, y, x + w, y + h), thing)


@dataclass(frozen=True)
class Outcome:
    """recall: [3, queries], AP: [3, queries], rows as METHODS, each a mean over draws; chance of recall."""

    recall: np.ndarray
    precision: np.ndarray
    chance: float


def experiment(
    extract: Extractor,
    pool: list[Frame],
    plain: list[View],
    objects: list[CutOut],
    backgrounds: list[Frame],
    fraction: float,
    seed: int,
    queries: int = 20,
    draws: int = 20,
    n: int = 10,
    decoys: list[CutOut] | None = None,
) -> Outcome:
    """One size, one seed.

    plain: views of the pool as it is. backgrounds: frames that queries are pasted into. n: depth of recall.
    decoys: when given, every frame without the class gets one of these pasted in at the same size.
    """
    rng = np.random.default_rng((seed, round(fraction * 1e6)))
    drives = sorted({o.drive for o in objects})
    by_drive = [[o for o in objects if o.drive == drive] for drive in drives]
    turns = [by_drive[i % len(drives)] for i in rng.permutation(len(pool))]  # as many frames for each drive's objects
    planted = [plant(f, own[rng.integers(len(own))], fraction, rng) for f, own in zip(pool, turns, strict=True)]
    present = [extract(p.image) for p in planted]
    absent = plain
    if decoys:
        absent = [extract(plant(f, decoys[rng.integers(len(decoys))], fraction, rng).image) for f in pool]
    order = [objects[i] for i in rng.permutation(len(objects))][:queries]
    positives = max(1, round(len(pool) / 10))
    questions = []
    for thing in order:
        asked = plant(backgrounds[rng.integers(len(backgrounds))], thing, fraction, rng)
        questions.append(Query.of(extract(asked.image), asked.box))
    found, missing = scores(questions, present), scores(questions, absent)
    recalls, precisions = [], []
    for thing, with_it, without in zip(order, found.swapaxes(0, 1), missing.swapaxes(0, 1), strict=True):
        # Only frames whose object is of the other drive: never the query's own object seen a second later.
        others = [i for i, p in enumerate(planted) if p.thing.drive != thing.drive or len(drives) == 1]
        recall, precision = np.zeros(len(METHODS)), np.zeros(len(METHODS))
        for _ in range(draws):
            chosen = np.zeros(len(pool), bool)
            chosen[rng.permutation(others)[:positives]] = True
            for m in range(len(METHODS)):
                ranked_by = np.where(chosen, with_it[m], without[m])
                recall[m] += recall_at(ranked_by, chosen, n) / draws
                precision[m] += average_precision(ranked_by, chosen) / draws
        recalls.append(recall)
        precisions.append(precision)
    return Outcome(np.array(recalls).T, np.array(precisions).T, min(1.0, n / len(pool)))
