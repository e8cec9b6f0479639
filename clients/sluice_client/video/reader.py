"""Videos in: what a file says of itself, and its frames as planes, with their time stamps."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..verbs.enhance import Planes
from .planes import Meaning, Turn, library, planes
from .tracks import chosen

__all__ = ["Facts", "Lost", "Video"]

# Demuxers whose files tell in their head how long they are: per track, or all in all.
_BY_FRAMES, _BY_TRACK, _BY_FILE = ("avi",), ("mov,mp4,m4a,3gp,3g2,mj2",), ("asf", "flv", "matroska,webm")
_STILL_BRANDS = ("heic", "heix", "mif1", "msf1", "avif", "avis")
_LOSSLESS = ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "wrapped_avframe")


@dataclass(frozen=True)
class Facts:
    """width, height: upright, pixels, of the first frame. frames: about how many; None: not known. rate: frames a
    second, on average.

    bitrate: bits a second of the video alone; None: not known. matrix, range: what the planes' numbers mean; None: the
    file does not say. aspect: width over height of a pixel; None: it does not say. converted: its own pixel format
    where that is another than 4:2:0 with 8 bits. others: sentences about what the file has besides.
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
    converted: str | None
    others: tuple[str, ...] = ()


@dataclass
class Lost:
    """What of a video did not come out, as far as it has been read.

    packets:    that could not be decoded. early: why the frames ended before the file's own end; None: they did not.
    interlaced: frames that are so, and the first of them. resized: the same of those that have another size than the
                first frame, and this size.
    """

    packets: int = 0
    early: str | None = None
    interlaced: int = 0
    first_interlaced: int = 0
    resized: int = 0
    first_resized: tuple[int, str] = (0, "")


