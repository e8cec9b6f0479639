"""Deep Template Matching: how well does a frame's feature map contain the object inside a region of interest?

The object is a *template*: the unit-length feature vectors of the cells under the caller's box. A frame scores by
the best cosine that each of those cells finds anywhere in the frame, so a small object counts as much as a large
one and its place does not matter. Everything here is one frame at a time in plain NumPy: the definition that
`sluice.scan` must agree with.

Features are [h, w, C], rows of cells from top to bottom. A zero cell has cosine 0 with everything.
Source: US 2025/0265847 A1, [0035] to [0043]; what that leaves open is decided here and said in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry, valid_cells

FORMS = ("roi", "image", "mean", "area")
COMBINATIONS = ("max", "mean", "query")
HEATMAPS = (True, False, "all")  # of the query that scored, none, or of each query by itself as well

# A box that reaches less than this share of a cell into a cell does not count it: boxes travel as float32.
SLIVER = 1e-3

# Scores of queries that lie closer than this are equal: a product's last bits depend on the processor.
SAME = 1e-6

# Cells of a region by which `best_windows` finds it again; more of them cost time and move the window no more.
WITNESSES = 64
PART = 4096  # rows of templates that a frame is multiplied with at a time; more where a single region has more


@dataclass(frozen=True)
class Templates:
    """All regions of all queries, stacked, so that one pass over a gallery serves them together.

    rows:  [Q, C] float32, unit length (or zero): the cells of region 0, then of region 1, and so on.
    roi:   [Q] int32, which region each row belongs to; ascending, every region has at least one row.
    query: [R] int32, which query each region belongs to, 0 and up without a gap.
    cells: [R] int32, cells in the whole map of the region's query: w·h of the literal form 'area', which alone
           needs it; otherwise None.
    shape: [R, 2] int32, rows and columns of cells of each region, row by row in `rows`; only `best_windows` needs it.
    """

    rows: np.ndarray
    roi: np.ndarray
    query: np.ndarray
    cells: np.ndarray | None = None
    shape: np.ndarray | None = None

    def __post_init__(self) -> None:
        regions = len(self.query)
        if self.rows.ndim != 2 or len(self.rows) != len(self.roi) or not len(self.rows):
            raise ValueError(
                "templates need rows [Q, C] and roi [Q] with Q of 1 or more; "
                f"got rows {self.rows.shape}, roi {self.roi.shape}"
            )
        if not np.array_equal(np.unique(self.roi), np.arange(regions)) or (np.diff(self.roi) < 0).any():
            raise ValueError(f"roi must name the regions 0 to {regions - 1}, ascending, each at least once")
        if not np.array_equal(np.unique(self.query), np.arange(self.queries)):
            raise ValueError(f"queries must be numbered from 0 without a gap; got {self.query.tolist()}")
        if self.cells is not None and (len(self.cells) != regions or min(self.cells) < 1):
            raise ValueError(f"cells needs one number of 1 or more for each of the {regions} regions")
        if self.shape is not None and not np.array_equal(np.prod(self.shape, axis=-1), self.sizes):
            raise ValueError(
                f"shape needs rows and columns of each of the {regions} regions, {self.sizes.tolist()} cells"
            )
        if not np.isfinite(self.rows).all():
            raise ValueError("template rows must be finite numbers; embed the query image again")

    @cached_property
    def starts(self) -> np.ndarray:
        """[R] the first row of each region, as `np.add.reduceat` wants it."""
        return np.searchsorted(self.roi, np.arange(len(self.query)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """[R] the count of rows of each region."""
        return np.bincount(self.roi, minlength=len(self.query))

    @cached_property
    def queries(self) -> int:
        """How many queries there are."""
        return int(self.query.max()) + 1


# ------------------------------------------------------------------------------------ from a box to template rows


def roi_cells(
    roi: Sequence[float] | np.ndarray, geometry: Geometry, grid: tuple[int, int], stride: float | None = None
) -> tuple[int, int, int, int]:
    """Find the cells of a feature map that lie under a box of the caller's image.

    roi:    [4] x0, y0, x1, y1, pixels of the caller's image, which covers [0, width] x [0, height].
    grid:   (h, w) of the feature map. stride: canvas pixels a cell; None takes it from geometry and grid.
    Returns (y0, y1, x0, x1), half open: every cell that the box touches and whose centre lies on the image rather
    than on the padding, at least one. A box that reaches beyond the image is clipped to it.

    Raises InvalidArgument when the box is not finite, inverted, empty or wholly outside the image.
    """
    box = np.asarray(roi, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise InvalidArgument(f"a region needs four finite numbers x0, y0, x1, y1 in pixels; got {box.tolist()}")
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise InvalidArgument(
            f"a region needs x0 < x1 and y0 < y1; got {box.tolist()}; give the upper left corner, then the lower right"
        )
    if x1 <= 0 or y1 <= 0 or x0 >= geometry.width or y0 >= geometry.height:
        raise InvalidArgument(
            f"the region {box.tolist()} lies outside the image of {geometry.width} x {geometry.height} pixels; "
            "give it in pixels of the image as sent, after its EXIF rotation"
        )
    corners = np.clip(box.reshape(2, 2), 0, (geometry.width, geometry.height))
    pixels = stride_of(geometry, grid) if stride is None else stride
    low, high = geometry.to_canvas(corners) / pixels
    valid = valid_cells(geometry, grid, pixels)
    return (*_span(low[1], high[1], valid.any(axis=1)), *_span(low[0], high[0], valid.any(axis=0)))


def stride_of(geometry: Geometry, grid: tuple[int, int]) -> float:
    """Return the canvas pixels a cell, from the canvas in the middle of which the image must lie.

    The padding on the far side equals the near one or is a pixel more, so rounding to whole pixels is safe.
    """
    right = 2 * geometry.left + geometry.width * geometry.scale_x
    bottom = 2 * geometry.top + geometry.height * geometry.scale_y
    return float(max(1, round((right / grid[1] + bottom / grid[0]) / 2)))


def _span(low: float, high: float, inside: np.ndarray) -> tuple[int, int]:
    """Return the cells [floor(low), ceil(high)) among those `inside` [n] bool, at least one of them."""
    first, last = np.flatnonzero(inside)[[0, -1]]
    start = int(np.clip(np.floor(low + SLIVER), first, last))
    return start, int(np.clip(np.ceil(high - SLIVER), start + 1, last + 1))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [..., C] to length 1 in float32; a zero vector stays zero."""
    vectors = np.asarray(vectors, np.float32)
    # By the greatest component first: squares of very small or very large ones would leave float32.
    greatest = np.abs(vectors).max(axis=-1, keepdims=True)
    vectors = vectors / np.where(greatest > 0, greatest, 1)
    length = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    return vectors / np.where(length > 0, length, 1)


