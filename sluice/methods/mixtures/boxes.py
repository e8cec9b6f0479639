"""Boxes: offsets from priors decoded, overlaps, non-maximum suppression."""

from __future__ import annotations

import numpy as np

from sluice.methods.mixtures.options import Options

# Greatest logarithm by which a box may exceed its prior: 22,000 times, beyond every image; keeps areas finite.
LARGEST = 10.0


# ------------------------------------------------------------------------------------------------ boxes


def decode(priors: np.ndarray, offsets: np.ndarray, options: Options | None = None) -> np.ndarray:
    """Offsets [m, 4] from priors [m, 4] (cx, cy, w, h) as corners x0, y0, x1, y1, float64 [m, 4], pixels of the priors.

    Not clipped. Source: SSD, Liu et al., ECCV 2016, equation 2, with the variances of its implementation.
    """
    options = options or Options()
    prior, offset = np.asarray(priors, np.float64), np.asarray(offsets, np.float64)
    size = prior[:, 2:] * np.exp(np.minimum(offset[:, 2:] * options.size_variance, LARGEST))
    centre = prior[:, :2] + offset[:, :2] * options.centre_variance * prior[:, 2:]
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of every two of [m, 4] corners: float64 [m, m]; 0 where neither has an area."""
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
    """Greedy suppression of the boxes of one class: which survive, best first.

    boxes: [m, 4] corners, sorted from the best score to the least.
    A box survives unless it overlaps a better survivor by more than `iou`: exactly `iou` survives.
    Returns int64 indices, at most `keep`.
    """
    apart = overlaps(boxes) <= iou
    open_ = np.ones(len(boxes), bool)
    survivors: list[int] = []
    for i in range(len(boxes)):
        if open_[i]:
            survivors.append(i)
            open_ &= apart[i]
    return np.array(survivors[:keep], np.int64)
