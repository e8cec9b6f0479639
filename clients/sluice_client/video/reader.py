"""Reads videos: the facts about a file, and its frames as planes with their time stamps."""

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

# Demuxers of files whose head gives their length: in frames, per track, or for the whole file.
_BY_FRAMES, _BY_TRACK, _BY_FILE = ("avi",), ("mov,mp4,m4a,3gp,3g2,mj2",), ("asf", "flv", "matroska,webm")
_STILL_BRANDS = ("heic", "heix", "mif1", "msf1", "avif", "avis")
_LOSSLESS = ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "wrapped_avframe")
# How many times its bits H.264 needs for the same damage. Measured for H.265 (x265 against x264, `bench enhance`); the
# other two are near H.265.
AS_H264 = {"hevc": 2.0, "vp9": 2.0, "av1": 2.0}


@dataclass(frozen=True)
class Facts:
    """The facts about a video file.

    width, height: pixels of the first frame, upright.
    frames:        about how many there are, or None if that is not known.
    rate:          frames per second, on average. time_base: seconds per tick of the time stamps.
    bitrate:       bits per second of the video alone, or as many as H.264 would need where its codec needs fewer; None
                   if that is not known.
    matrix, range: as of `Meaning`.
    primaries, transfer: FFmpeg's numbers of the colour primaries and the transfer function.
    aspect:        width over height of a pixel, or None if the file does not say.
    converted:     the pixel format of the file, or None if it is 4:2:0 with 8 bits already.
    others:        sentences about tracks and properties that are left out or changed.
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
    """The losses in the part of a video that has been read.

    packets:    how many packets could not be decoded.
    early:      why the frames ended before the end of the file, or None if they did not.
    interlaced: how many frames are interlaced; first_interlaced: number of the first of them.
    resized:    how many frames have another size than the first frame; first_resized: number and size of the first.
    """

    packets: int = 0
    early: str | None = None
    interlaced: int = 0
    first_interlaced: int = 0
    resized: int = 0
    first_resized: tuple[int, str] = (0, "")


class Video:
    """A video file, opened for reading its frames once.

    track: FFmpeg's number of the stream to take; None for the stream that players show by default, else the largest,
           cover pictures left aside.
    lost:  what was lost so far.
    jumps: for each time that the time stamps jumped back, by how many seconds the following stamps were moved forward.
    Raises InvalidRequest for a file that is not a video, for a video without a frame, for interlaced video, and for
    colours that no network knows.
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
        """Return FFmpeg's number of the stream that is read."""
        return self._stream.index

    def frames(self, skip: int = 0) -> Iterator[tuple[Planes, int]]:
        """Yield each frame, upright and in the size of the first frame, with its time stamp in `facts.time_base`.

        Time stamps increase strictly. skip: how many frames to leave out at the beginning.
        """
        times = _Rising(max(1, round(1 / (self.facts.rate * self.facts.time_base))))
        for i, frame in enumerate(itertools.chain((self._first,), self._frames)):
            # AVI stores when a packet is decoded, and FFmpeg takes that for the time at which its frame is shown. For
            # frames in the order in which they are shown, the right time is in their `dts`.
            told = frame.dts if self._container.format.name == "avi" else frame.pts
            stamp = times(frame.dts if told is None else told)
            self.jumps = [jump * self.facts.time_base for jump in times.jumps]
            self._watch(i, frame)
            if i >= skip:
                yield planes(frame, Turn.of(frame), self._meaning, self._size), stamp
        if self.lost.early is None:
            self.lost.early = self._missing()

    def _watch(self, i: int, frame: Any) -> None:
        """Count a frame that is interlaced or of another size."""
        lost = self.lost
        if frame.interlaced_frame:
            lost.first_interlaced = lost.first_interlaced if lost.interlaced else i
            lost.interlaced += 1
        if (frame.width, frame.height) != self._size:
            lost.first_resized = lost.first_resized if lost.resized else (i, f"{frame.width} x {frame.height}")
            lost.resized += 1

    def _decoded(self) -> Iterator[Any]:
        """Yield frames until the end of the file, or until the rest cannot be read.

        Packets that cannot be decoded are counted and left out, as ffmpeg does.
        """
        # All tracks are read, because some files give one length for all of them.
        try:
            for packet in self._container.demux():
                self._measure(packet)
                # A packet without bytes stands for a dropped frame; a decoder would take it for the end of the stream.
                if packet.stream_index == self._stream.index and packet.size:
                    yield from self._of(packet)
        except self._av.error.FFmpegError as error:
            self.lost.early = _why(error)
        yield from self._of(None)

    def _of(self, packet: Any) -> Iterator[Any]:
        """Decode a packet; None decodes what is left in the decoder."""
        try:
            yield from self._stream.codec_context.decode(packet)
        except self._av.error.EOFError:
            return
        except self._av.error.FFmpegError:
            self.lost.packets += packet is not None

    def _measure(self, packet: Any) -> None:
        """Note the earliest and the latest time of a packet, to find out whether the file was cut off."""
        own, at = packet.stream_index == self._stream.index, packet.pts if packet.dts is None else packet.dts
        if at is None or not (own or self._container.format.name in _BY_FILE):
            return
        self._packets_seen += own
        begin = at * packet.time_base
        self._begin = begin if self._begin is None else min(self._begin, begin)
        self._end = max(self._end, (max(at, packet.pts or at) + (packet.duration or 0)) * packet.time_base)

    def _missing(self) -> str | None:
        """Tell how much is missing of the length in the head of the file.

        Returns None if nothing is missing, or if the head gives no length.
        """
        form, stream = self._container.format.name, self._stream
        begin = self._begin or Fraction(0)
        if form in _BY_FRAMES and stream.frames:  # FFmpeg computes the duration from the size of the file
            announced, there = stream.frames * stream.time_base, max(self._end, self._end - begin)
        elif form in _BY_TRACK and stream.duration:
            announced, there = Fraction(stream.duration * stream.time_base), self._end - begin
        elif form in _BY_FILE and self._container.duration:
            # Some files count from 0, others from the first packet, which may lie before or after 0.
            announced, there = Fraction(self._container.duration, 1_000_000), max(self._end, self._end - begin)
        else:
            return None
        apart = (self._end - begin) / max(1, self._packets_seen)
        if announced - there <= max(announced / 50, 2 * apart):
            return None
        return f"there are {float(there):.2f} s of {float(announced):.2f} s"

    def _refuse_stills(self) -> None:
        """Raise InvalidRequest for a picture, which FFmpeg would open as a video of one frame."""
        form = self._container.format.name
        brand = self._container.metadata.get("major_brand", "")
        if form.endswith("_pipe") or form == "image2" or brand in _STILL_BRANDS:
            raise InvalidRequest(
                f"{self.path} is a picture in a format that is not read here; save it as JPEG, PNG or WebP."
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
        codec = self._stream.codec_context.codec
        if codec.name in _LOSSLESS:
            return None
        times = AS_H264.get(codec.canonical_name, 1.0)
        own = self._stream.bit_rate
        if own:
            return times * float(own)
        others = sum(stream.bit_rate or 0 for stream in self._container.streams.audio)
        return times * max(1.0, 8 * self.path.stat().st_size / seconds - others) if seconds else None


_TRANSPARENT = ("bgra", "rgba", "argb", "abgr", "gbrap", "yuva420p", "yuva422p", "yuva444p", "ya8", "rgba64le")
DEINTERLACE = "deinterlace it first, such as with: ffmpeg -i IN -vf bwdif -c:a copy OUT"


class _Rising:
    """Makes time stamps increase.

    Where stamps jump back, as in recordings that were joined, all following stamps are moved forward, so that the first
    of them follows by `step`. A single stamp that is out of order does not move those after it.

    step:  ticks between two frames, as a rule.
    jumps: by how many ticks stamps were moved forward, one entry per jump.
    """

    def __init__(self, step: int):
        self._step, self._moved = step, 0
        self._last: int | None = None
        self.jumps: list[int] = []

    def __call__(self, stamp: int | None) -> int:
        last = self._last
        if stamp is None:  # as in a bare H.264 file
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
    """Return the words of an error of FFmpeg without its number and path."""
    with contextlib.suppress(AttributeError):
        return str(error.strerror or error)
    return str(error)
