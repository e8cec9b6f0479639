"""Writes tiny videos for tests with PyAV: a moving ramp, a tone, time stamps as given."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(number: int, width: int, height: int) -> np.ndarray:
    """Return frame `number` of the test video: a ramp that moves, uint8 [H, W, 3]."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(x * 3 + number * 8) % 256, (y * 5) % 256, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def write(
    path: Path,
    count: int = 10,
    size: tuple[int, int] = (48, 32),
    *,
    stamps: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 90000),
    rate: int | Fraction = 30,
    pixels: str = "yuv420p",
    audio: bool = True,
    sound: str = "aac",
    heard: int | None = None,
    display: Sequence[float] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    matrix: int = 1,
    range_: int = 1,
) -> Path:
    """Write an H.264 video and return its path.

    stamps: presentation time of each frame, in `time_base`; None for regular ones. sound: codec of the audio; heard:
    its length in frames of the video, or None for all of them. display: the nine numbers of the display matrix. aspect:
    width over height of a pixel. options: of the encoder. container: options of the file. matrix, range_: of the
    colours, by FFmpeg's numbers.
    """
    width, height = size
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "ultrafast"} | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = stream.time_base = time_base
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if display is not None:
            stream.set_display_matrix(_fixed(display))
        speed = 44100 if sound in ("mp2", "flac") or path.suffix == ".flv" else 8000
        tone = out.add_stream(sound, rate=speed, layout="mono") if audio else None
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i, width, height), "rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=range_)
            frame.pts = stamps[i] if stamps is not None else round(i / rate / time_base)
            frame.time_base = time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if tone is not None:
            _sing(out, tone, speed, (count if heard is None else heard) / rate)
    return path


def _fixed(display: Sequence[float]) -> list[int]:
    """Return the nine numbers of a display matrix as fixed-point integers."""
    return [round(value * (1 << (30 if i % 3 == 2 else 16))) for i, value in enumerate(display)]


def _sing(out: av.container.OutputContainer, stream: av.AudioStream, rate: int, length: float) -> None:
    """Write a tone of rising pitch, so that its place in time can be heard. length: seconds."""
    resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or 1024)
    at = np.arange(1024 * max(1, round(float(length) * rate / 1024)))
    samples = (np.sin(at * 400 / rate * (1 + at / rate)) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
    frame.sample_rate, frame.pts = rate, 0
    for one in (*resampler.resample(frame), *resampler.resample(None)):
        out.mux(stream.encode(one))
    out.mux(stream.encode(None))


def samples(given: av.container.InputContainer) -> np.ndarray:
    """Return the first track of sound, float [n]."""
    resampler = av.AudioResampler("fltp", "mono", 8000)
    found = [one for frame in given.decode(audio=0) for one in resampler.resample(frame)]
    return np.concatenate([one.to_ndarray()[0] for one in found])


def joined(path: Path, counts: Sequence[int]) -> None:
    """Write recordings one behind the other in one transport stream, where every time stamp begins anew with each."""
    data = []
    for i, count in enumerate(counts):
        part = write(path.with_name(f"part{i}.ts"), count=count, options={"bf": "0"})
        data.append(part.read_bytes())
    path.write_bytes(b"".join(data))


def lossless(path: Path, colour: tuple[int, int, int], pixels: str, size: tuple[int, int] = (64, 48)) -> None:
    """Write a video of one colour in FFV1."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), colour, np.uint8), "rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def several(path: Path, tracks: Sequence[tuple[str, tuple[int, int], int]], attached: bool = False) -> None:
    """Write a file with several videos.

    tracks: (codec, size, frames) of each. attached: True marks the tracks as cover pictures.
    """
    with av.open(str(path), "w") as out:
        made = []
        for codec, size, count in tracks:
            stream = out.add_stream(codec, rate=30)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if attached:
                stream.disposition = av.stream.Disposition.attached_pic
            made.append((stream, size, count))
        out.start_encoding()
        for stream, size, count in made:
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(picture(i, *size), "rgb24").reformat(format=stream.pix_fmt)
                frame.pts = i
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


def subtitled(path: Path, frames: int, length: int) -> None:
    """Write a video with a subtitle that is shown for `length` seconds."""
    text, video = path.with_suffix(".srt"), write(path.with_suffix(".mp4"), frames, audio=False, options={"bf": "0"})
    text.write_text(f"1\n00:00:00,000 --> 00:00:{length:02d},000\nhello\n\n")
    with av.open(str(video)) as shown, av.open(str(text)) as said, av.open(str(path), "w") as out:
        pictures = out.add_stream_from_template(shown.streams.video[0])
        words = out.add_stream_from_template(said.streams.subtitles[0])
        for given, stream in ((said, words), (shown, pictures)):
            for packet in given.demux():
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)


def motion_jpeg(path: Path, sizes: Sequence[tuple[int, int]], stamps: Sequence[int]) -> None:
    """Write an AVI whose pictures may differ in size. Where a stamp is left out, the file has an empty chunk."""
    with av.open(str(path), "w", format="avi") as out:
        stream = out.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        out.start_encoding()
        for i, (size, stamp) in enumerate(zip(sizes, stamps, strict=True)):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = *size, "yuvj420p"
            encoder.time_base = Fraction(1, 30)
            frame = av.VideoFrame.from_ndarray(picture(i, *size), "rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = 0, Fraction(1, 30)
            (packet,) = [*encoder.encode(frame), *encoder.encode(None)]
            fresh = av.Packet(bytes(packet))
            fresh.pts = fresh.dts = stamp
            fresh.time_base, fresh.stream, fresh.is_keyframe = Fraction(1, 30), stream, True
            out.mux(fresh)


def emptied(source: Path, path: Path, empty: set[int]) -> None:
    """Copy a video, leaving the samples numbered in `empty` without bytes."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for i, packet in enumerate(one for one in given.demux(video=0) if one.size):
            if i in empty:
                hole = av.Packet(b"")
                hole.pts, hole.dts = packet.pts, packet.dts
                hole.time_base, hole.duration = packet.time_base, packet.duration
                packet = hole
            packet.stream = stream
            out.mux(packet)


def plain(path: Path, form: str, codec: str, count: int) -> None:
    """Write a video in the container `form`, whatever the extension of `path` says."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i, 64, 48), "rgb24").reformat(format=stream.pix_fmt)
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def seconds(path: Path) -> list[Fraction]:
    """Return the time at which each frame is shown, in seconds."""
    with av.open(str(path)) as given:
        return [frame.pts * frame.time_base for frame in given.decode(video=0)]


def frames(path: Path) -> list[np.ndarray]:
    """Return the frames, uint8 [H, W, 3] each."""
    with av.open(str(path)) as given:
        return [frame.to_ndarray(format="rgb24") for frame in given.decode(video=0)]


def sound(path: Path) -> list[tuple[bytes, Fraction]]:
    """Return the audio packets with their times."""
    with av.open(str(path)) as given:
        return [(bytes(one), one.pts * one.time_base) for one in given.demux(audio=0) if one.size]


def meaning(path: Path) -> tuple[int, int]:
    """Return the matrix and range of the colours, by FFmpeg's numbers."""
    with av.open(str(path)) as given:
        context = given.streams.video[0].codec_context
        return int(context.colorspace), int(context.color_range)
