"""Videos in: what a file says of itself, and its frames as planes, with their time stamps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .enhance import Planes
from .errors import InvalidRequest

__all__ = ["CODES", "ENDINGS", "Facts", "Video", "library", "video_frame", "video_image"]

ENDINGS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".y4m")

# FFmpeg's numbers of what a stream says: AVCOL_SPC_*, AVCOL_RANGE_*.
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601"}
_UNKNOWN, _WIDE = (0, 2), (9, 10)  # RGB without a matrix and unspecified; BT.2020
_FULL = 2
CODES = {"bt709": 1, "bt601": 6, "limited": 1, "full": 2}


def library() -> Any:
    """PyAV, which is not needed for anything else. Raises InvalidRequest where it is not installed."""
    try:
        import av
    except ImportError:
        remedy = "Install it with: pip install 'sluice[video]'."
        raise _wrong(f"Videos need PyAV, which is not installed. {remedy}") from None
    return av


@dataclass(frozen=True)
class Facts:
    """width, height: upright, pixels. frames: about how many; None: not known. rate: frames a second, on average.

    bitrate: bits a second of the video alone; None: not known. matrix, range: what its numbers mean; None: it does not
    say. converted: its own pixel format where that is another than 4:2:0 with 8 bits.
    """

    width: int
    height: int
    frames: int | None
    rate: Fraction
    time_base: Fraction
    bitrate: float | None
    matrix: str | None
    range: str | None
    primaries: int
    transfer: int
    aspect: Fraction | None
    audio: int
    converted: str | None


class Video:
    """A video file, opened for reading its frames once.

    trouble: why the frames ended before the file's own end; None: they did not.
    Raises InvalidRequest for what is no video, for one without a picture, interlaced, or with the colours of BT.2020.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.trouble: str | None = None
        self._av = library()
        try:
            self._container = self._av.open(os.fspath(path))
        except self._av.error.FFmpegError as error:
            raise _wrong(f"{self.path} cannot be read as a video: {_why(error)}.") from None
        try:
            if not self._container.streams.video:
                raise _wrong(
                    f"{self.path} holds no video, or was cut off before its index was written; "
                    "pictures end with .jpg, .png or .webp."
                )
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self._frames = self._decoded()
            self._first = next(self._frames, None)
            if self._first is None:
                raise _wrong(f"{self.path} has no frame that can be decoded{self._because()}.")
            self.facts = self._facts(self._first)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def frames(self, skip: int = 0) -> Iterator[tuple[Planes, int]]:
        """Each frame, upright, and its time stamp in `facts.time_base`; time stamps grow. skip: leave out the first."""
        last, i = None, -1
        for i, frame in enumerate(self._all()):
            if frame.interlaced_frame:
                raise _wrong(
                    f"{self.path} is interlaced (frame {i}); deinterlace it first, such as with: "
                    "ffmpeg -i IN -vf bwdif -c:a copy OUT"
                )
            stamp = frame.pts
            if stamp is None or (last is not None and stamp <= last):  # broken, or none as in a bare H.264 file
                step = max(1, round(1 / (self.facts.rate * self.facts.time_base)))
                stamp = 0 if last is None else last + step
            last = stamp
            if i >= skip:
                yield self._planes(frame), stamp
        # A few frames less than the index says are no sign of anything: an edit list may hide them.
        announced = self._stream.frames
        if self.trouble is None and announced - (i + 1) > max(2, announced // 50):
            self.trouble = f"{i + 1} frames could be decoded of {announced}"

    def _all(self) -> Iterator[Any]:
        yield self._first
        yield from self._frames

    def _decoded(self) -> Iterator[Any]:
        """Frames until the end, or until what follows cannot be read."""
        try:
            yield from self._container.decode(self._stream)
        except self._av.error.FFmpegError as error:
            self.trouble = _why(error)

    def _because(self) -> str:
        return f": {self.trouble}" if self.trouble else ""

    def _facts(self, frame: Any) -> Facts:
        stream, context = self._stream, self._stream.codec_context
        space = int(frame.colorspace) if int(frame.colorspace) not in _UNKNOWN else int(context.colorspace)
        if space in _WIDE:
            raise _wrong(f"{self.path} has the colours of BT.2020, which no network here knows; convert it to BT.709.")
        coded = frame.format.name
        range_ = int(frame.color_range) or int(context.color_range)
        full = coded.startswith("yuvj") or range_ == _FULL
        pixels = frame.format.is_rgb  # which FFmpeg turns into limited BT.601
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        time_base = Fraction(stream.time_base or 1 / rate)
        seconds = self._seconds()
        count = stream.frames or (round(seconds * rate) if seconds else None)
        turned = int(frame.rotation) % 180 != 0
        aspect = stream.sample_aspect_ratio
        return Facts(
            *((frame.height, frame.width) if turned else (frame.width, frame.height)),
            count,
            rate,
            time_base,
            self._bitrate(seconds),
            "bt601" if pixels else _MATRICES.get(space),
            "limited" if pixels else "full" if full else "limited" if range_ else None,
            int(context.color_primaries),
            int(context.color_trc),
            (1 / Fraction(aspect) if turned else Fraction(aspect)) if aspect else None,
            len(self._container.streams.audio),
            None if coded in ("yuv420p", "yuvj420p") else coded,
        )

    def _seconds(self) -> float | None:
        stream = self._stream
        if stream.duration:
            return float(stream.duration * stream.time_base)
        return self._container.duration / 1e6 if self._container.duration else None

    def _bitrate(self, seconds: float | None) -> float | None:
        if self._stream.codec_context.name in _LOSSLESS:
            return None
        own = self._stream.bit_rate
        if own:
            return float(own)
        others = sum(stream.bit_rate or 0 for stream in self._container.streams.audio)
        return max(1.0, 8 * self.path.stat().st_size / seconds - others) if seconds else None

    def _codes(self) -> int:
        return CODES[self.facts.range or "limited"]

    def _planes(self, frame: Any) -> Planes:
        turns = round(int(frame.rotation) / 90) % 4
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            levels = {} if frame.format.is_rgb else dict.fromkeys(("src_color_range", "dst_color_range"), self._codes())
            frame = frame.reformat(format="yuv420p", **levels)
        height, width = frame.height, frame.width
        sizes = [(height, width), *[(-(-height // 2), -(-width // 2))] * 2]
        planes = []
        for plane, (h, w) in zip(frame.planes, sizes, strict=True):
            rows = np.frombuffer(plane, np.uint8)[: h * plane.line_size].reshape(h, plane.line_size)
            planes.append(np.rot90(rows[:, :w], turns).ravel())
        return Planes(*((height, width) if turns % 2 else (width, height)), np.concatenate(planes))


def video_frame(planes: Planes) -> Any:
    """The planes as PyAV's frame."""
    width, height = planes.width, planes.height
    frame = library().VideoFrame(width, height, "yuv420p")
    begin = 0
    for plane, (h, w) in zip(frame.planes, [(height, width), *[(-(-height // 2), -(-width // 2))] * 2], strict=True):
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        rows[:h, :w] = planes.data[begin : begin + h * w].reshape(h, w)
        plane.update(rows)
        begin += h * w
    return frame


def video_image(planes: Planes, matrix: str, range_: str) -> Image.Image:
    """The planes as a picture, to be looked at."""
    frame = video_frame(planes)
    frame.colorspace, frame.color_range = CODES[matrix], CODES[range_]
    return frame.to_image(src_colorspace=CODES[matrix], src_color_range=CODES[range_])


_LOSSLESS = ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "wrapped_avframe")


def _why(error: Any) -> str:
    with contextlib.suppress(AttributeError):
        return str(error.strerror or error)
    return str(error)


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, status="LOCAL")
