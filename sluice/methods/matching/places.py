"""Heat maps and windows: where in an image the object of a template shows again.

A heat map gives each cell its best cosine with the template. A window has the size of the region, and lies where it
matches the region best. Both need the feature map of one image, and are made for the images that a search has found.
"""

from __future__ import annotations

import numpy as np

from sluice import images
from sluice.images import Geometry
from sluice.methods.matching.scoring import PART
from sluice.methods.matching.templates import Templates, stride_of

# Cells of a region by which `best_windows` finds the region again; more cells cost time and do not move the window.
WITNESSES = 64


def heat(features: np.ndarray, templates: Templates, query: int = 0, valid: np.ndarray | None = None) -> np.ndarray:
    """Map how well each cell of a frame matches one query; the other queries of the templates do not count.

    features: [h, w, C] as for `matching.similarity`. query: number of the query.
    valid: bool [h, w], the cells on the image; None means all cells.
    Returns float32 [h, w], the best cosine of each cell with the rows of the query's regions; 0 off the image.
    """
    rows = templates.rows[templates.query[templates.roi] == query]
    cells, best = np.asarray(features, np.float32), np.full(features.shape[:2], -np.inf, np.float32)
    for start in range(0, len(rows), PART):
        np.maximum(best, (cells @ rows[start : start + PART].T).max(axis=-1), out=best)
    return best if valid is None else np.where(valid, best, np.float32(0))


def best_windows(features: np.ndarray, templates: Templates, valid: np.ndarray | None = None) -> np.ndarray:
    """Find where in a frame each region shows again: the window of the region's size that scores best by itself.

    features: [h, w, C] as for `matching.similarity`. templates: with `shape`.
    valid: bool [h, w], the cells on the image; None means all cells.
    Returns int32 [R, 4] (y0, y1, x0, x1) in cells, half open; of equal windows the first in reading order.

    The score of a window has two halves: the form 'roi' of the window alone, which forgives a changed layout, and the
    mean cosine of cells at the same place, which centres the window on the object. A region of more than `WITNESSES`
    cells is looked for by that many of its cells, evenly spread.
    Raises ValueError for templates without `shape`.
    """
    if templates.shape is None:
        raise ValueError("a window has the region's size: give shape to matching.stack")
    h, w = features.shape[:2]
    cells = np.asarray(features, np.float32).reshape(h * w, -1)
    windows = np.empty((len(templates.shape), 4), np.int32)
    for r, (start, size) in enumerate(zip(templates.starts, templates.sizes, strict=True)):
        height, width = np.minimum(templates.shape[r], (h, w))
        rows = np.unique(np.linspace(0, size - 1, min(size, WITNESSES)).round().astype(int))
        # Not a matrix product: a BLAS may sum equal cells in another order at another place, and here equal sums
        # decide which window is first.
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
    """Return the greatest of every `width` neighbours along an axis, which becomes width - 1 shorter.

    The reach doubles from pass to pass, so log2(width) passes are enough.
    """
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
    """Turn windows of cells into boxes of pixels, clipped to the image.

    windows: int [R, 4] (y0, y1, x0, x1) in cells, half open. grid: (h, w) of the feature map.
    stride: canvas pixels per cell; None takes it from geometry and grid.
    Returns float32 [R, 4] x0, y0, x1, y1, pixels of the caller's image.
    """
    y0, y1, x0, x1 = np.asarray(windows, np.float64).reshape(-1, 4).T
    pixels = stride_of(geometry, grid) if stride is None else stride
    boxes = geometry.to_image(np.stack([x0, y0, x1, y1], axis=1).reshape(-1, 2, 2) * pixels)
    return np.clip(boxes, 0, (geometry.width, geometry.height)).reshape(-1, 4).astype(np.float32)


def found_again(features: np.ndarray, geometry: Geometry, query: Templates) -> np.ndarray:
    """Return where each region of a query shows again in an image: boxes float32 [R, 4] x0, y0, x1, y1, its pixels.

    features: [h, w, C] of the image. query: templates with `shape`.
    """
    grid = features.shape[0], features.shape[1]
    valid = images.valid_cells(geometry, grid, stride_of(geometry, grid))
    return window_boxes(best_windows(features, query, valid), geometry, grid)
