"""Several examples of one class: one score of all regions by `combine`, beside each example alone.

The pool and the pasting are those of the planted part. A question is several riders of one drive, each pasted into its
own frame; the positive frames hold riders of the other drive. The column of one example is the mean over the examples
of a question, so all columns ask the same questions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.recall.findings import Case, Claim, Findings, Setting
from bench.recall.planted import LENGTHS, Ground, Pasting, drawn, pasting, rivals
from bench.recall.scores import Query, scores
from bench.recall.supply import supply
from sluice.methods import matching

SIZES = (0.003, 0.01, 0.03)  # share of the image that a pasted box covers
COUNTS = (2, 5)  # examples of a question
QUESTIONS = 12  # of each drive, count and seed
METHODS = ("mean", "max", "one example")


def experiment(
    ground: Ground, made: Pasting, rng: np.random.Generator, counts: tuple[int, ...] = COUNTS
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return per count of examples the recall and the average precision of its questions, [3, questions] each.

    made: all objects as queries. The rows are as `METHODS`.
    """
    ask = [Query.of(ground.extract(p.image), p.box) for p in made.asked]
    found = scores(ask, [ground.extract(p.image) for p in made.planted])[0]
    missing = scores(ask, ground.plain)[0]
    answers = {}
    for count in counts:
        judged = [
            question(ground, made, found, missing, rng.permutation(own)[:count], rng)
            for own in by_drive(made)
            for _ in range(QUESTIONS)
        ]
        recall, precision = zip(*judged, strict=True)
        answers[count] = np.array(recall).T, np.array(precision).T
    return answers


def by_drive(made: Pasting) -> list[np.ndarray]:
    """Return the numbers of the queries of each drive."""
    drive = np.array([p.thing.drive for p in made.asked])
    return [np.flatnonzero(drive == name) for name in sorted(set(drive.tolist()))]


def question(
    ground: Ground, made: Pasting, found: np.ndarray, missing: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and average precision, [3] each, of the examples `chosen` among the queries; rows as `METHODS`.

    found, missing: [Q, F] scores of the frames with an object pasted in and without.
    """
    behind = {made.behind[i] for i in chosen}
    kept, others = rivals(ground, made, made.asked[chosen[0]].thing.drive, behind)
    both = []
    for all_scores in (found, missing):
        own = all_scores[chosen][:, kept]
        query = np.arange(len(chosen))
        both.append(np.array([*(matching.combine(own.T, how, query) for how in METHODS[:2]), *own]))
    recall, precision = drawn(both[0], both[1], others, ground.draws, rng, ground.depth)
    return np.array([*recall[:2], recall[2:].mean()]), np.array([*precision[:2], precision[2:].mean()])


def measure(given: Setting) -> Findings:
    """Ask with two and with five examples, at several sizes."""
    length, has = LENGTHS[given.length], supply(given)
    ground = replace(Ground.of(given.extract, has, length), queries=len(has.objects))
    made: dict[tuple[int, float], list[tuple[np.ndarray, np.ndarray]]] = {}
    sizes = [size for size in length.sizes if size in SIZES]
    for size in sizes:
        for seed in range(given.seeds):
            rng = np.random.default_rng((seed, round(size * 1e6), len(METHODS)))
            for count, answer in experiment(ground, pasting(ground, has.objects, size, rng), rng).items():
                made.setdefault((count, size), []).append(answer)
    cases = []
    for (count, size), answers in sorted(made.items()):
        recall, precision = (np.concatenate(each, axis=1) for each in zip(*answers, strict=True))
        cases.append(Case((count, f"{size:.1%}"), recall, ground.depth / len(ground.pool), precision))
    where = f"{len(ground.pool)} frames of {has.name}, 1 in 10 positive"
    title = f"examples: recall@{ground.depth} of Bicyclist by several examples; {where}"
    gain = [np.mean([made[5, size][seed][0].mean(axis=1) for size in sizes], axis=0) for seed in range(given.seeds)]
    return Findings(title, ("examples", "area"), cases, [ahead([each[0] - each[1] for each in gain])], METHODS)


def ahead(gain: list[float]) -> Claim:
    """Return the claim that the mean of five examples finds more than the best of them. gain: recall, per seed."""
    name = "mean of five examples against the best of them, over all sizes, in every seed"
    return Claim(name, float(np.mean(gain)), 0.0, min(gain) > 0, "of recall", (min(gain), max(gain)))
