"""The sound of a video on its way into the new file: copied where the new file can hold it, else encoded as AAC. Its
times rise, and where those of the pictures were moved on, so are those of the sound."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .planes import library

__all__ = ["COPIED", "ENCODED", "LEFT_OUT", "Sound", "packets", "plan", "streams"]

COPIED, ENCODED, LEFT_OUT = "copied", "encoded", "left out"
_TRIED = 8  # packets that show whether a container takes a codec: some are refused only when they are written
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # that AAC has
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_NEAR = Fraction(1, 2)  # seconds between where the sound would go on by itself and where the pictures do
_HOLE = Fraction(1, 10)  # seconds without sound that are filled with silence; less is how recorders count


@dataclass(frozen=True)
class Sound:
    """A track of sound. index: FFmpeg's number of the stream. way: what becomes of it."""

    index: int
    codec: str
    way: str

    def encoded(self) -> Sound:
        return replace(self, way=ENCODED if self.way == COPIED else self.way)


def plan(source: Path, form: str) -> list[Sound]:
    """What can become of each track of sound of a file, found out by trying. form: FFmpeg's name of the container."""
    with library().open(os.fspath(source)) as given:
        numbers = [(one.index, one.codec_context.name if one.codec_context else "") for one in given.streams.audio]
    ways = []
    for index, codec in numbers:
        way = COPIED if _takes(source, index, form) else ENCODED if _decodes(source, index) else LEFT_OUT
        ways.append(Sound(index, codec or "unknown to FFmpeg", way))
    return ways


def _takes(source: Path, index: int, form: str) -> bool:
    """Whether the container takes the first packets of this track as they are."""
    av = library()
    try:
        with av.open(os.fspath(source)) as given, av.open(io.BytesIO(), "w", format=form) as made:
            copy = made.add_stream_from_template(given.streams[index])
            made.start_encoding()
            clock = _Clock(())
            for packet in _some(given, index):
                _copied(packet, copy, clock)
                made.mux(packet)
        return True
    except (av.error.FFmpegError, ValueError, TypeError, AttributeError):
        return False


def _decodes(source: Path, index: int) -> bool:
    av = library()
    with av.open(os.fspath(source)) as given:
        for packet in _some(given, index):
            with contextlib.suppress(av.error.FFmpegError, ValueError, AttributeError):
                if packet.decode():
                    return True
    return False


def _some(given: Any, index: int) -> Iterator[Any]:
    return itertools.islice(_read(given, [index]), _TRIED)


def streams(given: Any, made: Any, sounds: Sequence[Sound]) -> dict[int, Any]:
    """The streams of the new file for these tracks, by the tracks' numbers."""
    found = {}
    for sound in sounds:
        if sound.way == COPIED:
            found[sound.index] = made.add_stream_from_template(given.streams[sound.index])
        elif sound.way == ENCODED:
            context = given.streams[sound.index].codec_context
            rate = context.sample_rate if context.sample_rate in _RATES else 48000
            layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
            found[sound.index] = made.add_stream("aac", rate=rate, layout=layout)
        if sound.index in found:
            told = given.streams[sound.index].metadata
            found[sound.index].metadata.update({key: told[key] for key in ("language", "title") if key in told})
    return found


def packets(
    given: Any, into: dict[int, Any], sounds: Sequence[Sound], form: str, jumps: Sequence[Fraction]
) -> Iterator[tuple[Fraction, Any]]:
    """(seconds, packet) of the tracks, for streams whose file has begun. form: FFmpeg's name of its container. jumps:
    by how much the pictures were moved on, seconds."""
    clocks = {index: _Clock(jumps) for index in into}
    encoders = {sound.index: _Encoder(into[sound.index]) for sound in sounds if sound.way == ENCODED}
    moved = form == "matroska" and "mp4" in given.format.name
    # In MP4 the run-up of an AAC encoder lies before 0, where players skip it. Matroska has no times below 0, and all
    # others would be moved on for it.
    runups = {sound.index for sound in sounds if sound.codec == "aac"} if moved else set()
    for packet in _read(given, list(into)):
        index = packet.stream_index
        if index in encoders:
            yield from encoders[index].add(packet, clocks[index])
            continue
        at = _copied(packet, into[index], clocks[index])
        if at >= 0 or index not in runups:
            yield at, packet
    for encoder in encoders.values():
        yield from encoder.end()


