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

    lower, upper: float32 [N], bounds of the exact scores. exact: a function from positions [m] to scores float32 [m].
    threshold: scores below it are left out; None leaves out none but those of -inf.
    rank: int [N], equal scores are ordered by it, lower first; None orders them by position.
    group: int [N], limit: no more than `limit` positions of each group are returned, its best; None for no limit.
    Returns positions [n] and scores float32 [n], best first, n <= k.

    Whatever the exact scores are, the k-th best of them is no less than the k-th best lower bound, with the groups'
    limit as well. So a position whose upper bound is below that need not be scored. The others are scored in growing
    parts, best upper bound first, and every part raises the k-th lower bound.
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
    """Return which entries of a sorted list are among the first `limit` of their group: bool [n], or all as a slice.

    group: int [n], the group of each entry; None, as a limit of None, allows every entry.
    """
    if group is None or limit is None:
        return slice(None)
    order = np.argsort(group, kind="stable")
    sorted_groups = group[order]
    first = np.searchsorted(sorted_groups, sorted_groups)
    inside = np.empty(len(group), bool)
    inside[order] = np.arange(len(group)) - first < limit
    return inside


def _kth(values: np.ndarray, k: int, group: np.ndarray | None, limit: int | None) -> float:
    """Return the k-th best value, counting at most `limit` values per group; -inf if there are fewer than k."""
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
