"""Planted recall: objects cut out by their masks and pasted at a chosen size into one frame in ten of another drive.

Pool: the frames of the evaluation drive, or of the held-out stretches, that lack the class. Objects, of the pool and of
the queries, come from the held-out stretches of the training drives, so that neither a pool frame nor an object was
trained on; query and pool objects are of different drives, so they are never the same object. A query is an object
pasted at the same size into a held-out frame that lacks the class; its region is the pasted box. Area is that of the
box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.drives import evenly
from bench.recall.findings import (
    EVALUATION,
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
from bench.recall.supply import Supply, supply
from export.training import camvid
from export.training.camvid import CutOut, Frame

POOL, DEPTH = 87, 10  # frames of the evaluation drive without a rider, and the depth of recall among them


@dataclass(frozen=True)
class Length:
    """The length of a run.

    frames: at most this many in the pool. sizes: shares of the image that a pasted box covers; decoy_sizes,
    trained_sizes: the same of the variants with decoys and with objects trained on. queries: at most this many per
    experiment. draws: random choices of the positive frames.
    """

    frames: int
    sizes: tuple[float, ...]
    decoy_sizes: tuple[float, ...]
    trained_sizes: tuple[float, ...]
    queries: int
    draws: int = 20


SOME_SIZES = (0.003, 0.01, 0.03)
LENGTHS = {
    FULL: Length(POOL, (0.001, 0.003, 0.01, 0.03, 0.1), SOME_SIZES, SOME_SIZES, 12),
    FAST: Length(30, SOME_SIZES, (0.01,), (), 20),
    QUICK: Length(15, (0.01,), (0.01,), (0.01,), 2, draws=3),
}


@dataclass(frozen=True)
class Planted:
    """A frame with an object pasted in."""

    image: np.ndarray
    box: tuple[int, int, int, int]
    thing: CutOut


def plant(frame: Frame, thing: CutOut, fraction: float, rng: np.random.Generator, margin: float = 0.0) -> Planted:
    """Paste an object so that its box covers a fraction of the frame, its foot in the lower part, where objects stand.

    The foot lies between 45 % and 98 % of the height where the object's own height allows it. margin: share of the
    width and of the height that stays empty at each border, 0 to 0.2.
    """
    height, width = frame.labels.shape
    h, w = camvid.size_for_area((len(thing.mask), thing.mask.shape[1]), fraction, (height, width))
    top, left = round(margin * height), round(margin * width)
    foot = int(min(height - top, max(top + h, rng.uniform(0.45, 0.98) * height)))
    x, y = int(rng.integers(left, width - left - w + 1)), foot - h
    image, labels = frame.image.copy(), frame.labels.copy()
    camvid.paste(image, labels, thing, (h, w), (x, y))
    return Planted(image, (x, y, x + w, y + h), thing)


def area_of(box: Box) -> float:
    """Return the area of a box (x0, y0, x1, y1)."""
    return (box[2] - box[0]) * (box[3] - box[1])


@dataclass(frozen=True)
class Ground:
    """The frames that all experiments plant objects in.

    pool: frames that are searched, none with the class. plain: their views as they are. backgrounds: frames that the
    queries are pasted into. depth: of recall, the same share of every pool. queries, draws: as of `Length`.
    """

    extract: Extractor
    pool: list[Frame]
    plain: list[View]
    backgrounds: list[Frame]
    depth: int
    queries: int
    draws: int

    @classmethod
    def of(cls, extract: Extractor, has: Supply, length: Length) -> Ground:
        """Return the ground of a run."""
        pool = evenly(has.pool, length.frames)
        depth = max(1, round(len(pool) * DEPTH / POOL))
        plain = [extract(frame.image) for frame in pool]
        return cls(extract, pool, plain, has.backgrounds, depth, length.queries, length.draws)


@dataclass(frozen=True)
class Outcome:
    """recall, precision: [3, Q], rows as METHODS, each a mean over draws. chance: recall of a random order. asked: [Q]
    names of the queries' objects."""

    recall: np.ndarray
    precision: np.ndarray
    chance: float
    asked: list[str]


@dataclass(frozen=True)
class Pasting:
    """The pictures of one experiment. planted: per frame of the pool, with an object. decoys: the same frames with a
    decoy, None without decoys. asked: the queries. behind: names of the frames that the queries were pasted into."""

    planted: list[Planted]
    decoys: list[Planted] | None
    asked: list[Planted]
    behind: list[str]


def pasting(
    ground: Ground,
    objects: list[CutOut],
    fraction: float | np.ndarray,
    rng: np.random.Generator,
    decoys: list[CutOut] | None = None,
    margin: float = 0.0,
) -> Pasting:
    """Paste objects into every frame of the pool, and into the frames of the queries.

    fraction: share of the image that a pasted box covers, or shares of which each pasted object draws one. decoys: when
    given, every frame without the class gets one of these pasted in at the same size. margin: as of `plant`.
    """

    def pasted(frame: Frame, thing: CutOut) -> Planted:
        size = fraction if isinstance(fraction, float) else float(rng.choice(fraction))
        return plant(frame, thing, size, rng, margin)

    pool, drives = ground.pool, sorted({o.drive for o in objects})
    by_drive = [[o for o in objects if o.drive == drive] for drive in drives]
    turns = [by_drive[i % len(drives)] for i in rng.permutation(len(pool))]  # as many frames for each drive's objects
    planted = [pasted(f, own[rng.integers(len(own))]) for f, own in zip(pool, turns, strict=True)]
    other = [pasted(f, decoys[rng.integers(len(decoys))]) for f in pool] if decoys else None
    asked, behind = [], []
    for thing in [objects[i] for i in rng.permutation(len(objects))][: ground.queries]:
        background = ground.backgrounds[rng.integers(len(ground.backgrounds))]
        asked.append(pasted(background, thing))
        behind.append(background.name)
    return Pasting(planted, other, asked, behind)


