"""Checks a caller's region of interest: refuses a region that cannot be meant, and notes a region that is doubtful.

The whole ranking rests on the region, and every region finds *something* that looks alike: a box in shares of the
picture, read as pixels, scores as high as a good one. So a region that is certainly wrong is refused, and a doubtful
one is answered with a note.
"""

from __future__ import annotations

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods.matching import templates

LEAST = 2  # pixels of a region's width and height within the picture


def checked(roi: np.ndarray, geometry: Geometry, grid: tuple[int, int]) -> list[str]:
    """Return notes about a region that is answered but doubtful, one sentence each; [] for a region without doubt.

    roi: [4] x0, y0, x1, y1, pixels of the caller's image. geometry: of that image. grid: (h, w) cells of its map.
    Raises InvalidArgument for shares of the picture in place of pixels, and for a region of less than 2 x 2 pixels.
    Inverted boxes and boxes outside the picture are refused by `matching.roi_cells`.
    """
    box = np.asarray(roi, np.float64)
    size = f"the picture of {geometry.width} x {geometry.height} pixels"
    if np.isfinite(box).all() and (np.abs(box) <= 1).all():
        raise InvalidArgument(
            f"the region {_shown(box)} looks like shares of the picture, and pixels are expected: multiply x by "
            f"{geometry.width} and y by {geometry.height} (on the command line shares may be given as --roi "
            "10%,20%,30%,40%)"
        )
    clipped = np.clip(box.reshape(2, 2), 0, (geometry.width, geometry.height))
    width, height = clipped[1] - clipped[0]
    if 0 < min(width, height) < LEAST:
        raise InvalidArgument(
            f"the region {_shown(box)} has {width:g} x {height:g} pixels within {size}; it needs {LEAST} x {LEAST} at "
            "least, and shows an object better the more of it lies inside"
        )
    notes = []
    if (clipped.reshape(4) != box).any():
        notes.append(f"{_shown(box)} reaches beyond {size} and was clipped to {_shown(clipped.reshape(4))}")
    cell = templates.stride_of(geometry, grid)
    wide, high = width * geometry.scale_x, height * geometry.scale_y
    if min(wide, high) < cell:
        notes.append(
            f"{_shown(box)} is smaller than one cell of the feature map, {cell / geometry.scale_x:.3g} x "
            f"{cell / geometry.scale_y:.3g} pixels of this picture: the whole cell was looked for"
        )
    return notes


def _shown(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
