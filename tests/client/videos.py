"""Tiny videos for tests, made with PyAV: a moving ramp, a tone, time stamps as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(number: int, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3]: a ramp that moves."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(x * 3 + number * 8) % 256, (y * 5) % 256, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def write(
    path: Path,
    count: int = 10,
    size: tuple[int, int] = (48, 32),
    *,
    stamps: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 90000),
    rate: int = 30,
    pixels: str = "yuv420p",
    audio: bool = True,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    matrix: int = 1,
    range_: int = 1,
) -> Path:
    """An H.264 video. stamps: of its frames, in `time_base`; default: regular. matrix, range_: FFmpeg's
    numbers. options, container: of the encoder and of the file."""
    width, height = size
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "ultrafast"} | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = stream.time_base = time_base
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        sound = out.add_stream("aac", rate=8000, layout="mono") if audio else None
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i, width, height), "rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=range_)
            frame.pts = stamps[i] if stamps is not None else round(i / rate / time_base)
            frame.time_base = time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            for i in range(max(1, round(count / rate * 8000 / 1024))):
                tone = (np.sin(np.arange(1024 * i, 1024 * (i + 1)) * 0.3) * 8000).astype(np.int16)[None]
                heard = av.AudioFrame.from_ndarray(tone, "s16", "mono")
                heard.sample_rate, heard.pts = 8000, 1024 * i
                out.mux(sound.encode(heard))
            out.mux(sound.encode(None))
    return path


def seconds(path: Path) -> list[Fraction]:
    """When each frame is shown."""
    with av.open(str(path)) as given:
        return [frame.pts * frame.time_base for frame in given.decode(video=0)]


def frames(path: Path) -> list[np.ndarray]:
    """The frames as uint8 [H, W, 3]."""
    with av.open(str(path)) as given:
        return [frame.to_ndarray(format="rgb24") for frame in given.decode(video=0)]


def sound(path: Path) -> list[tuple[bytes, Fraction]]:
    """The packets of the audio, with their times."""
    with av.open(str(path)) as given:
        return [(bytes(one), one.pts * one.time_base) for one in given.demux(audio=0) if one.size]


def meaning(path: Path) -> tuple[int, int]:
    """Matrix and range, FFmpeg's numbers."""
    with av.open(str(path)) as given:
        context = given.streams.video[0].codec_context
        return int(context.colorspace), int(context.color_range)
