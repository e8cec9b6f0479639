"""Planted recall: objects cut out by their masks and pasted at a chosen size into one frame in ten of another drive.

Pool: the frames of the evaluation drive that lack the class. Objects, of the pool and of the queries, come from the
held-out stretches of the training drives, so that neither a pool frame nor an object was trained on; query and pool
objects are of different drives, so they are never the same object. A query is an object pasted at the same size
into a held-out frame that lacks the class; its region is the pasted box. Area is that of the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.recall.findings import RECALL, TIMES, Case, Claim, Findings, Setting, at_least, times_better
from bench.recall.scores import METHODS, Extractor, Query, View, judged, scores
from export.training import camvid
from export.training.camvid import CutOut, Frame

SIGN, PEDESTRIAN, CAR, BICYCLIST = 6, 9, 8, 10  # CamVid's labels
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1)  # share of the image that a pasted box covers
SOME_SIZES = (0.003, 0.01, 0.03)  # of the variants with decoys and with objects trained on
DEPTH = 10  # of recall


@dataclass(frozen=True)
class Planted:
    """A frame with an object pasted in."""

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
class Ground:
    """The frames that all experiments plant objects in.

    pool: frames that are searched, none with the class. plain: their views as they are. backgrounds: frames that the
    queries are pasted into. queries: at most this many per experiment. draws: random choices of the positive frames.
    """

    extract: Extractor
    pool: list[Frame]
    plain: list[View]
    backgrounds: list[Frame]
    queries: int
    draws: int


@dataclass(frozen=True)
class Outcome:
    """recall, precision: [3, Q], rows as METHODS, each a mean over draws. chance: recall of a random order."""

    recall: np.ndarray
    precision: np.ndarray
    chance: float


def experiment(
    ground: Ground, objects: list[CutOut], fraction: float, seed: int, decoys: list[CutOut] | None = None
) -> Outcome:
    """Plant objects of one size and search for each of them.

    fraction: share of the image that a pasted box covers. decoys: when given, every frame without the class gets one of
    these pasted in at the same size.
    """
    rng, pool = np.random.default_rng((seed, round(fraction * 1e6))), ground.pool
    drives = sorted({o.drive for o in objects})
    by_drive = [[o for o in objects if o.drive == drive] for drive in drives]
    turns = [by_drive[i % len(drives)] for i in rng.permutation(len(pool))]  # as many frames for each drive's objects
    planted = [plant(f, own[rng.integers(len(own))], fraction, rng) for f, own in zip(pool, turns, strict=True)]
    present = [ground.extract(p.image) for p in planted]
    absent = ground.plain
    if decoys:
        absent = [ground.extract(plant(f, decoys[rng.integers(len(decoys))], fraction, rng).image) for f in pool]
    order = [objects[i] for i in rng.permutation(len(objects))][: ground.queries]
    questions = []
    for thing in order:
        asked = plant(ground.backgrounds[rng.integers(len(ground.backgrounds))], thing, fraction, rng)
        questions.append(Query.of(ground.extract(asked.image), asked.box))
    found, missing = scores(questions, present), scores(questions, absent)
    recalls, precisions = [], []
    for thing, with_it, without in zip(order, found.swapaxes(0, 1), missing.swapaxes(0, 1), strict=True):
        # Only frames whose object is of the other drive: never the query's own object seen a second later.
        others = [i for i, p in enumerate(planted) if p.thing.drive != thing.drive or len(drives) == 1]
        recall, precision = drawn(with_it, without, others, ground.draws, rng)
        recalls.append(recall)
        precisions.append(precision)
    return Outcome(np.array(recalls).T, np.array(precisions).T, min(1.0, DEPTH / len(pool)))


def drawn(
    with_it: np.ndarray, without: np.ndarray, others: list[int], draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return one query's recall and average precision per method, [3] each, as means over the draws.

    with_it, without: [3, F] scores of every frame with the object pasted in and without it. others: indices of the
    frames from which each draw takes the positive ones, a tenth of the pool.
    """
    frames = with_it.shape[1]
    recall, precision = np.zeros(len(METHODS)), np.zeros(len(METHODS))
    for _ in range(draws):
        chosen = np.zeros(frames, bool)
        chosen[rng.permutation(others)[: max(1, round(frames / 10))]] = True
        one = judged(np.where(chosen, with_it, without), chosen, DEPTH)
        recall += one[0] / draws
        precision += one[1] / draws
    return recall, precision


def measure(given: Setting) -> Findings:
    """Plant Bicyclist, the class that enough frames of the pool's drive lack; also with decoys, and as trained on."""
    training, held_out = camvid.split(camvid.read(given.camvid, camvid.TRAINING_DRIVES))
    pool = [f for f in camvid.read(given.camvid, (camvid.EVALUATION_DRIVE,)) if f.lacks(BICYCLIST)]
    backgrounds = [f for f in held_out if f.lacks(BICYCLIST)]
    objects = camvid.cut_out(held_out, BICYCLIST)
    decoys = [o for label in (SIGN, CAR, PEDESTRIAN) for o in camvid.cut_out(held_out, label)]
    sizes: tuple[float, ...] = SIZES
    queries, draws = 12, 20
    if given.quick:
        pool, backgrounds, sizes, queries, draws = pool[::6], backgrounds[::6], (0.01,), 2, 3
    ground = Ground(given.extract, pool, [given.extract(f.image) for f in pool], backgrounds, queries, draws)
    cases, found = [], {}
    for kind, extra, repeats, chosen in (
        ("planted", None, given.seeds, objects),
        ("planted, others hold decoys", decoys, 1, objects),
        ("planted, objects trained on", None, 1, camvid.cut_out(training, BICYCLIST)),
    ):
        for size in sizes if kind == "planted" else [s for s in sizes if s in SOME_SIZES]:
            made = [experiment(ground, chosen, size, seed, extra) for seed in range(repeats)]
            recall = np.concatenate([m.recall for m in made], axis=1)
            precision = np.concatenate([m.precision for m in made], axis=1)
            cases.append(Case((kind, f"{size:.1%}"), recall, made[0].chance, precision))
            if kind == "planted":
                found[size] = recall.mean(axis=1), [m.recall.mean(axis=1) for m in made]
    title = (
        f"planted: recall@10 of Bicyclist by area; {len(pool)} frames of {camvid.EVALUATION_DRIVE}, 1 in 10 positive"
    )
    return Findings(title, ("kind", "area"), cases, claims(found))


def claims(found: dict[float, tuple[np.ndarray, list[np.ndarray]]]) -> list[Claim]:
    """Return what is claimed of two sizes. found: by size the mean recall [3], and the same of each seed."""
    made = []
    for size, mark in ((0.01, 0.6), (0.003, 0.3)):
        if size in found:
            mean, each = found[size]
            ends = [min(e[0] for e in each), max(e[0] for e in each)]
            made.append(at_least(f"recall planted at {size:.1%}", float(mean[0]), mark, RECALL, ends))
    mean, each = found[0.01]
    times = [times_better(e) for e in each]
    name = "recall planted at 1.0% against the better pooling"
    return [*made, at_least(name, times_better(mean), 3.0, TIMES, [min(times), max(times)])]
