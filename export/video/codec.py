"""Codes frames and decodes them again: H.264 by PyAV, JPEG by Pillow. RGB [H, W, 3] uint8 in and out.

Video has its chroma at half size. Chroma is brought down and up here as in the served graphs, so that a network is
trained on the RGB that it will be given.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from sluice.methods.video.planes import Colour, Picture

COLOUR = Colour("bt601", "limited")


@dataclass(frozen=True)
class Coding:
    """The settings of x264. crf: quality, 0 (best) to 51. bits: per pixel; if not 0, taken instead of crf.

    preset: by x264's names. rate: frames per second.
    """

    crf: float = 23.0
    bits: float = 0.0
    preset: str = "veryfast"
    rate: int = 25


def h264(frames: Sequence[np.ndarray], coding: Coding) -> list[np.ndarray]:
    """Return a clip's frames as a decoder shows them. frames: of one even size. Raises ValueError for odd sizes."""
    import av
    from av.video.frame import VideoFrame

    height, width = frames[0].shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"expected frames of even size for YUV 4:2:0, got {width} x {height}")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, coding.rate), Fraction(coding.rate)
    encoder.options = {"preset": coding.preset, "threads": "1"}
    if coding.bits:
        encoder.bit_rate = round(coding.bits * width * height * coding.rate)
    else:
        encoder.options = {**encoder.options, "crf": str(coding.crf)}
    decoder = av.CodecContext.create("h264", "r")
    packets = []
    for index, image in enumerate(frames):
        frame = VideoFrame.from_ndarray(to_yuv420(image), format="yuv420p")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded += decoder.decode(None)
    return [from_yuv420(frame.to_ndarray(format="yuv420p")) for frame in decoded]


def jpeg(image: np.ndarray, quality: int, subsampling: int = 2) -> np.ndarray:
    """Return an image as JPEG shows it. image: [H, W, 3], or grey [H, W]. subsampling: 0 for 4:4:4, 2 for 4:2:0."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def to_yuv420(rgb: np.ndarray) -> np.ndarray:
    """Convert RGB [H, W, 3] uint8 of even size to planes as PyAV stacks them, uint8 [H * 3/2, W]; BT.601, limited."""
    return Picture.of_rgb(rgb).planes(COLOUR).reshape(-1, rgb.shape[1])


def from_yuv420(planes: np.ndarray) -> np.ndarray:
    """Convert planes of `to_yuv420` back to RGB [H, W, 3] uint8."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    return Picture.of_planes(planes.reshape(-1), height, width, COLOUR).rgb()
