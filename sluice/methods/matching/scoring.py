"""Scores: cosines of a frame's cells with a template become one number per region and one per frame.

The object is a *template*: the unit-length feature vectors of the cells under the caller's box. A frame scores by
the best cosine that each of those cells finds anywhere in the frame. This module scores one frame at a time in plain
NumPy; it is the definition with which the fast search, `sluice.methods.scan`, must agree.

Features are [h, w, C], rows of cells from top to bottom. A zero cell has cosine 0 with every cell.
Source: US 2025/0265847 A1, [0035] to [0043]; docstrings say where this module decides what the patent leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np

from sluice.frames import COMBINATIONS, FORMS
from sluice.images import Geometry, valid_cells
from sluice.methods.matching.templates import Templates, stride_of
from sluice.options import choice

# Scores of queries that differ by less count as equal: the last bits of a product depend on the processor.
SAME = 1e-6
PART = 4096  # template rows that a frame is multiplied with at a time; more only if a single region has more


def similarity(features: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the cosine of every cell of a frame with every template row, float32 [P, Q].

    features: [h, w, C] or [P, C], each cell of unit length or zero, as the extractor gives them; P = h w.
    The product takes this frame alone, so equal frames have equal cosines. Equal cells of one frame may differ in the
    last bit, so no decision may rest on the equality of two of these numbers.
    Raises ValueError when the channels differ.
    """
    cells = np.asarray(features, np.float32).reshape(-1, features.shape[-1])
    if cells.shape[1] != templates.rows.shape[1]:
        raise ValueError(
            f"the frame has {cells.shape[1]} channels, the template {templates.rows.shape[1]}; "
            "both must come from the same version of the feature extractor"
        )
    return cells @ templates.rows.T


def check_form(form: str) -> None:
    """Raise InvalidArgument for a name that is not in FORMS."""
    choice(FORMS)("score", form)


def scores(
    features: np.ndarray, templates: Templates, form: str = "roi", valid: np.ndarray | None = None
) -> np.ndarray:
    """Score one frame for each region, float32 [R].

    features: [h, w, C] or [P, C] as for `similarity`.
    valid: bool [h, w] or [P], the cells on the image; None means all cells.
    form: 'roi'   mean over the region's cells of the best cosine in the frame, in [-1, 1];
          'image' mean over the frame's cells of the best cosine in the region, in [-1, 1];
          'mean'  the average of the two;
          'area'  the patent's literal form: 'roi' divided by w h, the cells of the query's whole map.

    Raises InvalidArgument for another form, ValueError when no cell is valid or 'area' lacks `templates.cells`.
    Source: US 2025/0265847 A1, formulas [00003] to [00006]. The patent sets cells outside the region to zero;
    here they are left out, so that a best cosine below zero stays below zero.
    """
    per_row, per_cell = [], []
    for part in parts(templates):
        cosines = similarity(features, part)
        if valid is not None:
            cosines = cosines[np.asarray(valid, bool).reshape(-1)]
        if not len(cosines):
            raise ValueError("the frame has no valid cell: its picture is empty")
        per_row.append(cosines.max(axis=0))
        if form in ("image", "mean"):
            per_cell.append(_best_in_region(cosines, part))
    return form_scores(np.concatenate(per_row), np.concatenate(per_cell) if per_cell else None, templates, form)


def parts(templates: Templates) -> Iterator[Templates]:
    """Cut templates of many rows between regions, into parts whose cosines with a frame fit into memory."""
    first, regions = 0, len(templates.sizes)
    while first < regions:
        last = first + max(1, int((np.cumsum(templates.sizes[first:]) <= PART).sum()))
        own = (first <= templates.roi) & (templates.roi < last)
        yield Templates(templates.rows[own], templates.roi[own] - first, np.zeros(last - first, np.int32))
        first = last