class Video:
    """A video file, opened for reading its frames once.

    track: FFmpeg's number of the stream to take; None: the one that is shown by default or largest, no cover picture.
    lost:  what did not come out so far. jumps: by how much its time stamps were moved on, seconds, once for each time
           that they jumped back.
    Raises InvalidRequest for what is no video, for one without a picture, interlaced, or with colours that no network
    here knows.
    """

    def __init__(self, path: str | os.PathLike, track: int | None = None):
        self.path, self.lost = Path(path), Lost()
        self.jumps: list[Fraction] = []
        self._av = library()
        try:
            self._container = self._av.open(os.fspath(path))
        except (self._av.error.FFmpegError, ValueError) as error:
            raise InvalidRequest(f"{self.path} cannot be read as a video: {_why(error)}.") from None
        try:
            self._refuse_stills()
            self._stream, others = chosen(self.path, self._container, track)
            self._stream.thread_type = "AUTO"
            self._packets_seen = 0
            self._begin: Fraction | None = None
            self._end = Fraction(0)
            self._frames = self._decoded()
            first = next(self._frames, None)
            if first is None:
                because = f": {self.lost.early}" if self.lost.early else ""
                raise InvalidRequest(f"{self.path} has no frame that can be decoded{because}.")
            if first.interlaced_frame:
                raise InvalidRequest(f"{self.path} is interlaced (frame 0); {DEINTERLACE}")
            self._first = first
            try:
                self._meaning = Meaning.of(first, self._stream.codec_context)
            except InvalidRequest as error:
                raise InvalidRequest(f"{self.path}: {error.message}") from None
            self._size = first.width, first.height
            try:
                planes(first, Turn(), self._meaning, self._size)
            except (self._av.error.FFmpegError, ValueError) as error:
                raise InvalidRequest(
                    f"{self.path}: its pixels ({first.format.name}) cannot be converted: {error}."
                ) from None
            self.facts = self._facts(first, others)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    @property
    def track(self) -> int:
        return self._stream.index

    def frames(self, skip: int = 0) -> Iterator[tuple[Planes, int]]:
        """Each frame, upright, of the first one's size, and its time stamp in `facts.time_base`; time stamps grow.
        skip: leave out the first."""
        times = _Rising(max(1, round(1 / (self.facts.rate * self.facts.time_base))))
        for i, frame in enumerate(itertools.chain((self._first,), self._frames)):
            # AVI tells when a packet is decoded, and FFmpeg takes that for when it is shown. What follows from it for
            # the pictures in their order is what stands in `dts` of a frame.
            told = frame.dts if self._container.format.name == "avi" else frame.pts
            stamp = times(frame.dts if told is None else told)
            self.jumps = [jump * self.facts.time_base for jump in times.jumps]
            self._watch(i, frame)
            if i >= skip:
                yield planes(frame, Turn.of(frame), self._meaning, self._size), stamp
        if self.lost.early is None:
            self.lost.early = self._missing()

    def _watch(self, i: int, frame: Any) -> None:
        lost = self.lost
        if frame.interlaced_frame:
            lost.first_interlaced = lost.first_interlaced if lost.interlaced else i
            lost.interlaced += 1
        if (frame.width, frame.height) != self._size:
            lost.first_resized = lost.first_resized if lost.resized else (i, f"{frame.width} x {frame.height}")
            lost.resized += 1

    def _decoded(self) -> Iterator[Any]:
        """Frames until the end, or until what follows cannot be read; what cannot be decoded is counted and left out,
        as ffmpeg does."""
        # All tracks are read along, because some files tell their length for all of them together.
        try:
            for packet in self._container.demux():
                self._measure(packet)
                # A packet of no bytes stands for a frame that was left out; a decoder would take it for the end.
                if packet.stream_index == self._stream.index and packet.size:
                    yield from self._of(packet)
        except self._av.error.FFmpegError as error:
            self.lost.early = _why(error)
        yield from self._of(None)

    def _of(self, packet: Any) -> Iterator[Any]:
        try:
            yield from self._stream.codec_context.decode(packet)
        except self._av.error.EOFError:
            return
        except self._av.error.FFmpegError:
            self.lost.packets += packet is not None

    def _measure(self, packet: Any) -> None:
        """Keep in mind how far the file reaches."""
        own, at = packet.stream_index == self._stream.index, packet.pts if packet.dts is None else packet.dts
        if at is None or not (own or self._container.format.name in _BY_FILE):
            return
        self._packets_seen += own
        begin = at * packet.time_base
        self._begin = begin if self._begin is None else min(self._begin, begin)
        self._end = max(self._end, (max(at, packet.pts or at) + (packet.duration or 0)) * packet.time_base)

    def _missing(self) -> str | None:
        """What the file's head says that is not there; None: nothing, or the head says nothing."""
        form, stream = self._container.format.name, self._stream
        begin = self._begin or Fraction(0)
        if form in _BY_FRAMES and stream.frames:  # its duration is what FFmpeg makes of the file's size
            announced, there = stream.frames * stream.time_base, max(self._end, self._end - begin)
        elif form in _BY_TRACK and stream.duration:
            announced, there = Fraction(stream.duration * stream.time_base), self._end - begin
        elif form in _BY_FILE and self._container.duration:
            # Some count from 0 and some from the first packet, which may lie on either side of it.
            announced, there = Fraction(self._container.duration, 1_000_000), max(self._end, self._end - begin)
        else:
            return None
        apart = (self._end - begin) / max(1, self._packets_seen)
        if announced - there <= max(announced / 50, 2 * apart):
            return None
        return f"there are {float(there):.2f} s of {float(announced):.2f} s"

    def _refuse_stills(self) -> None:
        form = self._container.format.name
        brand = self._container.metadata.get("major_brand", "")
        if form.endswith("_pipe") or form == "image2" or brand in _STILL_BRANDS:
            raise InvalidRequest(
                f"{self.path} is a picture, of a kind that is not taken here; save it as JPEG, PNG or WebP."
            )

    def _facts(self, frame: Any, others: tuple[str, ...]) -> Facts:
        stream, context = self._stream, self._stream.codec_context
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        time_base = Fraction(stream.time_base or 1 / rate)
        seconds = self._seconds()
        count = stream.frames or (round(seconds * rate) if seconds else None)
        turn = Turn.of(frame)
        if not turn.exact:
            others = (*others, "its display matrix turns it by no multiple of 90 degrees; it stays as it is coded")
        if frame.format.name in _TRANSPARENT:
            others = (*others, "what is transparent in it becomes opaque")
        aspect = stream.sample_aspect_ratio
        return Facts(
            *((frame.height, frame.width) if turn.swapped else (frame.width, frame.height)),
            count,
            rate,
            time_base,
            self._bitrate(seconds),
            self._meaning.matrix,
            self._meaning.range,
            int(context.color_primaries),
            int(context.color_trc),
            (1 / Fraction(aspect) if turn.swapped else Fraction(aspect)) if aspect else None,
            None if frame.format.name in ("yuv420p", "yuvj420p") else frame.format.name,
            others,
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


_TRANSPARENT = ("bgra", "rgba", "argb", "abgr", "gbrap", "yuva420p", "yuva422p", "yuva444p", "ya8", "rgba64le")
DEINTERLACE = "deinterlace it first, such as with: ffmpeg -i IN -vf bwdif -c:a copy OUT"


class _Rising:
    """Time stamps that grow. Where they jump back, as in recordings that were joined, what follows is moved on by as
    much as makes it follow; a stamp that stands alone does not move those behind it.

    step: what is between two frames, as a rule. jumps: by how much, once for each jump.
    """

    def __init__(self, step: int):
        self._step, self._moved = step, 0
        self._last: int | None = None
        self.jumps: list[int] = []

    def __call__(self, stamp: int | None) -> int:
        last = self._last
        if stamp is None:  # none, as in a bare H.264 file
            at = 0 if last is None else last + self._step
        elif last is None or stamp > last:
            at, self._moved = stamp, 0
        else:
            if stamp + self._moved <= last:
                self._moved = last + self._step - stamp
                self.jumps.append(self._moved)
            at = stamp + self._moved
        self._last = at
        return at


def _why(error: Any) -> str:
    with contextlib.suppress(AttributeError):
        return str(error.strerror or error)
    return str(error)
