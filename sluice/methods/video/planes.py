"""Pictures of a video as planes of bytes, and the colours that their numbers stand for.

A picture has one plane of full size and two of full or half size: Y' and (Cb, Cr), or red and (green, blue). The
networks of the verb `enhance` take the planes as they are, with the matrix that leads to RGB, so 4:2:0 video is never
blown up to RGB outside the networks. At odd sizes the half-size planes have ceil(H/2) x ceil(W/2) samples. Each of
their samples lies in the middle of its 2 x 2 pixels.
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
_HD = 720  # rows from which a video that does not declare its matrix is read as BT.709, as players do


@dataclass(frozen=True)
class Colour:
    """The meaning of the three planes.

    matrix: "rgb", "bt601" or "bt709"; range: "limited" (Y' 16..235, C 16..240) or "full" (0..255; RGB is always full).
    """

    matrix: str = "rgb"
    range: str = "full"

    @cached_property
    def to_rgb(self) -> np.ndarray:
        """Return the matrix from (plane 0, plane 1, plane 2, 1), numbers 0..255, to R'G'B' 0..1: float64 [3, 4].

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
        """Return the matrix from (R', G', B', 1), 0..1, to the planes as numbers 0..255: float64 [3, 4]."""
        back = np.linalg.inv(self.to_rgb[:, :3])
        return np.hstack([back, -back @ self.to_rgb[:, 3:]])


RGB = Colour()


def usual(height: int) -> str:
    """Name the matrix of a video of this height, pixels, that does not declare one."""
    return "bt709" if height >= _HD else "bt601"


@dataclass(frozen=True)
class Beside:
    """The parts of a picture's file beside its colours, which are given back with the enhanced picture.

    icc:   the profile of its RGB; None if the file has none.
    alpha: uint8 [H, W], 0 is transparent, the colours are not multiplied by it; None if the file has none.
    notes: one sentence per part of the file that was ignored or lost.
    """

    icc: bytes | None = None
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture as planes.

    luma:   uint8 [H, W], Y' or red.
    chroma: uint8 [h, w, 2], Cb and Cr of ceil(H/2) x ceil(W/2), or green and blue of H x W.
    beside: the other parts of the file that the picture was read from; empty for a picture that was computed.
    """

    luma: np.ndarray
    chroma: np.ndarray
    colour: Colour = RGB
    beside: Beside = field(default=Beside(), repr=False)

    @property
    def height(self) -> int:
        """Return H, pixels."""
        return self.luma.shape[0]

    @property
    def width(self) -> int:
        """Return W, pixels."""
        return self.luma.shape[1]

    @property
    def halved(self) -> bool:
        """Tell whether two planes are of half size (4:2:0); at 1 x 1 pixels their size alone does not tell."""
        return self.colour.matrix != "rgb"

    @classmethod
    def of_rgb(cls, pixels: np.ndarray) -> Picture:
        """Make a picture of RGB pixels, uint8 [H, W, 3]."""
        return cls(np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1:]))

    @classmethod
    def of_planes(cls, flat: np.ndarray, height: int, width: int, colour: Colour) -> Picture:
        """Make a picture of 4:2:0 planes.

        flat: uint8 [planes_size(height, width)], all of Y', then Cb, then Cr, row by row (I420).
        """
        luma, cb, cr = np.split(flat, _edges(height, width))
        small = -(-height // 2), -(-width // 2)
        return cls(luma.reshape(height, width), np.stack([cb.reshape(small), cr.reshape(small)], axis=-1), colour)

    def rgb(self) -> np.ndarray:
        """Return the RGB pixels, uint8 [H, W, 3]; chroma of half size is interpolated linearly."""
        if not self.halved:
            return np.dstack([self.luma, self.chroma])
        chroma = doubled(self.chroma.astype(np.float32))[: self.height, : self.width]
        return _levels(_mapped(self.colour.to_rgb * 255, self.luma, chroma[..., 0], chroma[..., 1]))

    def planes(self, colour: Colour) -> np.ndarray:
        """Return 4:2:0 planes in `colour`, uint8 [planes_size(H, W)], as `of_planes` takes them.

        If the picture has another colour, each sample of Cb and Cr is the mean of its 2 x 2 pixels.
        """
        own = self
        if self.colour != colour:
            own = Picture.of_rgb(self.rgb())
            whole = _mapped(colour.from_rgb / (255, 255, 255, 1), own.luma, own.chroma[..., 0], own.chroma[..., 1])
            own = Picture(_levels(whole[..., 0]), _levels(halved(whole[..., 1:])), colour)
        return np.concatenate([own.luma.ravel(), own.chroma[..., 0].ravel(), own.chroma[..., 1].ravel()])


def planes_size(height: int, width: int) -> int:
    """Return the bytes of a 4:2:0 picture, H W + 2 ceil(H/2) ceil(W/2)."""
    return height * width + 2 * -(-height // 2) * -(-width // 2)


def _edges(height: int, width: int) -> list[int]:
    small = -(-height // 2) * -(-width // 2)
    return [height * width, height * width + small]


def doubled(small: np.ndarray) -> np.ndarray:
    """Double the size of a picture, [h, w, C] -> [2h, 2w, C], by linear interpolation.

    A sample lies in the middle of its 2 x 2 pixels; beyond the edge the last sample is repeated.
    """
    for axis in (0, 1):
        before = np.concatenate([small.take([0], axis), small], axis).take(range(small.shape[axis]), axis)
        after = np.concatenate([small, small.take([-1], axis)], axis).take(range(1, small.shape[axis] + 1), axis)
        pairs = np.stack([0.75 * small + 0.25 * before, 0.75 * small + 0.25 * after], axis + 1)
        small = pairs.reshape(*small.shape[:axis], 2 * small.shape[axis], *small.shape[axis + 1 :])
    return small


def halved(large: np.ndarray) -> np.ndarray:
    """Halve the size of a picture by means of 2 x 2, [H, W, C] -> [ceil(H/2), ceil(W/2), C].

    At an odd size the last row or column is repeated.
    """
    height, width = large.shape[:2]
    even = np.pad(large, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _mapped(affine: np.ndarray, *planes: np.ndarray) -> np.ndarray:
    """Apply an affine map [3, 4] to each pixel of three planes [H, W]: float32 [H, W, 3]."""
    affine = affine.astype(np.float32)
    rows = [sum((row[i] * plane for i, plane in enumerate(planes)), row[3]) for row in affine]
    return np.stack(rows, axis=-1)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 255)).astype(np.uint8)