def _best_in_region(cosines: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the mean over the cells of the best cosine in each region, float64 [R], from cosines [P, Q]."""
    return np.maximum.reduceat(cosines, templates.starts, axis=1).mean(axis=0, dtype=np.float64)


def form_scores(per_row: np.ndarray, per_cell: np.ndarray | None, templates: Templates, form: str) -> np.ndarray:
    """Reduce the maxima of a frame to the scores of its regions, float32 [..., R].

    per_row:  [..., Q] best cosine of each template row over the frame's cells.
    per_cell: [..., R] mean over the frame's cells of the best cosine in each region; needed by the forms 'image' and
              'mean', None for the others.
    form: as in `scores`.
    Raises InvalidArgument for another form, ValueError for 'area' without `templates.cells`.
    """
    check_form(form)
    # In float64 and region by region, so that the sum does not depend on which frames are scored together.
    rows = np.add.reduceat(np.asarray(per_row, np.float64), templates.starts, axis=-1) / templates.sizes
    if form == "roi":
        return rows.astype(np.float32)
    if form == "area":
        if templates.cells is None:
            raise ValueError("the form 'area' needs the cells of each query's map; give cells to matching.stack")
        return (rows / templates.cells).astype(np.float32)
    if per_cell is None:
        raise ValueError(f"the form {form!r} needs the best cosine of every cell; got only that of every row")
    return (per_cell if form == "image" else (rows + per_cell) / 2).astype(np.float32)


def image_scores(features: np.ndarray, templates: Templates, geometry: Geometry, form: str = "roi") -> np.ndarray:
    """Score one frame [h, w, C] for each region, float32 [R], by those of its cells that lie on the image.

    form: as in `scores`.
    """
    grid = features.shape[0], features.shape[1]
    return scores(features, templates, form, valid_cells(geometry, grid, stride_of(geometry, grid)))


def combine(roi_scores: np.ndarray, how: str, query: np.ndarray, form: str = "roi") -> np.ndarray:
    """Combine the scores of regions into the scores by which a list is sorted, float32.

    roi_scores: [N, R]. query: int [R], the query of each region. form: as in `scores`.
    how: 'max'   the best region counts, [N];
         'mean'  all regions count alike, [N];
         'query' a score for each query, the mean of its regions, [N, queries].
    With the form 'area' the regions of one query are summed, as the patent writes it; 'max' and 'mean' are then taken
    over the queries.
    Raises InvalidArgument for another combination.
    """
    choice(COMBINATIONS)("combine", how)
    values = np.asarray(roi_scores, np.float64)
    query = np.asarray(query)
    columns = list(values.T)
    if how == "query" or form == "area":
        owned = [[values[:, r] for r in np.flatnonzero(query == q)] for q in range(query.max() + 1)]
        columns = [_sum(own) if form == "area" else _sum(own) / len(own) for own in owned]
    if how == "max":
        values = np.maximum.reduce(columns)
    elif how == "mean":
        values = _sum(columns) / len(columns)
    else:
        values = np.stack(columns, axis=1)
    return values.astype(np.float32)


def scoring_query(roi_scores: np.ndarray, how: str, query: np.ndarray, form: str = "roi") -> int:
    """Return the number of the query that gave a frame its combined score; the first of several equal ones.

    roi_scores: [R] of one frame. how, query, form: as in `combine`.
    For 'max' this is the query of the best region; for 'mean' and 'query' the query whose regions have the best mean,
    or with the form 'area' the best sum.
    """
    by_region = how == "max" and form != "area"
    values = np.asarray(roi_scores, np.float64) if by_region else combine(roi_scores[None], "query", query, form)[0]
    best = int(np.flatnonzero(values >= values.max() - SAME)[0])
    return int(query[best]) if by_region else best


def _sum(columns: list[np.ndarray]) -> np.ndarray:
    """Add arrays [N] in their order; the order of NumPy's own sums may depend on N."""
    return reduce(np.add, columns)


def top(values: np.ndarray, k: int, threshold: float | None = None, rank: np.ndarray | None = None) -> np.ndarray:
    """Return the positions of the k best of values [N], best first, int64 [n] with n <= k.

    threshold: values below it are left out; None leaves none out.
    rank: [N] numbers by which equal values are ordered, lower first; None orders them by position.
    """
    values = np.asarray(values)
    order = np.lexsort((np.arange(len(values)) if rank is None else rank, -values))[:k]
    return order if threshold is None else order[values[order] >= threshold]
