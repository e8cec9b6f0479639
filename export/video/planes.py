"""Converts planes of a frame to RGB and back inside a graph, which computes every size, so that one graph serves all.

While a graph is traced, torch gives sizes as Tensors, though it types them as int; so does this file. Chroma of 4:2:0
lies in the middle of its four pixels, as in JPEG and MPEG-1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def subsampling(luma: Tensor, chroma: Tensor) -> int:
    """Return the pixels of luma per pixel of chroma and side: 2 for 4:2:0, 1 for RGB.

    luma: [B, H, W]; chroma: [B, h, w, 2].
    """
    sides = chroma.shape[1] + chroma.shape[2]
    return (luma.shape[1] + luma.shape[2] + sides - 1) // sides


def enlarged(planes: Tensor, finer: int) -> Tensor:
    """Enlarge planes [B, C, h, w] bilinearly by `finer` per side; 1 leaves them as they are."""
    size = (planes.shape[2] * finer, planes.shape[3] * finer)
    return F.interpolate(planes, size=size, mode="bilinear", align_corners=False)


def reduced(planes: Tensor, finer: int, size: tuple[int, int] | None = None) -> Tensor:
    """Reduce planes [B, C, H, W] to [B, C, ceil(H/finer), ceil(W/finer)] by means, the edge repeated.

    finer: 2, or 1 for no change. size: (H, W) of the frame where the planes extend beyond the frame, None where not.
    """
    for axis, side in zip((2, 3), size or planes.shape[2:], strict=True):
        near = torch.arange((side + finer - 1) // finer) * finer
        far = (near + finer - 1).clamp(max=side - 1)
        planes = (planes.index_select(axis, near) + planes.index_select(axis, far)) * 0.5
    return planes


def to_rgb(planes: Tensor, colour: Tensor) -> Tensor:
    """Convert planes [B, 3, H, W] 0..255 to RGB [B, 3, H, W] 0..1. colour: [B, 3, 4]."""
    return _times(colour[:, :, :3], planes) + colour[:, :, 3, None, None]


def from_rgb(rgb: Tensor, colour: Tensor) -> Tensor:
    """Convert RGB [B, 3, H, W] 0..1 to planes 0..255, the inverse of `to_rgb`."""
    return difference(rgb - colour[:, :, 3, None, None], colour)


def difference(rgb: Tensor, colour: Tensor) -> Tensor:
    """Return the change of planes that equals a change of RGB, both [B, 3, H, W]."""
    return _times(inverse(colour[:, :, :3]), rgb)


def to_bytes(planes: Tensor) -> Tensor:
    """Round planes to the nearest grey level, uint8."""
    return planes.round().clamp(0, 255).to(torch.uint8)


def inverse(matrix: Tensor) -> Tensor:
    """Invert each matrix [B, 3, 3] as adjugate over determinant, since ONNX has no operator for inverses."""
    rows = [matrix[:, index] for index in range(3)]
    columns = torch.stack([_cross(rows[1], rows[2]), _cross(rows[2], rows[0]), _cross(rows[0], rows[1])], dim=2)
    determinant = (rows[0] * columns[:, :, 0]).sum(1)
    return columns / determinant[:, None, None]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Return the cross products of rows, [B, 3] each."""
    x, y = (a[:, 1], a[:, 2], a[:, 0]), (b[:, 1], b[:, 2], b[:, 0])
    return torch.stack(
        [x[0] * y[1] - x[1] * y[0], x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2]],
        dim=1,
    )


def _times(matrix: Tensor, planes: Tensor) -> Tensor:
    """Multiply each pixel of [B, 3, H, W] by a matrix [B, 3, 3]."""
    batch, _, height, width = planes.shape
    return (matrix @ planes.reshape(batch, 3, -1)).reshape(batch, 3, height, width)
