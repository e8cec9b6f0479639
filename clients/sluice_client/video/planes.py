"""Converts frames of a video to upright planes of 4:2:0 with 8 bits and back, and tells what their numbers mean."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidRequest
from ..verbs.enhance import Planes

__all__ = ["CODES", "Meaning", "Turn", "library", "planes", "video_frame", "video_image"]

# FFmpeg's numbers of matrices and ranges: AVCOL_SPC_*, AVCOL_RANGE_*.
CODES = {"bt709": 1, "bt601": 6, "limited": 1, "full": 2}
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601"}
# Number of a matrix -> shares of red and blue in luma. Source: ITU-T H.273, table 4.
_SHARES = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 6: (0.299, 0.114), 7: (0.212, 0.087)}
_CONVERTED = (4, 7)  # FCC and SMPTE 240M, which no network knows; their planes are converted to a matrix that one does
_UNSAID, _WIDE = (0, 2, 3), (9, 10)  # RGB without a matrix, unspecified, reserved; BT.2020
_FULL, _PLANAR = 2, ("yuv420p", "yuvj420p")
_HD = 720  # rows from which on players assume BT.709 where a file gives no matrix


def library() -> Any:
    """Import PyAV, which only videos need. Raises InvalidRequest where it is not installed."""
    try:
        import av
    except ImportError:
        remedy = "Install it with: pip install 'sluice-perception[video]'."
        raise InvalidRequest(f"Videos need PyAV, which is not installed. {remedy}") from None
    return av


@dataclass(frozen=True)
class Meaning:
    """The meaning of the numbers of planes, and the way to compute them from those of the file.

    matrix: "bt601" or "bt709", or None if the file does not say.
    range:  "limited" or "full", or None if the file does not say.
    full:   whether the range of the file is the full one. rgb: whether the file holds RGB.
    own:    FFmpeg's number of the matrix of the file, from which the planes are converted; None if they are not.
    """

    matrix: str | None
    range: str | None
    full: bool = False
    rgb: bool = False
    own: int | None = None

    @classmethod
    def of(cls, frame: Any, context: Any) -> Meaning:
        """Read the meaning from a decoded frame and its decoder.

        Raises InvalidRequest for colours that no network knows.
        """
        space = int(frame.colorspace) if int(frame.colorspace) not in _UNSAID else int(context.colorspace)
        said = int(frame.color_range) or int(context.color_range)
        usual = "bt709" if frame.height >= _HD else "bt601"
        if _in_rgb(frame):
            return cls(usual, "limited", full=True, rgb=True)
        full = frame.format.name.startswith("yuvj") or said == _FULL
        range_ = "full" if full else "limited" if said else None
        if space in _CONVERTED:
            return cls(usual, range_ or "limited", full, own=space)
        if space not in _MATRICES and space not in _UNSAID:
            name = "BT.2020" if space in _WIDE else f"matrix {space} of ITU-T H.273"
            raise InvalidRequest(f"It has the colours of {name}, which no network here knows; convert it to BT.709.")
        return cls(_MATRICES.get(space), range_, full)


def _in_rgb(frame: Any) -> bool:
    """Tell whether a frame holds RGB, or what FFmpeg converts like RGB: palettes and XYZ."""
    form = frame.format
    return form.is_rgb or form.has_palette or form.name.startswith("xyz")


@dataclass(frozen=True)
class Turn:
    """The steps that turn a frame upright: first rows and columns are swapped, then the frame is mirrored.

    exact: False where the display matrix turns by another angle than a multiple of 90 degrees; the frame then stays as
           it is.
    """

    swapped: bool = False
    left_right: bool = False
    up_down: bool = False
    exact: bool = True

    @classmethod
    def of(cls, frame: Any) -> Turn:
        """Read the turn from the display matrix of a frame, which maps (p, q) to (a p + c q, b p + d q).

        Source: ISO/IEC 14496-12, 6.2.2.
        """
        found = next((one for one in frame.side_data if one.type.name == "DISPLAYMATRIX"), None)
        if found is None:
            return cls()
        a, b, _, c, d = struct.unpack("=9i", bytes(found)[:36])[:5]
        # Containers use the scale to give a size. What counts here is where each axis goes, and in which direction.
        small, large = sorted((abs(a) + abs(d), abs(b) + abs(c)))
        exact = small * 50 <= large  # within about one degree, as in ffmpeg
        if not exact:
            return cls(exact=False)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        """Turn a plane, [H, W] -> [H, W] or [W, H]."""
        plane = plane.T if self.swapped else plane
        return plane[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


def planes(frame: Any, turn: Turn, meaning: Meaning, size: tuple[int, int]) -> Planes:
    """Convert a decoded frame to planes.

    size: (width, height) before the turn; a frame of another size is scaled to it.
    """
    width, height = size
    if frame.format.name not in _PLANAR or (frame.width, frame.height) != size:
        to: dict[str, int] = {"src_color_range": 2 if meaning.full else 1}
        to["dst_color_range"] = CODES[meaning.range or "limited"]
        if meaning.rgb:
            to["dst_colorspace"] = CODES[meaning.matrix or "bt601"]
        frame = frame.reformat(width, height, "yuv420p", **to)
    found = []
    for plane, (h, w) in zip(frame.planes, _sizes(width, height), strict=True):
        rows = np.frombuffer(plane, np.uint8)[: h * plane.line_size].reshape(h, plane.line_size)
        found.append(rows[:, :w])
    if meaning.own is not None:
        found = _converted(found, meaning.own, CODES[meaning.matrix or "bt601"], meaning.full)
    data = np.concatenate([turn(plane).ravel() for plane in found])
    return Planes(*((height, width) if turn.swapped else (width, height)), data)


def _converted(found: list[np.ndarray], own: int, to: int, full: bool) -> list[np.ndarray]:
    """Convert planes of the matrix `own` to planes of the matrix `to`, both FFmpeg's numbers.

    Grey is the same in both matrices. So new chroma depends on old chroma alone, and new luma is the old luma plus a
    share of the chroma.
    """
    red, blue = _SHARES[own]
    # Y' Cb Cr of unit range -> R - Y', G - Y', B - Y'. Source: ITU-T H.273, equations 38 to 40.
    r, b = np.array([0, 2 * (1 - red)]), np.array([2 * (1 - blue), 0])
    g = -(red * r + blue * b) / (1 - red - blue)
    red, blue = _SHARES[to]
    luma = red * r + (1 - red - blue) * g + blue * b  # what chroma adds to Y'
    levels = 1.0 if full else 219 / 224  # of luma for one of chroma
    y, cb, cr = (plane.astype(np.float32) for plane in found)
    cb, cr = cb - 128, cr - 128
    more = (luma[0] * cb + luma[1] * cr) * levels
    more = more.repeat(2, axis=0).repeat(2, axis=1)[: y.shape[0], : y.shape[1]]
    chroma = [
        (side[0] - luma[0]) * cb / (2 * (1 - share)) + (side[1] - luma[1]) * cr / (2 * (1 - share)) + 128
        for side, share in ((b, blue), (r, red))
    ]
    return [np.rint(plane).clip(0, 255).astype(np.uint8) for plane in (y + more, *chroma)]


def _sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of the three planes."""
    return [(height, width), *[(-(-height // 2), -(-width // 2))] * 2]


def video_frame(planes: Planes) -> Any:
    """Return planes as a frame of PyAV."""
    frame = library().VideoFrame(planes.width, planes.height, "yuv420p")
    begin = 0
    for plane, (h, w) in zip(frame.planes, _sizes(planes.width, planes.height), strict=True):
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        rows[:h, :w] = planes.data[begin : begin + h * w].reshape(h, w)
        plane.update(rows)
        begin += h * w
    return frame


def video_image(planes: Planes, matrix: str, range_: str) -> Image.Image:
    """Return planes as an RGB picture. matrix: "bt601" or "bt709". range_: "limited" or "full"."""
    frame = video_frame(planes)
    frame.colorspace, frame.color_range = CODES[matrix], CODES[range_]
    return frame.to_image(src_colorspace=CODES[matrix], src_color_range=CODES[range_])
