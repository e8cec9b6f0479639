"""The guided filter: smooths maps of patches, except across the borders that the picture shows.

In each neighbourhood of 3 x 3 patches a map is fitted as a linear function of the patches' mean colours. The means of
the functions around a place are then applied to the colours of cells, FINE x FINE per patch. So a map follows the
borders of surfaces more finely than the patches could, and a surface of one colour gets one value.

Source: He, Sun, Tang, "Guided Image Filtering", PAMI 2013, equations 11 to 16 (the guide in colours); fitted at a
coarse size and applied at a finer one as in He, Sun, "Fast Guided Filter", 2015.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from sluice.methods.grouping.upsampling import upsample

FINE = 4  # cells per side of a patch
# Deviation of colours, of a range of 1, below which a neighbourhood counts as one surface: about ten grey levels.
DEVIATION = 0.04


class GuidedFilter:
    """The filter that V windows make, for any number of maps. All sums are made alike at every place."""

    def __init__(self, windows: np.ndarray, grid: tuple[int, int]):
        """Find the colours.

        windows: uint8 [V, H, W, 3] RGB, as the network saw them. grid: (h, w), the patches of a window.
        """
        height, width = grid
        size = (width * FINE, height * FINE)
        cells = [np.asarray(Image.fromarray(window).resize(size, Image.Resampling.BOX)) for window in windows]
        colours = np.stack(cells).astype(np.float32) / 255
        self._cells = np.ascontiguousarray(np.moveaxis(colours, -1, 0))
        self._patches = self._cells.reshape(3, len(windows), height, FINE, width, FINE).mean(axis=(3, 5))
        self._means = around(self._patches)
        products = around(self._patches[:, None] * self._patches) - self._means[:, None] * self._means
        spread = products.astype(np.float64) + DEVIATION**2 * np.eye(3)[:, :, None, None, None]
        self._inverse = inverses(spread).astype(np.float32)

    def apply(self, maps: np.ndarray) -> np.ndarray:
        """Filter one map per window: float32 [V, h, w] -> [V, h * FINE, w * FINE], of about the same range.

        The filter is linear, and maps that sum to one at each patch do so at each cell.
        """
        means = around(np.concatenate([maps[None], self._patches * maps]))
        covariance = means[1:] - self._means * means[0]
        slopes = (self._inverse * covariance).sum(axis=1)
        offset = means[0] - (slopes * self._means).sum(axis=0)
        fitted = around(np.concatenate([slopes, offset[None]]))
        fine = upsample(fitted, (self._cells.shape[2], self._cells.shape[3]))
        return fine[3] + (fine[:3] * self._cells).sum(axis=0)


def around(maps: np.ndarray) -> np.ndarray:
    """Return the mean over each place of maps [..., h, w] and its eight neighbours; the border's places are repeated
    beyond it."""
    return _three(_three(maps, -1), -2) / np.float32(9)


def _three(maps: np.ndarray, axis: int) -> np.ndarray:
    """Add to each place of an axis the places before and after it."""
    moved = np.moveaxis(maps, axis, 0)
    total = moved.copy()
    total[1:] += moved[:-1]
    total[0] += moved[0]
    total[:-1] += moved[1:]
    total[-1] += moved[-1]
    return np.moveaxis(total, 0, axis)


def inverses(matrices: np.ndarray) -> np.ndarray:
    """Return the inverses of symmetric 3 x 3 matrices that stand in the first two axes, [3, 3, ...]."""
    first, second, third = np.moveaxis(matrices, 1, -1)  # rows, each [..., 3]
    cofactors = np.stack([np.cross(second, third), np.cross(third, first), np.cross(first, second)])
    return np.moveaxis(cofactors, -1, 1) / (first * cofactors[0]).sum(axis=-1)
