"""Natural sizes: objects as large as those of the searched drive, of which most cover less than 0.3 % of the image.

Planted: riders, each pasted at the size of an object drawn from the searched frames (car, pedestrian, bicyclist, sign),
in the queries too. Else the frames, objects and draws are those of the planted part.
As they stand: objects of the held-out stretches, in their own frames, are searched for in the frames of the other
drive, nothing pasted; every frame with the class is positive, whatever the size. Classes that more than nine frames of
ten show are left out. No network was trained on a frame of the pool or on a query.
"""

from __future__ import annotations

import numpy as np

from bench.recall.findings import EVALUATION, FULL, HELD_OUT, Case, Claim, Findings, Setting
from bench.recall.natural import largest, spread_out
from bench.recall.planted import LENGTHS, Ground, area_of, outcome, pasting
from bench.recall.scores import METHODS, Query, average_precision, scores
from bench.recall.supply import BICYCLIST, CAR, PEDESTRIAN, SIGN, supply
from export.training import camvid
from export.training.camvid import Frame

SMALL = 0.003  # share of the image
LEAST = 20  # pixels of an object
COMMON = 0.9  # share of frames with a class from which nothing is to be found any more
QUERIES = 40  # of a class as it stands, evenly over the time of all drives


def areas(frames: list[Frame]) -> np.ndarray:
    """Return the shares of the image that the boxes of all objects cover."""
    return np.array([area_of(box) / f.labels.size for f in frames for _, box in camvid.boxes(f.labels, LEAST)])


def planted(given: Setting, natural: np.ndarray) -> list[Case]:
    """Return the rows of pasted riders. natural: shares of the image, of which every rider draws one."""
    has, length = supply(given), LENGTHS[given.length]
    ground = Ground.of(given.extract, has, length)
    made, size = [], []
    for seed in range(given.seeds):
        rng = np.random.default_rng((seed, len(natural)))
        pasted = pasting(ground, has.objects, natural, rng)
        questions = [Query.of(ground.extract(p.image), p.box) for p in pasted.asked]
        found = scores(questions, [ground.extract(p.image) for p in pasted.planted])
        made.append(outcome(ground, pasted, found, scores(questions, ground.plain), rng))
        size += [area_of(p.box) / p.image[..., 0].size for p in pasted.asked]
    recall = np.concatenate([m.recall for m in made], axis=1)
    asked, small = np.array([name for m in made for name in m.asked]), np.array(size) < SMALL
    rows = []
    for name, chosen in (("all", small | True), (f"below {SMALL:.1%}", small), (f"{SMALL:.1%} and more", ~small)):
        if chosen.any():
            labels = "rider, planted", f"recall@{ground.depth}", name
            rows.append(Case(labels, recall[:, chosen], made[0].chance, asked=asked[chosen].tolist()))
    return rows


def standing(given: Setting) -> list[Case]:
    """Return a row per class and pool of objects as they stand."""
    held_out = camvid.split(camvid.read(given.camvid, camvid.TRAINING_DRIVES))[1]
    pools: dict[str, list[Frame]] = {d: [f for f in held_out if f.drive == d] for d in camvid.TRAINING_DRIVES}
    if given.drives != HELD_OUT:
        pools = {camvid.EVALUATION_DRIVE: camvid.read(given.camvid, (camvid.EVALUATION_DRIVE,))}
    every = 1 if given.length == FULL else 4
    rows = []
    for name, pool in pools.items():
        frames, others = pool[::every], [frame for frame in held_out if frame.drive != name]
        seen = [given.extract(frame.image) for frame in frames]
        views = {frame.name: given.extract(frame.image) for frame in others}
        for label in (PEDESTRIAN, BICYCLIST, SIGN, CAR):
            positive = np.array([largest(frame, label) > 0 for frame in frames])
            if not 0 < positive.mean() <= COMMON:
                continue
            asked = spread_out(camvid.cut_out(others, label, LEAST), QUERIES // every)
            answers = scores([Query.of(views[thing.frame], thing.box) for thing in asked], seen).swapaxes(0, 1)
            figure = np.array([[average_precision(row, positive) for row in answer] for answer in answers]).T
            labels = f"{camvid.CLASSES[label]} in {name}", "average precision", "all"
            rows.append(Case(labels, figure, float(positive.mean())))
    return rows


def measure(given: Setting) -> Findings:
    """Search with natural sizes, planted and as they stand."""
    pool = supply(given).pool
    natural = areas(pool)
    title = (
        f"natural sizes: {len(natural)} objects, {(natural < SMALL).mean():.0%} of them below {SMALL:.1%} of the image"
    )
    stand = standing(given)
    labels = "object", "figure", "area of the query"
    promised = given.drives == EVALUATION and given.length == FULL
    return Findings(title, labels, [*planted(given, natural), *stand], list(map(ahead, stand)) if promised else [])


def ahead(one: Case) -> Claim:
    """Return the claim that Deep Template Matching finds a class as it stands at least as well as either pooling."""
    ours, *poolings = one.figure.mean(axis=1)
    best = float(max(poolings))
    name = f"natural sizes, {one.labels[0]}: the better pooling ({METHODS[1 + int(np.argmax(poolings))]}) or more"
    ends = [float(np.percentile(one.figure[0], q)) for q in (10, 90)]
    return Claim(name, float(ours), best, bool(ours >= best), "average precision", ends)