def template(features: np.ndarray, cells: tuple[int, int, int, int]) -> np.ndarray:
    """Cut the rows of one region out of the query's features.

    features: [h, w, C] any float. cells: (y0, y1, x0, x1) of `roi_cells`.
    Returns [rows, C] float32, unit length, in reading order.
    """
    y0, y1, x0, x1 = cells
    return unit(np.asarray(features)[y0:y1, x0:x1].reshape(-1, features.shape[-1]))


def stack(
    regions: Sequence[np.ndarray],
    query: Sequence[int] | np.ndarray | None = None,
    cells: Sequence[int] | np.ndarray | None = None,
    shape: Sequence[tuple[int, int]] | np.ndarray | None = None,
) -> Templates:
    """Stack the rows of several regions into `Templates`.

    regions: per region the rows [q, C] of `template`. query: per region its query (None: all belong to query 0).
    cells: per region the cells h·w of its query's whole map; only the form 'area' needs it.
    shape: per region its rows and columns of cells; only `best_windows` needs it.
    Raises ValueError when there is no region, or when their channels differ.
    """
    if not regions:
        raise ValueError("a search needs at least one region; got none")
    if len({rows.shape[1:] for rows in regions}) != 1:
        raise ValueError(f"all regions need the same channels; got {sorted({r.shape[-1] for r in regions})}")
    return Templates(
        rows=np.ascontiguousarray(np.concatenate(regions), np.float32),
        roi=np.repeat(np.arange(len(regions), dtype=np.int32), [len(rows) for rows in regions]),
        query=np.zeros(len(regions), np.int32) if query is None else np.asarray(query, np.int32),
        cells=None if cells is None else np.asarray(cells, np.int32),
        shape=None if shape is None else np.asarray(shape, np.int32).reshape(-1, 2),
    )


