"""Pictures of a video as planes of bytes, and what their numbers mean as colours.

A picture has one plane of full size and two of full or half size: Y' and (Cb, Cr), or red and (green, blue). The
networks of the verb `enhance` take the planes as they are, with the matrix that leads to RGB; so a video that is
4:2:0 is never blown up to RGB outside of them. At odd sizes the half-size planes have ceil(H/2) x ceil(W/2) samples.
A sample of them lies in the middle of its 2 x 2 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

MATRICES = ("bt601", "bt709")
RANGES = ("limited", "full")

# Shares of red and blue in luma. Source: ITU-R BT.601-7, 2.5.1; ITU-R BT.709-6, 3.2.
_LUMA: Mapping[str, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
_HD = 720  # rows from which on a video without a word about its matrix is taken for BT.709, as players do


@dataclass(frozen=True)
class Colour:
    """What the three planes mean.

    matrix: "rgb", "bt601" or "bt709"; range: "limited" (Y' 16..235, C 16..240) or "full" (0..255; RGB is always full).
    """

    matrix: str = "rgb"
    range: str = "full"

    @cached_property
    def to_rgb(self) -> np.ndarray:
        """float64 [3, 4]: (plane 0, plane 1, plane 2, 1), as numbers 0..255, to R'G'B' 0..1.

        Source: ITU-R BT.601-7, 2.5.1 and 2.5.3, BT.709-6, 3.3 and 3.4; full range: ISO/IEC 10918-5 (JFIF).
        """
        if self.matrix == "rgb":
            return np.hstack([np.eye(3) / 255, np.zeros((3, 1))])
        red, blue = _LUMA[self.matrix]
        green = 1 - red - blue
        black, luma, chroma = (16, 219, 224) if self.range == "limited" else (0, 255, 255)
        columns = np.array([
            [1, 0, 2 * (1 - red)],
            [1, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
            [1, 2 * (1 - blue), 0],
        ]) / (luma, chroma, chroma)  # fmt: skip
        return np.hstack([columns, -columns @ [[black], [128], [128]]])

    @cached_property
    def from_rgb(self) -> np.ndarray:
        """float64 [3, 4]: (R', G', B', 1), 0..1, to the planes as numbers 0..255."""
        back = np.linalg.inv(self.to_rgb[:, :3])
        return np.hstack([back, -back @ self.to_rgb[:, 3:]])


RGB = Colour()


def usual(height: int) -> str:
    """The matrix of a video that does not tell its own."""
    return "bt709" if height >= _HD else "bt601"


@dataclass(frozen=True)
class Beside:
    """What the file of a picture holds beside its colours, to be given back with them.

    icc:   the profile of its RGB. alpha: uint8 [H, W], 0 transparent; the colours are not multiplied by it.
    notes: what of the file was ignored or lost, a sentence each.
    """

    icc: bytes | None = None
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """luma: uint8 [H, W]; chroma: uint8 [h, w, 2], of the same size or ceil(H/2) x ceil(W/2). beside: of the file that
    it came from; what is computed from a picture has none."""

    luma: np.ndarray
    chroma: np.ndarray
    colour: Colour = RGB
    beside: Beside = field(default=Beside(), repr=False)

    @property
    def height(self) -> int:
        return self.luma.shape[0]

    @property
    def width(self) -> int:
        return self.luma.shape[1]

    @property
    def halved(self) -> bool:
        """Whether two planes are of half size (4:2:0); at 1 x 1 their size does not tell."""
        return self.colour.matrix != "rgb"

    @classmethod
    def of_rgb(cls, pixels: np.ndarray) -> Picture:
        """pixels: uint8 [H, W, 3]."""
        return cls(np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1:]))

    @classmethod
    def of_planes(cls, flat: np.ndarray, height: int, width: int, colour: Colour) -> Picture:
        """flat: uint8 [planes_size(height, width)]: all of Y', then Cb, then Cr, row by row (I420)."""
        luma, cb, cr = np.split(flat, _edges(height, width))
        small = -(-height // 2), -(-width // 2)
        return cls(luma.reshape(height, width), np.stack([cb.reshape(small), cr.reshape(small)], axis=-1), colour)

    def rgb(self) -> np.ndarray:
        """uint8 [H, W, 3]; chroma of half size is interpolated linearly."""
        if not self.halved:
            return np.dstack([self.luma, self.chroma])
        chroma = doubled(self.chroma.astype(np.float32))[: self.height, : self.width]
        return _levels(_mapped(self.colour.to_rgb * 255, self.luma, chroma[..., 0], chroma[..., 1]))

    def planes(self, colour: Colour) -> np.ndarray:
        """uint8 [planes_size(H, W)]: Y', Cb, Cr as `of_planes` takes them, in `colour`; a mean of 2 x 2 is a sample."""
        own = self
        if self.colour != colour:
            own = Picture.of_rgb(self.rgb())
            whole = _mapped(colour.from_rgb / (255, 255, 255, 1), own.luma, own.chroma[..., 0], own.chroma[..., 1])
            own = Picture(_levels(whole[..., 0]), _levels(halved(whole[..., 1:])), colour)
        return np.concatenate([own.luma.ravel(), own.chroma[..., 0].ravel(), own.chroma[..., 1].ravel()])


def planes_size(height: int, width: int) -> int:
    """Bytes of a 4:2:0 picture: H W + 2 ceil(H/2) ceil(W/2)."""
    return height * width + 2 * -(-height // 2) * -(-width // 2)


def _edges(height: int, width: int) -> list[int]:
    small = -(-height // 2) * -(-width // 2)
    return [height * width, height * width + small]


def doubled(small: np.ndarray) -> np.ndarray:
    """[h, w, C] -> [2h, 2w, C], linear between samples in the middles of their 2 x 2 pixels; the edge is repeated."""
    for axis in (0, 1):
        before = np.concatenate([small.take([0], axis), small], axis).take(range(small.shape[axis]), axis)
        after = np.concatenate([small, small.take([-1], axis)], axis).take(range(1, small.shape[axis] + 1), axis)
        pairs = np.stack([0.75 * small + 0.25 * before, 0.75 * small + 0.25 * after], axis + 1)
        small = pairs.reshape(*small.shape[:axis], 2 * small.shape[axis], *small.shape[axis + 1 :])
    return small


def halved(large: np.ndarray) -> np.ndarray:
    """[H, W, C] -> [ceil(H/2), ceil(W/2), C], means of 2 x 2; the edge is repeated at odd sizes."""
    height, width = large.shape[:2]
    even = np.pad(large, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _mapped(affine: np.ndarray, *planes: np.ndarray) -> np.ndarray:
    """The affine map [3, 4] on each pixel of three planes [H, W] -> float32 [H, W, 3]."""
    affine = affine.astype(np.float32)
    rows = [sum((row[i] * plane for i, plane in enumerate(planes)), row[3]) for row in affine]
    return np.stack(rows, axis=-1)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 255)).astype(np.uint8)
