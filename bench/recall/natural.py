"""Natural recall: the class as the drives hold it, nothing pasted.

Each drive in turn is the pool; the queries are the class's objects in the other two drives. Every frame with the class
is positive, whatever the size of the object; a second figure leaves out the positive frames whose largest object covers
less than 0.3 % of the image. The network was trained on the two training drives, but for their held-out stretches, and
so on most queries: only the pool of the evaluation drive is new to the network, and no pool is new together with its
queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.recall.findings import FULL, HELD_OUT, QUICK, Case, Claim, Findings, Setting
from bench.recall.scores import Query, View, average_precision, scores
from export.training import camvid
from export.training.camvid import CutOut, Frame

BICYCLIST = 10  # CamVid's label
LARGE = 0.003  # share of the image's area that the object's box covers
BANDS = ((0.0, 0.003), (0.003, 0.01), (0.01, 0.03), (0.03, 1.0))  # share of the image that the query's region covers


@dataclass(frozen=True)
class Outcome:
    """The queries of one pool.

    area: [Q] share of the image that each query's region covers. all_sizes, large: [3, Q] average precision over all
    frames, and over those without small objects; rows as METHODS, NaN where no positive frame is left. chance: share of
    positive frames in both.
    """

    area: np.ndarray
    all_sizes: np.ndarray
    large: np.ndarray
    chance: tuple[float, float]


def largest(frame: Frame, label: int) -> float:
    """Return the share of the image that the box of the class's largest object covers; 0 without an object."""
    found = [(x1 - x0) * (y1 - y0) for (x0, y0, x1, y1), _ in camvid.components(frame.labels == label)]
    return max(found, default=0) / frame.labels.size


def spread_out(objects: list[CutOut], count: int) -> list[CutOut]:
    """Return at most `count` objects, evenly over the drive's time, so that not all queries show the same rider."""
    if len(objects) <= count:
        return objects
    return [objects[i] for i in np.linspace(0, len(objects) - 1, count).round().astype(int)]


def experiment(pool: str, frames: list[Frame], views: dict[str, View], label: int, queries: int) -> Outcome:
    """Search one drive for the objects of the others.

    pool: name of the drive that is searched. frames: of all drives. views: by frame name. queries: at most per drive.
    """
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
    return Outcome(area, np.array(found[0]).T, np.array(found[1]).T, chance)


def measure(given: Setting) -> Findings:
    """Search each drive in turn for Bicyclist."""
    frames = camvid.read(given.camvid, camvid.TRAINING_DRIVES)
    pools: tuple[str, ...] = camvid.TRAINING_DRIVES
    if given.drives == HELD_OUT:
        frames = camvid.split(frames)[1]
    else:
        frames += camvid.read(given.camvid, (camvid.EVALUATION_DRIVE,))
        pools = (camvid.EVALUATION_DRIVE, *pools)
    if given.length != FULL:
        frames, pools = frames[:: 6 if given.length == QUICK else 2], pools[:1]
    views = {f.name: given.extract(f.image) for f in frames}
    made = {pool: experiment(pool, frames, views, BICYCLIST, 2 if given.length == QUICK else 12) for pool in pools}
    title = "natural: average precision of Bicyclist by the area of the query's region, each drive in turn as the pool"
    labels = "pool", "to the network", "query area", "positive frames"
    rows = [case for pool, one in made.items() for case in cases(pool, one)]
    return Findings(title, labels, rows, [ahead(pool, one) for pool, one in made.items()])


def cases(pool: str, one: Outcome) -> list[Case]:
    """Return the rows of one pool, two per band of the queries' sizes: over all frames, and without small objects."""
    known = "new" if pool == camvid.EVALUATION_DRIVE else "trained on, but for held-out stretches"
    found = []
    for low, high in (*BANDS, (0.0, 1.0)):
        chosen = (one.area >= low) & (one.area < high)
        if chosen.any():
            labels = pool, known, f"{low:.1%} to {high:.1%}"
            found.append(Case((*labels, "all"), one.all_sizes[:, chosen], one.chance[0]))
            found.append(Case((*labels, "0.3% and more"), one.large[:, chosen], one.chance[1]))
    return found


def ahead(pool: str, one: Outcome) -> Claim:
    """Return the claim that Deep Template Matching finds large objects better than either pooling does."""
    ours, best = float(np.nanmean(one.large[0])), float(np.nanmean(one.large[1:], axis=1).max())
    ends = [float(np.nanpercentile(one.large[0], q)) for q in (10, 90)]
    name = f"natural, pool {pool}, objects of 0.3% and more: above both poolings ({best:.3f})"
    return Claim(name, ours, best, ours > best, "average precision", ends)