def _read(given: Any, numbers: Sequence[int]) -> Iterator[Any]:
    """The packets of these streams; of a truncated file those that there are."""
    if numbers:  # without one, FFmpeg would give those of all streams
        with contextlib.suppress(library().error.FFmpegError):
            for packet in given.demux(*(given.streams[index] for index in numbers)):
                if packet.dts is not None and packet.size:
                    yield packet


class _Clock:
    """The times of a track, moved on where they jump back: as the pictures were where that is about the same, so that
    they stay together, else by as much as makes them follow."""

    def __init__(self, jumps: Sequence[Fraction]):
        self._jumps, self._moved = jumps, Fraction(0)
        self._last: Fraction | None = None
        self._end = Fraction(0)
        self.tick: int | None = None  # of the new file, of the last packet that was copied

    def __call__(self, at: Fraction, seconds: Fraction) -> Fraction:
        if self._last is None or at > self._last:
            self._moved = Fraction(0)
        elif at + self._moved <= self._last:
            own = self._end - at
            self._moved = min((own, *(one for one in self._jumps if abs(one - own) <= _NEAR)),
                              key=lambda one: (one == own, abs(one - own)))  # fmt: skip
        at += self._moved
        self._last = at if self._last is None else max(at, self._last)
        self._end = at + seconds
        return at


def _copied(packet: Any, stream: Any, clock: _Clock) -> Fraction:
    """Give the packet to the new file's stream, with a time that rises; the time, seconds."""
    at = clock(packet.dts * packet.time_base, (packet.duration or 0) * packet.time_base)
    base = stream.time_base
    late = 0 if packet.pts is None else max(0, round((packet.pts - packet.dts) * packet.time_base / base))
    length = round((packet.duration or 0) * packet.time_base / base)
    tick = round(at / base)
    if clock.tick is not None:
        tick = max(tick, clock.tick + 1)
    clock.tick = tick
    packet.stream, packet.time_base = stream, base
    packet.dts, packet.pts, packet.duration = tick, tick + late, length
    return tick * base


class _Encoder:
    """A track as AAC. Holes in it become silence, since an encoder counts samples and not times."""

    def __init__(self, stream: Any):
        self._av, self._stream = library(), stream
        self._context = stream.codec_context
        self._fifo: Any = self._av.AudioFifo()
        self._resampler: Any = None
        self._form: tuple[Any, ...] = ()
        self._begin: int | None = None  # of the track, samples
        self._given = self._made = 0  # samples

    def add(self, packet: Any, clock: _Clock) -> Iterator[tuple[Fraction, Any]]:
        at = clock(packet.dts * packet.time_base, (packet.duration or 0) * packet.time_base)
        try:
            frames = packet.decode()
        except (self._av.error.FFmpegError, ValueError):
            return  # what cannot be heard is a hole
        for frame in frames:
            self._silence(at)
            self._put(frame)
            at += Fraction(frame.samples, frame.sample_rate)
        yield from self._encoded()

    def _silence(self, at: Fraction) -> None:
        """Fill what is missing before the time `at`, seconds."""
        sample = round(at * self._context.sample_rate)
        if self._begin is None:
            self._begin = sample
        hole = sample - self._begin - self._given
        if hole > _HOLE * self._context.sample_rate:
            self._write(np.zeros((self._context.layout.nb_channels, hole), np.float32))

    def _put(self, frame: Any) -> None:
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            rate, layout = self._context.sample_rate, self._context.layout.name
            self._resampler, self._form = self._av.AudioResampler("fltp", layout, rate), form
        frame.pts = None
        for one in self._resampler.resample(frame):
            self._write(one.to_ndarray())

    def _write(self, samples: np.ndarray) -> None:
        frame = self._av.AudioFrame.from_ndarray(samples, "fltp", self._context.layout.name)
        frame.sample_rate = self._context.sample_rate
        self._fifo.write(frame)
        self._given += samples.shape[1]

    def _encoded(self, last: bool = False) -> Iterator[tuple[Fraction, Any]]:
        rate = self._context.sample_rate
        while (frame := self._fifo.read(1024, partial=last)) is not None:
            frame.pts, frame.time_base = (self._begin or 0) + self._made, Fraction(1, rate)
            self._made += frame.samples
            yield from self._out(self._stream.encode(frame))

    def _out(self, made: Any) -> Iterator[tuple[Fraction, Any]]:
        for packet in made:
            yield packet.dts * packet.time_base, packet

    def end(self) -> Iterator[tuple[Fraction, Any]]:
        if self._begin is not None:
            yield from self._encoded(last=True)
        yield from self._out(self._stream.encode(None))
