"""Compares orders of frames: by what they agree with a detector's errors, and by the errors that labels then meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sluice.methods.mixtures.summaries import TYPES, Detections, Moments
from sluice.methods.selection.pool import Batch, Statistics
from sluice.methods.selection.scoring import Rule

ALL = (0, 1, 2, 3)
ALEATORIC, EPISTEMIC = (
    tuple(t for t, name in enumerate(TYPES) if name.endswith(end)) for end in ("_aleatoric", "_epistemic")
)
# over the objects, over the types, which types. The first is the published rule, to which the others are compared.
RULES = (
    *(("max", "max", ALL), ("max", "mean", ALL), ("mean", "mean", ALL), ("mean", "max", ALL), ("sum", "mean", ALL)),
    *(("sum", "mean", ALEATORIC), ("sum", "mean", EPISTEMIC), ("max", "max", ALEATORIC), ("max", "max", EPISTEMIC)),
)


def named(rule: tuple[str, str, tuple[int, ...]]) -> str:
    """Return a rule in words."""
    over_objects, aggregate, types = rule
    which = {ALL: "", ALEATORIC: ", aleatoric alone", EPISTEMIC: ", epistemic alone"}[types]
    return f"{over_objects} over objects, {aggregate} over types{which}"


def scores(found: Sequence[Detections], rule: tuple[str, str, tuple[int, ...]]) -> np.ndarray:
    """Return the score that `select` gives to each frame, float64 [f], with these frames as the pool.

    found: the objects of each frame, at least one each.
    """
    values = np.concatenate([one.types() for one in found]).astype(np.float64)
    counts = np.array([len(one) for one in found])
    nothing = np.zeros(len(values), np.int64)
    batch = Batch(np.arange(len(found)), np.ones(len(found), bool), counts, nothing, values)
    of = Statistics("bench", ("these frames",), (), None, len(found), Moments.of(values))
    judge = Rule(of, np.ones(1), list(rule[2]), rule[0], rule[1])
    return judge.scores(judge.frames(batch))


# ------------------------------------------------------------------------------------------------ how good an order is


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value from 0, float64 [f]; equal values share the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") - 1) / 2


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation, -1 to 1; 0 if all values of one side are equal."""
    one, two = ranks(a), ranks(b)
    return float(np.corrcoef(one, two)[0, 1]) if np.ptp(one) and np.ptp(two) else 0.0


def met(score: np.ndarray, errors: np.ndarray, boxes: np.ndarray) -> float:
    """Return the mean share of all errors that lie in the frames labelled so far, over all counts of boxes labelled.

    The frames are labelled in the order of their scores. Chance gives 0.5, as the curve of errors over boxes is then
    straight.
    """
    order = np.argsort(-score, kind="stable")
    paid = np.r_[0, np.cumsum(boxes[order])] / boxes.sum()
    seen = np.r_[0, np.cumsum(errors[order])] / errors.sum()
    return float(((seen[1:] + seen[:-1]) / 2 * np.diff(paid)).sum())


Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
MEASURES: dict[str, Measure] = {
    "Spearman with errors": lambda score, errors, boxes: spearman(score, errors),
    "Spearman with errors per box": lambda score, errors, boxes: spearman(score, errors / np.maximum(boxes, 1)),
    "errors met at equal boxes": met,
}


def differences(
    score: np.ndarray, base: np.ndarray, errors: np.ndarray, boxes: np.ndarray, measure: Measure, times: int = 400
) -> tuple[float, float]:
    """Return the interval that holds 90 % of the differences of two orders in a measure, over frames drawn anew."""
    random = np.random.default_rng(0)
    drawn = [random.integers(0, len(score), len(score)) for _ in range(times)]
    found = [measure(score[d], errors[d], boxes[d]) - measure(base[d], errors[d], boxes[d]) for d in drawn]
    low, high = np.percentile(found, [5, 95])
    return float(low), float(high)