# --------------------------------------------------------------------------------------------------- scores


def similarity(features: np.ndarray, templates: Templates) -> np.ndarray:
    """Cosine [P, Q] float32 of every cell of a frame with every template row.

    features: [h, w, C] or [P, C], each cell of unit length or zero, as the extractor gives them.
    A product of this frame alone: equal frames have equal cosines. Within a frame the last bit of equal cells may
    differ by their place, so nothing may be decided by the equality of two of these numbers.
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
    """Raise InvalidArgument for a score that does not exist."""
    if form not in FORMS:
        raise InvalidArgument(f"score must be one of {', '.join(FORMS)}; got {form!r}")


def scores(
    features: np.ndarray, templates: Templates, form: str = "roi", valid: np.ndarray | None = None
) -> np.ndarray:
    """Score one frame for each region.

    features: as for `similarity`. valid: [h, w] or [P] bool, the cells on the image; None means all.
    form: 'roi'   mean over the region's cells of the best cosine in the frame, in [-1, 1];
          'image' mean over the frame's cells of the best cosine in the region, in [-1, 1];
          'mean'  the average of the two;
          'area'  the patent's literal form: 'roi' divided by w·h, the cells of the query's whole map.
    Returns [R] float32. Raises InvalidArgument for another form, ValueError when no cell is valid.
    Source: US 2025/0265847 A1, [00003] to [00006]. Cells outside the region are left out where the patent sets
    them to zero, so that a best cosine below zero stays below zero.
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
    """Cut templates of many rows between regions: so many rows that a frame's cosines with them fit into memory."""
    first, regions = 0, len(templates.sizes)
    while first < regions:
        last = first + max(1, int((np.cumsum(templates.sizes[first:]) <= PART).sum()))
        own = (first <= templates.roi) & (templates.roi < last)
        yield Templates(templates.rows[own], templates.roi[own] - first, np.zeros(last - first, np.int32))
        first = last


def _best_in_region(cosines: np.ndarray, templates: Templates) -> np.ndarray:
    """Return the mean over the cells [P] of the best cosine in each region, [R] float64."""
    return np.maximum.reduceat(cosines, templates.starts, axis=1).mean(axis=0, dtype=np.float64)


def form_scores(per_row: np.ndarray, per_cell: np.ndarray | None, templates: Templates, form: str) -> np.ndarray:
    """Reduce a frame's maxima to the scores of its regions [..., R] float32; the forms are those of `scores`.

    per_row:  [..., Q] best cosine of each template row over the frame's cells.
    per_cell: [..., R] mean over the frame's cells of the best cosine in each region; forms 'image' and 'mean' only.
    Raises InvalidArgument for another form, ValueError for 'area' without `templates.cells`.
    """
    check_form(form)
    # In float64, region by region: the sum must not depend on which frames are scored together.
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
    """Score one frame [h, w, C] for each region, [R] float32, by the cells on its picture; forms as in `scores`."""
    grid = features.shape[0], features.shape[1]
    return scores(features, templates, form, valid_cells(geometry, grid, stride_of(geometry, grid)))


def combine(roi_scores: np.ndarray, how: str, query: np.ndarray, form: str = "roi") -> np.ndarray:
    """Combine the regions' scores [N, R] into what a list is sorted by.

    how: 'max' the best region counts, [N]; 'mean' all regions count alike, [N]; 'query' a score for each query, the
    mean of its regions, [N, queries]. With the literal form 'area' the regions of one query are summed, as the
    patent writes it, and 'max' or 'mean' then goes over the queries. query: [R] int, the query of each region.
    Raises InvalidArgument for another combination.
    """
    if how not in COMBINATIONS:
        raise InvalidArgument(f"combine must be one of {', '.join(COMBINATIONS)}; got {how!r}")
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
    """Return the query that a frame's combined score comes from, of equal ones the first.

    roi_scores: [R] of one frame; how, query, form: as in `combine`. With 'max' it is the query of the best region, with
    'mean' and 'query' the one whose own regions score best on average (with the form 'area': in sum).
    """
    by_region = how == "max" and form != "area"
    values = np.asarray(roi_scores, np.float64) if by_region else combine(roi_scores[None], "query", query, form)[0]
    best = int(np.flatnonzero(values >= values.max() - SAME)[0])
    return int(query[best]) if by_region else best


