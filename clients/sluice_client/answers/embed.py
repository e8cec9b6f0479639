"""The answer of `embed`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Features"]


@dataclass(frozen=True, eq=False)
class Features:
    """The answer of `embed`.

    features: [h, w, C] float16, each cell of unit length.
    geometry: [6] float32, width and height of the image in pixels, scale_x, scale_y, left and top of the image on the
              network's canvas; canvas_x = image_x * scale_x + left.
    """

    features: np.ndarray
    geometry: np.ndarray
