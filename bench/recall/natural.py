"""Natural recall: the class as the drives hold it, nothing pasted.

Each drive in turn is the pool; queries are the class's objects in the other two. Frames with the class are positive,
whatever its size; a second figure leaves out the positive frames whose largest object is below 0.3 % of the image.
The two training drives were trained on, but for their held-out stretches, and so were most queries: only the pool of
the evaluation drive is new to the network, and no pool is new together with its queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.recall.scores import Query, View, average_precision, scores
from export.training import camvid
from export.training.camvid import CutOut, Frame

LARGE = 0.003  # of the image's area, by box
BANDS = ((0.0, 0.003), (0.003, 0.01), (0.01, 0.03), (0.03, 1.0))  # of the query's region


@dataclass(frozen=True)
class Outcome:
    """One pool. area: [Q] share of the image of each query's region; all_sizes, large: [3, Q] average precision, rows
    as METHODS, NaN where no positive frame is left; chance: share of positive frames, in both; drive: [Q]."""

    pool: str
    area: np.ndarray
    drive: list[str]
    all_sizes: np.ndarray
    large: np.ndarray
    chance: tuple[float, float]


def largest(frame: Frame, label: int) -> float:
    """Box of the class's largest object, share of the image; 0 where there is none."""
    found = [(x1 - x0) * (y1 - y0) for (x0, y0, x1, y1), _ in camvid.components(frame.labels == label)]
    return max(found, default=0) / frame.labels.size


def spread_out(objects: list[CutOut], count: int) -> list[CutOut]:
    """At most `count` objects, evenly over the drive's time, so that one rider does not ask all the questions."""
    if len(objects) <= count:
        return objects
    return [objects[i] for i in np.linspace(0, len(objects) - 1, count).round().astype(int)]


def experiment(pool: str, frames: list[Frame], views: dict[str, View], label: int, queries: int) -> Outcome:
    """frames: of all drives; views: by frame name; queries: at most so many a drive."""
    inside = [f for f in frames if f.drive == pool]
    sizes = np.array([largest(f, label) for f in inside])
    positive = sizes > 0
    kept = ~positive | (sizes >= LARGE)
    drives = [d for d in dict.fromkeys(f.drive for f in frames) if d != pool]
    asked = [
        o for d in drives for o in spread_out(camvid.cut_out([f for f in frames if f.drive == d], label, 100), queries)
    ]
    answers = scores([Query.of(views[o.frame], o.box) for o in asked], (views[f.name] for f in inside))
    found: list[list[list[float]]] = [[], []]
    for answer in answers.swapaxes(0, 1):
        for chosen, column in ((np.ones(len(inside), bool), found[0]), (kept, found[1])):
            hit = positive[chosen]
            every = [average_precision(row[chosen], hit) if hit.any() else float("nan") for row in answer]
            column.append(every)
    frame_area = inside[0].labels.size
    area = np.array([(o.box[2] - o.box[0]) * (o.box[3] - o.box[1]) / frame_area for o in asked])
    chance = float(positive.mean()), float(positive[kept].mean())
    return Outcome(pool, area, [o.drive for o in asked], np.array(found[0]).T, np.array(found[1]).T, chance)