def _sum(columns: list[np.ndarray]) -> np.ndarray:
    """Add arrays [N] in their order; NumPy's own sums may add in another order when N is another."""
    return reduce(np.add, columns)


def top(values: np.ndarray, k: int, threshold: float | None = None, rank: np.ndarray | None = None) -> np.ndarray:
    """Return the positions of the k best of [N], best first; equal ones by the lower `rank` [N] (None: by position).

    threshold: values below it are left out.
    """
    values = np.asarray(values)
    order = np.lexsort((np.arange(len(values)) if rank is None else rank, -values))[:k]
    return order if threshold is None else order[values[order] >= threshold]


# --------------------------------------------------------------------------------------------- where it matches


def heat(features: np.ndarray, templates: Templates, query: int = 0, valid: np.ndarray | None = None) -> np.ndarray:
    """Map how well each cell of a frame matches one query, whatever the others look for.

    features: [h, w, C] as for `similarity`. valid: [h, w] bool, the cells on the image; None means all.
    Returns [h, w] float32, the best cosine of the cell over the rows of that query's regions; 0 off the image.
    """
    rows = templates.rows[templates.query[templates.roi] == query]
    cells, best = np.asarray(features, np.float32), np.full(features.shape[:2], -np.inf, np.float32)
    for start in range(0, len(rows), PART):
        np.maximum(best, (cells @ rows[start : start + PART].T).max(axis=-1), out=best)
    return best if valid is None else np.where(valid, best, np.float32(0))


def best_windows(features: np.ndarray, templates: Templates, valid: np.ndarray | None = None) -> np.ndarray:
    """Find where in a frame each region shows again: the window of the region's size that by itself scores best.

    A window's score is half the form 'roi' of the window alone, which forgives a changed layout, and half the mean
    cosine cell upon cell, which puts the window's middle on the object's.
    templates: with `shape`. Returns [R, 4] int32 (y0, y1, x0, x1) in cells, half open; of equal windows the first in
    reading order. Regions of more than `WITNESSES` cells are looked for by that many of them, evenly spread.
    """
    if templates.shape is None:
        raise ValueError("a window has the region's size: give shape to matching.stack")
    h, w = features.shape[:2]
    cells = np.asarray(features, np.float32).reshape(h * w, -1)
    windows = np.empty((len(templates.shape), 4), np.int32)
    for r, (start, size) in enumerate(zip(templates.starts, templates.sizes, strict=True)):
        height, width = np.minimum(templates.shape[r], (h, w))
        rows = np.unique(np.linspace(0, size - 1, min(size, WITNESSES)).round().astype(int))
        # Not a matrix product: a BLAS may sum equal cells differently by their place, and here equality decides.
        cosines = np.einsum("qc,pc->qp", templates.rows[start + rows], cells).reshape(-1, h, w)
        if valid is not None:
            cosines[:, ~np.asarray(valid, bool).reshape(h, w)] = -1
        score = _slide(_slide(cosines, height, 1), width, 2).mean(axis=0)
        for cosine, row in zip(cosines, rows, strict=True):
            y, x = np.minimum(divmod(row, templates.shape[r][1]), (height - 1, width - 1))
            score += cosine[y : y + score.shape[0], x : x + score.shape[1]] / len(rows)
        y, x = divmod(int(score.argmax()), score.shape[1])
        windows[r] = y, y + height, x, x + width
    return windows


def _slide(values: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Greatest of every `width` neighbours along an axis, which becomes width - 1 shorter; doubling, so log2 passes."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        n = values.shape[axis] - step
        values = np.maximum(np.take(values, range(n), axis), np.take(values, range(step, n + step), axis))
        reach += step
    return values


def window_boxes(
    windows: np.ndarray, geometry: Geometry, grid: tuple[int, int], stride: float | None = None
) -> np.ndarray:
    """Boxes of windows [R, 4] (y0, y1, x0, x1) in cells: [R, 4] float32 x0, y0, x1, y1, pixels of the image sent."""
    y0, y1, x0, x1 = np.asarray(windows, np.float64).reshape(-1, 4).T
    pixels = stride_of(geometry, grid) if stride is None else stride
    boxes = geometry.to_image(np.stack([x0, y0, x1, y1], axis=1).reshape(-1, 2, 2) * pixels)
    return np.clip(boxes, 0, (geometry.width, geometry.height)).reshape(-1, 4).astype(np.float32)
