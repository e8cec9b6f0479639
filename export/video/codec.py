"""Codes frames and decodes them again: video by PyAV in several encoders, JPEG by Pillow.

Video has its chroma at half size. Chroma is brought down and up here as in the served graphs, so that a network is
trained on the RGB that it will be given.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sluice.methods.video.planes import Colour, Picture

COLOUR = Colour("bt601", "limited")
# By our names: FFmpeg's names of the encoder and of the decoder.
ENCODERS = {
    "x264": ("libx264", "h264"),
    "x265": ("libx265", "hevc"),
    "mpeg4": ("mpeg4", "mpeg4"),
    "vp9": ("libvpx-vp9", "vp9"),
}


@dataclass(frozen=True)
class Coding:
    """The settings of an encoder of `ENCODERS`.

    crf: quality on x264's scale, 0 (best) to 51. bits: per pixel; if not 0, taken instead of crf.
    preset: by x264's names; x265 has the same, the others have none. rate: frames per second.
    group: most frames from one intra frame to the next. live: True uses no frame that refers to later ones, as cameras
    do, which cannot wait.
    """

    crf: float = 23.0
    bits: float = 0.0
    preset: str = "veryfast"
    rate: int = 25
    encoder: str = "x264"
    group: int = 250
    live: bool = False

    @property
    def options(self) -> dict[str, str]:
        """Return FFmpeg's options of the encoder, one thread, no intra frames but those of `group`."""
        found = {"threads": "1", "g": str(self.group)}
        if self.encoder == "x264":
            found |= {"preset": self.preset, "sc_threshold": "0"} | ({"bf": "0"} if self.live else {})
            return found if self.bits else found | {"crf": str(self.crf)}
        if self.encoder == "x265":
            own = f"pools=none:frame-threads=1:log-level=none:scenecut=0:keyint={self.group}"
            found |= {"preset": self.preset, "x265-params": own + (":bframes=0" if self.live else "")}
            return found if self.bits else found | {"crf": str(self.crf)}
        if self.encoder == "mpeg4":
            # Both scales' quantisers give the same step, which doubles with every 6 of H.264's.
            quantiser = str(round(min(max(0.85 * 2 ** ((self.crf - 12) / 6), 2.0), 31.0)))
            found |= {"bf": "0" if self.live else "2"}
            return found if self.bits else found | {"qmin": quantiser, "qmax": quantiser}
        found |= {"deadline": "realtime" if self.live else "good", "cpu-used": "6"}
        # VP9 counts from 0 to 63; the line gives about the PSNR of x264.
        return found if self.bits else found | {"crf": str(round(min(max(1.6 * self.crf - 5, 0), 63))), "b": "0"}


class Coded(NamedTuple):
    """A clip after the codec. kinds: I, P or B per frame. bits: per frame, on average."""

    frames: list[Picture]
    kinds: list[str]
    bits: float


def code(frames: Sequence[Picture], coding: Coding) -> Coded:
    """Return a clip of YUV 4:2:0 as a decoder shows it. frames: of one size, even on both sides."""
    import av
    from av.video.frame import PictureType, VideoFrame

    height, width = frames[0].height, frames[0].width
    if height % 2 or width % 2:
        raise ValueError(f"expected frames of even size for YUV 4:2:0, got {width} x {height}")
    names = ENCODERS[coding.encoder]
    encoder: Any = av.CodecContext.create(names[0], "w")
    decoder: Any = av.CodecContext.create(names[1], "r")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, coding.rate), Fraction(coding.rate)
    encoder.options = coding.options
    if coding.bits:
        encoder.bit_rate = round(coding.bits * width * height * coding.rate)
    packets = []
    for index, picture in enumerate(frames):
        frame = VideoFrame.from_ndarray(picture.planes(COLOUR).reshape(-1, width), format="yuv420p")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    shown = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    planes = [frame.to_ndarray(format="yuv420p").reshape(-1) for frame in shown]
    return Coded(
        [Picture.of_planes(one, height, width, COLOUR) for one in planes],
        [PictureType(frame.pict_type).name for frame in shown],
        8 * sum(packet.size for packet in packets) / len(frames),
    )


def video(frames: Sequence[np.ndarray], coding: Coding) -> list[np.ndarray]:
    """Return a clip's frames as a decoder shows them, RGB [H, W, 3] uint8. Raises ValueError for odd sizes."""
    return [picture.rgb() for picture in code([to_picture(image) for image in frames], coding).frames]


def jpeg(image: np.ndarray, quality: int, subsampling: int = 2) -> np.ndarray:
    """Return an image as JPEG shows it. image: [H, W, 3], or grey [H, W]. subsampling: 0 for 4:4:4, 2 for 4:2:0."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def to_picture(rgb: np.ndarray) -> Picture:
    """Convert RGB [H, W, 3] uint8 of even size to YUV 4:2:0, BT.601, limited. Raises ValueError for an odd size."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"expected frames of even size for YUV 4:2:0, got {width} x {height}")
    return Picture.of_planes(Picture.of_rgb(rgb).planes(COLOUR), height, width, COLOUR)


def to_yuv420(rgb: np.ndarray) -> np.ndarray:
    """Convert RGB [H, W, 3] uint8 of even size to planes as PyAV stacks them, uint8 [H * 3/2, W]; BT.601, limited."""
    return Picture.of_rgb(rgb).planes(COLOUR).reshape(-1, rgb.shape[1])


def from_yuv420(planes: np.ndarray) -> np.ndarray:
    """Convert planes of `to_yuv420` back to RGB [H, W, 3] uint8."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    return Picture.of_planes(planes.reshape(-1), height, width, COLOUR).rgb()