def experiment(
    ground: Ground, objects: list[CutOut], fraction: float, seed: int, decoys: list[CutOut] | None = None
) -> Outcome:
    """Plant objects of one size and search for each of them. fraction, decoys: as of `pasting`."""
    rng = np.random.default_rng((seed, round(fraction * 1e6)))
    made = pasting(ground, objects, fraction, rng, decoys)
    present = [ground.extract(p.image) for p in made.planted]
    absent = ground.plain if made.decoys is None else [ground.extract(p.image) for p in made.decoys]
    questions = [Query.of(ground.extract(p.image), p.box) for p in made.asked]
    return outcome(ground, made, scores(questions, present), scores(questions, absent), rng)


def outcome(ground: Ground, made: Pasting, found: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> Outcome:
    """Judge every query. found, missing: [3, Q, F] scores of the frames with the object pasted in and without it."""
    recalls, precisions = [], []
    for number, asked in enumerate(made.asked):
        kept, others = rivals(ground, made, asked.thing.drive, {made.behind[number]})
        with_it, without = found[:, number, kept], missing[:, number, kept]
        recall, precision = drawn(with_it, without, others, ground.draws, rng, ground.depth)
        recalls.append(recall)
        precisions.append(precision)
    names = [f"{p.thing.frame} {p.thing.box}" for p in made.asked]
    return Outcome(np.array(recalls).T, np.array(precisions).T, min(1.0, ground.depth / len(ground.pool)), names)


def rivals(ground: Ground, made: Pasting, drive: str, behind: set[str]) -> tuple[list[int], list[int]]:
    """Return the frames that a query is ranked against, and which places among them may be positive.

    A query is never ranked against the frames that its objects were pasted into (`behind`), which are in the pool when
    the held-out stretches are searched. The objects of positive frames are of another drive than the query's (`drive`),
    so that none is the query's own object a second later.
    """
    kept = [i for i, frame in enumerate(ground.pool) if frame.name not in behind]
    alone = len({p.thing.drive for p in made.planted}) == 1
    return kept, [n for n, i in enumerate(kept) if alone or made.planted[i].thing.drive != drive]


def drawn(
    with_it: np.ndarray,
    without: np.ndarray,
    others: list[int],
    draws: int,
    rng: np.random.Generator,
    depth: int = DEPTH,
) -> tuple[np.ndarray, np.ndarray]:
    """Return one query's recall and average precision per method, [M] each, as means over the draws.

    with_it, without: [M, F] scores of every frame with the object pasted in and without it. others: indices of the
    frames from which each draw takes the positive ones, a tenth of the pool. depth: of recall.
    """
    frames = with_it.shape[1]
    recall, precision = np.zeros(len(with_it)), np.zeros(len(with_it))
    for _ in range(draws):
        chosen = np.zeros(frames, bool)
        chosen[rng.permutation(others)[: max(1, round(frames / 10))]] = True
        one = judged(np.where(chosen, with_it, without), chosen, depth)
        recall += one[0] / draws
        precision += one[1] / draws
    return recall, precision


def measure(given: Setting) -> Findings:
    """Plant Bicyclist, the class that enough frames lack; also with decoys, and with objects that were trained on."""
    length, has = LENGTHS[given.length], supply(given)
    ground = Ground.of(given.extract, has, length)
    cases, found = [], {}
    for kind, objects, decoys, sizes in (
        ("planted", has.objects, None, length.sizes),
        ("planted, others hold decoys", has.objects, has.decoys, length.decoy_sizes),
        ("planted, objects trained on", has.trained, None, length.trained_sizes),
    ):
        for size in sizes:
            repeats = given.seeds if kind == "planted" else 1
            made = [experiment(ground, objects, size, seed, decoys) for seed in range(repeats)]
            recall = np.concatenate([m.recall for m in made], axis=1)
            precision = np.concatenate([m.precision for m in made], axis=1)
            asked = [name for m in made for name in m.asked]
            cases.append(Case((kind, f"{size:.1%}"), recall, made[0].chance, precision, asked))
            if kind == "planted":
                found[size] = recall.mean(axis=1), [m.recall.mean(axis=1) for m in made]
    where = f"{len(ground.pool)} frames of {has.name}, 1 in 10 positive"
    title = f"planted: recall@{ground.depth} of Bicyclist by area; {where}"
    promised = given.drives == EVALUATION and given.length != FAST  # the marks are those of the whole drive
    return Findings(title, ("kind", "area"), cases, claims(found) if promised else [])


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
