"""Choose the best of many with bounds on their scores, and score exactly only those that could be among them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def certify(
    lower: np.ndarray,
    upper: np.ndarray,
    exact: Callable[[np.ndarray], np.ndarray],
    k: int,
    threshold: float | None = None,
    rank: np.ndarray | None = None,
    group: np.ndarray | None = None,
    limit: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k best of N by their exact scores, given lower <= exact <= upper.

    lower, upper: [N] float32. exact: positions [m] -> scores [m] float32.
    threshold: lower scores are left out, and -inf always.
    rank: [N] int, equal scores come in its order (None: by position).
    group: [N] int with limit: of each group no more than so many, the best.
    Returns positions [n] and scores [n] float32, best first, n <= k.

    A score that is left unknown is certain to lie below the k-th of the answer, for whatever the exact scores are, the
    k-th best of them (with the groups' limit as well) is no less than the k-th best of the lower bounds. Those that
    remain are scored best upper bound first, in growing parts, and every part raises that k-th lower bound.
    """
    floor = -np.inf if threshold is None else float(threshold)
    candidates = np.flatnonzero(upper >= max(floor, _kth(lower, k, group, limit)))
    candidates = candidates[np.argsort(-upper[candidates], kind="stable")]
    low, high = lower[candidates].copy(), upper[candidates]
    groups = None if group is None else group[candidates]
    done, part = 0, max(k, 4)
    while done < len(candidates):
        # Upper bounds fall, so the open candidates that can still be on the list are the first ones.
        reach = int(np.searchsorted(-high, -max(floor, _kth(low, k, groups, limit)), side="right"))
        if reach <= done:
            break
        end = reach if reach - done < 2 * part else done + part
        order = done + np.argsort(candidates[done:end])  # as they lie on the disk
        low[order] = exact(candidates[order])
        done, part = end, 2 * part
    known = np.flatnonzero((low[:done] >= floor) & (low[:done] > -np.inf))
    chosen = candidates[known]
    best = np.lexsort((chosen if rank is None else rank[chosen], -low[known]))
    best = best[_within_limit(None if groups is None else groups[known][best], limit)][:k]
    return chosen[best], low[known][best]


def _within_limit(group: np.ndarray | None, limit: int | None) -> np.ndarray | slice:
    """Return which of a sorted list [n] come first, second ... limit-th in their group."""
    if group is None or limit is None:
        return slice(None)
    order = np.argsort(group, kind="stable")
    sorted_groups = group[order]
    first = np.searchsorted(sorted_groups, sorted_groups)
    inside = np.empty(len(group), bool)
    inside[order] = np.arange(len(group)) - first < limit
    return inside


def _kth(values: np.ndarray, k: int, group: np.ndarray | None, limit: int | None) -> float:
    """Return the k-th best value, no more than `limit` counted of a group; -inf when there are fewer."""
    count = k if group is None else 8 * k
    while True:
        count = min(count, len(values))
        if not count:
            return -np.inf
        best = np.argpartition(values, len(values) - count)[len(values) - count :]
        best = best[np.argsort(-values[best], kind="stable")]
        best = best[_within_limit(None if group is None else group[best], limit)]
        if len(best) >= k:
            return float(values[best[k - 1]])
        if count == len(values):
            return -np.inf
        count *= 4
