"""Carries the sound of a video into the new file: copied where the new file can hold it, else encoded as AAC.

Times of the sound increase, and where the times of the frames were moved forward, those of the sound are, too.
"""

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
_TRIED = 8  # packets written to find out whether a container takes a codec; some are refused only when written
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # of AAC
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_NEAR = Fraction(1, 2)  # seconds by which the jumps of sound and of frames may differ to count as the same jump
_HOLE = Fraction(1, 10)  # seconds; longer holes are filled with silence, shorter ones come from how recorders count


@dataclass(frozen=True)
class Sound:
    """A track of sound. index: FFmpeg's number of the stream. way: `COPIED`, `ENCODED` or `LEFT_OUT`."""

    index: int
    codec: str
    way: str

    def encoded(self) -> Sound:
        """Return the track with `ENCODED` in the place of `COPIED`."""
        return replace(self, way=ENCODED if self.way == COPIED else self.way)


def plan(source: Path, form: str) -> list[Sound]:
    """Find out by trying what can become of each track of sound of a file. form: FFmpeg's name of the container."""
    with library().open(os.fspath(source)) as given:
        numbers = [(one.index, one.codec_context.name if one.codec_context else "") for one in given.streams.audio]
    ways = []
    for index, codec in numbers:
        way = COPIED if _takes(source, index, form) else ENCODED if _decodes(source, index) else LEFT_OUT
        ways.append(Sound(index, codec or "unknown to FFmpeg", way))
    return ways


def _takes(source: Path, index: int, form: str) -> bool:
    """Tell whether the container takes the first packets of this track as they are."""
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
    """Tell whether FFmpeg can decode one of the first packets of this track."""
    av = library()
    with av.open(os.fspath(source)) as given:
        for packet in _some(given, index):
            with contextlib.suppress(av.error.FFmpegError, ValueError, AttributeError):
                if packet.decode():
                    return True
    return False


def _some(given: Any, index: int) -> Iterator[Any]:
    """Yield the first packets of a track."""
    return itertools.islice(_read(given, [index]), _TRIED)


def streams(given: Any, made: Any, sounds: Sequence[Sound]) -> dict[int, Any]:
    """Add the streams for these tracks to the new file. Returns number of the track -> its stream."""
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
    """Yield (seconds, packet) of the tracks, for a new file whose head has been written.

    into:  number of a track -> its stream in the new file.
    form:  FFmpeg's name of the container of the new file.
    jumps: by how many seconds the frames were moved forward, one entry per jump.
    """
    clocks = {index: _Clock(jumps) for index in into}
    encoders = {sound.index: _Encoder(into[sound.index]) for sound in sounds if sound.way == ENCODED}
    moved = form == "matroska" and "mp4" in given.format.name
    # In MP4 the priming samples of an AAC encoder lie before 0, where players skip them. Matroska has no times below 0,
    # so that all other packets would be moved for their sake.
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
    """Yield the packets of these streams; of a truncated file, those that can be read."""
    if numbers:  # without a number, FFmpeg would give the packets of all streams
        with contextlib.suppress(library().error.FFmpegError):
            for packet in given.demux(*(given.streams[index] for index in numbers)):
                if packet.dts is not None and packet.size:
                    yield packet


class _Clock:
    """Makes the times of a track increase, by moving them forward where they jump back.

    They are moved as far as the frames were, where that is about the same, so that sound and frames stay together;
    otherwise as far as makes them follow without a gap. jumps: by how many seconds the frames were moved.
    """

    def __init__(self, jumps: Sequence[Fraction]):
        self._jumps, self._moved = jumps, Fraction(0)
        self._last: Fraction | None = None
        self._end = Fraction(0)
        self.tick: int | None = None  # time of the last copied packet, in ticks of the new file

    def __call__(self, at: Fraction, seconds: Fraction) -> Fraction:
        """Return the time in the new file of a packet at `at` that lasts `seconds`; all are in seconds."""
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
    """Move a packet to the stream of the new file, with a time that increases. Returns the time in seconds."""
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
    """Encodes a track as AAC. Holes become silence, because an encoder counts samples instead of reading times."""

    def __init__(self, stream: Any):
        self._av, self._stream = library(), stream
        self._context = stream.codec_context
        self._fifo: Any = self._av.AudioFifo()
        self._resampler: Any = None
        self._form: tuple[Any, ...] = ()
        self._begin: int | None = None  # where the track begins, samples
        self._given = self._made = 0  # samples taken in, samples encoded

    def add(self, packet: Any, clock: _Clock) -> Iterator[tuple[Fraction, Any]]:
        """Take a packet in, and yield (seconds, packet) of what is encoded by then."""
        at = clock(packet.dts * packet.time_base, (packet.duration or 0) * packet.time_base)
        try:
            frames = packet.decode()
        except (self._av.error.FFmpegError, ValueError):
            return  # what cannot be decoded becomes a hole
        for frame in frames:
            self._silence(at)
            self._put(frame)
            at += Fraction(frame.samples, frame.sample_rate)
        yield from self._encoded()

    def _silence(self, at: Fraction) -> None:
        """Fill a hole before the time `at`, seconds."""
        sample = round(at * self._context.sample_rate)
        if self._begin is None:
            self._begin = sample
        hole = sample - self._begin - self._given
        if hole > _HOLE * self._context.sample_rate:
            self._write(np.zeros((self._context.layout.nb_channels, hole), np.float32))

    def _put(self, frame: Any) -> None:
        """Take in decoded samples, resampled to the form of the encoder."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            rate, layout = self._context.sample_rate, self._context.layout.name
            self._resampler, self._form = self._av.AudioResampler("fltp", layout, rate), form
        frame.pts = None
        for one in self._resampler.resample(frame):
            self._write(one.to_ndarray())

    def _write(self, samples: np.ndarray) -> None:
        """Queue samples, float32 [channels, n]."""
        frame = self._av.AudioFrame.from_ndarray(samples, "fltp", self._context.layout.name)
        frame.sample_rate = self._context.sample_rate
        self._fifo.write(frame)
        self._given += samples.shape[1]

    def _encoded(self, last: bool = False) -> Iterator[tuple[Fraction, Any]]:
        """Encode queued samples in blocks of 1,024; the last block may be shorter."""
        rate = self._context.sample_rate
        while (frame := self._fifo.read(1024, partial=last)) is not None:
            frame.pts, frame.time_base = (self._begin or 0) + self._made, Fraction(1, rate)
            self._made += frame.samples
            yield from self._out(self._stream.encode(frame))

    def _out(self, made: Any) -> Iterator[tuple[Fraction, Any]]:
        for packet in made:
            yield packet.dts * packet.time_base, packet

    def end(self) -> Iterator[tuple[Fraction, Any]]:
        """Yield (seconds, packet) of the rest of the track."""
        if self._begin is not None:
            yield from self._encoded(last=True)
        yield from self._out(self._stream.encode(None))
