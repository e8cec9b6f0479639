"""Makes images with objects for the tests of selection, and computes by hand which of them to label next."""

import json
import math
from dataclasses import dataclass, field

import numpy as np

from sluice.methods.mixtures.summaries import TYPES, Detections, Summary

LABELS = ("Car", "Pedestrian", "Bicyclist")
MODEL = "mixture_detector/1/0123456789ab"


@dataclass
class Picture:
    """An image whose objects are (label, the four uncertainties)."""

    id: str
    objects: list = field(default_factory=list)
    drive: str = ""
    faint: float = math.nan

    def detections(self):
        """Return the rows of a detector: each location value stands in one of the four coordinates, others are less."""
        m = len(self.objects)
        values = np.array([values for _, values in self.objects], np.float32).reshape(m, 4)
        box = np.zeros((m, 8), np.float32) - 1e6
        for row in range(m):
            box[row, row % 4], box[row, 4 + (row + 1) % 4] = values[row, :2]
        classes = np.array([LABELS.index(label) for label, _ in self.objects], np.int32)
        return Detections(
            np.zeros((m, 4), np.float32), classes, np.full(m, 0.9, np.float32), box, values[:, 2:], self.faint
        )

    def candidate(self, **more):
        """Return the picture as a caller of `select` sends it."""
        summary = Summary.of(self.detections(), LABELS, model=MODEL)
        return json.dumps({"id": self.id, "drive": self.drive, "summary": json.loads(summary.to_json()), **more})


def pictures(seed, n=12, most=4, drives=("north", "south", "")):
    """Return n pictures of 0 to `most` objects each; every fourth is empty."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(n):
        count = 0 if i % 4 == 3 else int(random.integers(1, most + 1))
        rows = random.gamma(2.0, [0.1, 0.02, 3.0, 0.05], (count, 4)).astype(np.float32).astype(float)
        objects = [(LABELS[int(random.integers(3))], row.tolist()) for row in rows]
        made.append(Picture(f"image {i:03}", objects, drives[int(random.integers(len(drives)))]))
    random.shuffle(made)
    return made


PUBLISHED = {"over_objects": "max", "aggregate": "max"}  # the greatest z-score of an image's objects and types


def _together(by_class, weights, how):
    """Return one number of the z-scores of an image's objects in one type, by their labels; None without an object."""

    def heavy(label, z):
        return z * weights.get(label, 1) if z > 0 else z / weights.get(label, 1)

    if not by_class:
        return None
    if how == "max":
        return max(heavy(label, one) for label, all_ in by_class.items() for one in all_)
    total = math.fsum(heavy(label, math.fsum(all_)) for label, all_ in by_class.items())
    return total / sum(map(len, by_class.values())) if how == "mean" else total


def long_hand(images, aggregate="mean", types=TYPES, weights=None, per_drive=None, pool=None, over_objects="sum"):
    """Return every image that has an object as (score, id, z), best first, computed one value at a time.

    pool: the images that the statistics are taken of, or None for `images` themselves.
    """
    weights = weights or {}
    of = {}
    for t in range(4):
        values = []
        for image in images if pool is None else pool:
            for label, uncertainties in image.objects:
                if weights.get(label, 1) > 0:
                    values.append(uncertainties[t])
        mean = math.fsum(values) / len(values) if values else 0.0
        of[t] = mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(len(values), 1))
    types = [name for name in types if of[TYPES.index(name)][1] > 0] or types
    ranked = []
    for image in images:
        z = []
        for t in range(4):
            by_class = {}
            for label, uncertainties in image.objects:
                if weights.get(label, 1) > 0:
                    mean, std = of[t]
                    by_class.setdefault(label, []).append((uncertainties[t] - mean) / std if std else 0.0)
            z.append(_together(by_class, weights, over_objects))
        if z[0] is not None:
            chosen = [z[TYPES.index(name)] for name in types]
            score = {"max": max(chosen), "mean": sum(chosen) / len(chosen), "sum": sum(chosen)}[aggregate]
            ranked.append((score, image.id, z))
    ranked.sort(key=lambda one: (-one[0], one[1]))
    drive, count, kept = {image.id: image.drive for image in images}, {}, []
    for one in ranked:
        name = drive[one[1]]
        count[name] = count.get(name, 0) + 1
        if per_drive is None or count[name] <= per_drive:
            kept.append(one)
    return kept
