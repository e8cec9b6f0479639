"""Boxes: decodes offsets from priors, measures overlaps and suppresses boxes that show one object twice.

A prior is a box of fixed place and size on the canvas; a network says by how much an object's box differs from it.
Boxes are corners x0, y0, x1, y1 from here on.
Source: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016.
"""

from __future__ import annotations

import numpy as np

from sluice.methods.mixtures.options import Options

# Greatest logarithm of a box's side over its prior's: 22,000 times, beyond every image; it keeps areas finite.
LARGEST = 10.0


def decode(priors: np.ndarray, offsets: np.ndarray, options: Options | None = None) -> np.ndarray:
    """Decode offsets from priors into corners x0, y0, x1, y1, float64 [m, 4], pixels of the priors, not clipped.

    priors: [m, 4] cx, cy, w, h, pixels. offsets: [m, 4] of cx, cy, w, h, scaled by the two variances of `options`.
    Source: Liu et al., 2016, equation 2, with the variances of its implementation.
    """
    options = options or Options()
    prior, offset = np.asarray(priors, np.float64), np.asarray(offsets, np.float64)
    size = prior[:, 2:] * np.exp(np.minimum(offset[:, 2:] * options.size_variance, LARGEST))
    centre = prior[:, :2] + offset[:, :2] * options.centre_variance * prior[:, 2:]
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every two boxes, float64 [m, m]; 0 where neither box has an area.

    boxes: [m, 4] corners.
    """
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).T
    width = np.minimum.outer(x1, x1) - np.maximum.outer(x0, x0)
    height = np.minimum.outer(y1, y1) - np.maximum.outer(y0, y0)
    shared = np.maximum(width, 0, out=width)
    shared *= np.maximum(height, 0, out=height)
    area = (x1 - x0) * (y1 - y0)
    union = np.add.outer(area, area)
    union -= shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def nms(boxes: np.ndarray, iou: float = 0.45, keep: int = 200) -> np.ndarray:
    """Suppress greedily the boxes of one class that overlap a better one; return the survivors, best first.

    boxes: [m, 4] corners, sorted from the best score to the least.
    iou: a box survives if it overlaps every better survivor by this or less.
    keep: most survivors.
    Returns int64 [n] indices of boxes, n <= keep.
    """
    apart = overlaps(boxes) <= iou
    open_ = np.ones(len(boxes), bool)
    survivors: list[int] = []
    for i in range(len(boxes)):
        if open_[i]:
            survivors.append(i)
            open_ &= apart[i]
    return np.array(survivors[:keep], np.int64)
