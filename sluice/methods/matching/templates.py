"""Templates: from a region of interest to the rows of features that a search looks for.

A box in pixels of the caller's image covers some cells of the image's feature map. The feature vectors of these cells,
scaled to length 1, are the region's rows; the rows of all regions of all queries are stacked into one matrix, so that
a search multiplies each frame once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry, valid_cells

# A box covers a cell only if it reaches at least this share of a cell into it: boxes travel as float32, whose rounding
# must not add a cell.
SLIVER = 1e-3


@dataclass(frozen=True)
class Templates:
    """All regions of all queries, stacked, so that one pass over a gallery serves them together.

    rows:  float32 [Q, C], unit length or zero: the cells of region 0, then of region 1, and so on.
    roi:   int32 [Q], the region of each row; ascending, every region has at least one row.
    query: int32 [R], the query of each region, numbered from 0 without a gap.
    cells: int32 [R], cells in the whole map of the region's query, w h of the form 'area'; None for other forms.
    shape: int32 [R, 2], rows and columns of cells of each region, which `rows` holds row by row; None if no window is
           looked for.

    Raises ValueError when these do not fit each other, or a row is not finite.
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
        """Return the first row of each region, int64 [R], as `np.add.reduceat` takes it."""
        return np.searchsorted(self.roi, np.arange(len(self.query)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """Return the number of rows of each region, int64 [R]."""
        return np.bincount(self.roi, minlength=len(self.query))

    @cached_property
    def queries(self) -> int:
        """Return the number of queries."""
        return int(self.query.max()) + 1


def roi_cells(
    roi: Sequence[float] | np.ndarray, geometry: Geometry, grid: tuple[int, int], stride: float | None = None
) -> tuple[int, int, int, int]:
    """Find the cells of a feature map that lie under a box of the caller's image.

    roi:    [4] x0, y0, x1, y1, pixels of the caller's image, which covers [0, width] x [0, height].
    grid:   (h, w) of the feature map.
    stride: canvas pixels per cell; None takes it from geometry and grid.
    Returns (y0, y1, x0, x1) in cells, half open: every cell that the box touches and whose centre lies on the image
    and not on the padding, at least one cell. A box that reaches beyond the image is clipped to it.

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
    """Return the canvas pixels per cell, given an image that lies in the middle of its canvas.

    grid: (h, w) of the feature map.
    The padding on the far side is that of the near side or one pixel more, so rounding to whole pixels is safe.
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
    # Dividing by the greatest component first keeps the squares of very small and very large ones within float32.
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

    regions: per region its rows [q, C], as `template` gives them.
    query: per region the number of its query; None means that all belong to query 0.
    cells: per region the cells h w of its query's whole map; None unless the form 'area' is wanted.
    shape: per region its rows and columns of cells; None unless `best_windows` is wanted.
    Raises ValueError when there is no region, or when the channels of regions differ.
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
