"""What a caller's region of interest may be: refused where it cannot mean what it says, noted where it is doubtful.

A region is trusted with the whole ranking, and any numbers find *something* that looks alike: shares of the picture
taken for pixels, or a box beside the object, score as high as a good one. So what can be seen to be wrong is refused,
and what is merely doubtful is said in the answer.
"""

from __future__ import annotations

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods.matching import templates

LEAST = 2  # pixels of a region's width and height within the picture


def checked(roi: np.ndarray, geometry: Geometry, grid: tuple[int, int]) -> list[str]:
    """Return what there is to say about a region that is answered; [] where it is as it should be.

    roi: [4] x0, y0, x1, y1, pixels of the caller's image. geometry: of that image. grid: (h, w) cells of its map.
    Raises InvalidArgument for shares of the picture in place of pixels, and for less than 2 x 2 pixels of the picture.
    Boxes that are no boxes, and those wholly outside, are `matching.roi_cells`'s to refuse.
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
