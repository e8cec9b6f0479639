"""Writes videos: planes are encoded as H.264 into a journal, and at the end joined with the sound of the input."""

from __future__ import annotations

import errno
import heapq
import io
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..files import whole_files
from ..verbs.enhance import Planes
from . import sound as video_sound
from .journal import Coded, Journal
from .planes import CODES, library, video_frame
from .reader import Facts
from .sound import ENCODED, LEFT_OUT, Sound

__all__ = ["CONTAINERS", "PART", "PRESETS", "Target", "Writer"]

PART = 240  # frames of a part; each part begins with a key frame
LEAST, SECONDS = 24, 30.0  # a part of at least so many frames ends earlier, when it has taken so long
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".m4v": "ipod"}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Target:
    """The new file: what is known of it, and can be tried, before there is a frame.

    source:  the input, whose sound is kept. out: the file to write.
    facts:   of the input, whose time stamps and colours are kept.
    size:    (width, height) of the frames, both even.
    aspect:  width over height of a pixel, or None if the file shall not say.
    matrix, range_: of the planes, as of `Meaning`.
    crf:     H.264's constant rate factor, 0 (lossless) to 51. preset: one of `PRESETS`.
    Raises InvalidRequest for a file that could not be written.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        facts: Facts,
        size: tuple[int, int],
        aspect: Fraction | None,
        matrix: str,
        range_: str,
        crf: int,
        preset: str,
    ):
        self.source, self.out, self.facts, self.size = source, out, facts, size
        self._aspect, self._matrix, self._range = aspect, matrix, range_
        self._options = {"crf": str(crf), "preset": preset}
        self.form = CONTAINERS[out.suffix.lower()]
        if self.form == "matroska" and facts.rate > 1000:
            raise InvalidRequest(
                f"{out.suffix} holds times in whole milliseconds, too coarse for {float(facts.rate):.6g} frames a "
                "second; give --out a name with .mp4."
            )
        self.sounds = video_sound.plan(source, self.form)
        av = library()
        try:
            with av.open(io.BytesIO(), "w", format=self.form) as made, av.open(os.fspath(source)) as given:
                self.video(made)
                video_sound.streams(given, made, self.sounds)
                made.start_encoding()
        except (av.error.FFmpegError, ValueError, OSError, OverflowError) as error:
            raise InvalidRequest(
                f"{size[0]} x {size[1]} at {float(facts.rate):.6g} frames a second cannot be written as "
                f"{out.suffix}: {error}."
            ) from None

    def notes(self) -> list[str]:
        """Return a sentence about each track of sound that is not simply copied."""
        said = []
        for sound in self.sounds:
            if sound.way == ENCODED:
                said.append(f"its sound ({sound.codec}) has no place in {self.out.suffix}; it becomes AAC")
            if sound.way == LEFT_OUT:
                said.append(f"its sound ({sound.codec}) can be neither copied nor decoded; it is left out")
        return said

    def settings(self, context: Any) -> Any:
        """Apply the settings of the encoder to its context, and return the context."""
        facts = self.facts
        context.width, context.height = self.size
        context.pix_fmt = "yuv420p"
        context.time_base, context.framerate = facts.time_base, facts.rate
        context.options = dict(self._options)
        context.colorspace, context.color_range = CODES[self._matrix], CODES[self._range]
        context.color_primaries, context.color_trc = facts.primaries, facts.transfer
        if self._aspect is not None:
            context.sample_aspect_ratio = self._aspect
        return context

    def video(self, made: Any) -> Any:
        """Add the stream of the frames to a new file, and return the stream."""
        stream = made.add_stream("libx264", rate=self.facts.rate)
        self.settings(stream.codec_context)
        stream.time_base = self.facts.time_base
        return stream


class Writer:
    """Encodes frames of one size, in order, after the frames that the journal holds.

    frames: how many frames of the input are done, those that were left out included.
    """

    def __init__(self, journal: Journal, target: Target):
        self._av = library()
        self._journal, self._target = journal, target
        self._encoder: Any = None
        self._in_part, self._ended = 0, time.monotonic()
        self.frames = journal.frames

    def add(self, planes: Planes, stamp: int) -> None:
        """Encode a frame. stamp: in the time base of the input. Raises InvalidRequest for a frame of another size."""
        if (planes.width, planes.height) != self._target.size:
            width, height = self._target.size
            raise InvalidRequest(
                f"All frames of a video have {width} x {height} pixels; frame {self.frames} has "
                f"{planes.width} x {planes.height}."
            )
        if self._encoder is None:
            self._encoder = self._target.settings(self._av.CodecContext.create("libx264", "w"))
        frame = video_frame(planes)
        frame.pts, frame.time_base = stamp, self._target.facts.time_base
        self._packets(self._encoder.encode(frame))
        self.frames += 1
        self._in_part += 1
        late = self._in_part >= LEAST and time.monotonic() - self._ended >= SECONDS
        if self._in_part >= PART or late:
            self.end_part()

    def leave_out(self) -> None:
        """Count a frame that is missing, so that the frames after it keep their numbers."""
        self.frames += 1

    def end_part(self) -> None:
        """End the encoder and mark in the journal that every frame so far is finished."""
        if self._encoder is not None:
            self._packets(self._encoder.encode(None))
            self._journal.mark(self.frames)
            self._encoder, self._in_part = None, 0
            self._ended = time.monotonic()

    def _packets(self, packets: Any) -> None:
        for one in packets:
            self._journal.add(Coded(one.pts, one.duration or 0, one.is_keyframe, bytes(one)))

    def finish(self, jumps: Sequence[Fraction] = ()) -> list[str]:
        """Write one file with all frames and the sound of the input; it is there whole or not at all.

        jumps: by how many seconds the frames were moved forward, one entry per jump.
        Returns one sentence per loss. Sound that cannot be written is left out, so that computed frames are not lost.
        Raises InvalidRequest when the file cannot be written; the journal is then kept.
        """
        self.end_part()
        target = self._target
        beside = whole_files.temporary(target.out, target.out.suffix)
        tries = [target.sounds, [one.encoded() for one in target.sounds], []]
        lost: list[str] = []
        try:
            while True:
                sounds = tries.pop(0)
                try:
                    said = self._mux(beside, sounds, jumps)
                    beside.replace(target.out)
                    return lost + said
                except (self._av.error.FFmpegError, OSError, ValueError, OverflowError) as error:
                    if not tries or not sounds or getattr(error, "errno", None) in _FULL:
                        raise InvalidRequest(
                            f"{target.out} cannot be written: {error}. What was computed is kept; the same command "
                            "goes on from there."
                        ) from None
                    if len(tries) == 1:
                        lost = [f"the sound could not be written, and is left out: {error}"]
        finally:
            beside.unlink(missing_ok=True)

    def _mux(self, out: Path, sounds: Sequence[Sound], jumps: Sequence[Fraction]) -> list[str]:
        """Write frames and sound into a file. Returns one sentence per loss."""
        target = self._target
        with (
            self._av.open(os.fspath(target.source)) as given,
            self._av.open(os.fspath(out), "w", format=target.form) as made,
        ):
            made.metadata.update({key: text for key, text in given.metadata.items() if key not in _OWN})
            stream = target.video(made)
            into = video_sound.streams(given, made, sounds)
            made.start_encoding()  # writes the head of the file, with what decoders must know beforehand
            times = _Times(self._journal, target.facts, stream.time_base)
            sound = video_sound.packets(given, into, sounds, target.form, jumps)
            heard = ((at, 1, packet) for at, packet in sound)
            # In the order of time, so that FFmpeg need not hold back frames or sound.
            for _, _, packet in heapq.merge(self._pictures(stream, times), heard, key=lambda one: one[:2]):
                made.mux(packet)
        if not times.late:
            return []
        return [
            f"{times.late} frames follow the one before by less than {out.suffix} can say, and come later by up to "
            f"{float(times.most * 1000):.3g} ms"
        ]

    def _pictures(self, stream: Any, times: _Times) -> Iterator[tuple[Fraction, int, Any]]:
        """Yield (seconds, 0, packet) of the frames; 0 sorts them before sound of the same time."""
        for coded, (pts, dts, duration) in zip(self._journal.packets(), times, strict=True):
            packet = self._av.Packet(coded.data)
            packet.pts, packet.dts, packet.time_base, packet.duration = pts, dts, stream.time_base, duration
            packet.is_keyframe, packet.stream = coded.key, stream
            yield dts * stream.time_base, 0, packet


_OWN = (
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "ENCODER",
    "DURATION",
)  # metadata about the old container


class _Times:
    """The times at which each packet of the journal is shown and decoded, in ticks of the new file.

    They stand in the order of decoding.

    The encoder's own decoding times cannot be used. The first of each part lie before the first frame of the part, by
    as much as its frames are apart, and so may lie before the end of the previous part. Here a packet is decoded when
    the frame is shown that comes `delay` frames before it. These times increase, and no frame is shown before it is
    decoded.

    late: how many frames share their tick with another and are shown later. most: by how many seconds at most.
    """

    def __init__(self, journal: Journal, facts: Facts, base: Fraction):
        stamps, lengths = journal.times()
        order = sorted(range(len(stamps)), key=stamps.__getitem__)
        self._rank = array("q", bytes(8 * len(order)))
        for rank, place in enumerate(order):
            self._rank[place] = rank
        self._delay = max((place - rank for place, rank in enumerate(self._rank)), default=0)
        ratio = facts.time_base / base
        self._ticks, self.late, self.most = array("q"), 0, Fraction(0)
        for place in order:
            exact = stamps[place] * ratio
            tick = round(exact)
            if self._ticks and tick <= self._ticks[-1]:
                tick = self._ticks[-1] + 1
                self.late += 1
                self.most = max(self.most, (tick - exact) * base)
            self._ticks.append(tick)
        self._step = max(1, round(1 / (facts.rate * base)))
        self._last = round(lengths[order[-1]] * ratio) if order else 0

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield for each packet when its frame is shown, when the packet is decoded, and how long the frame lasts."""
        ticks, delay = self._ticks, self._delay
        for place, rank in enumerate(self._rank):
            dts = ticks[place - delay] if place >= delay else ticks[0] - (delay - place) * self._step
            follows = ticks[rank + 1] - ticks[rank] if rank + 1 < len(ticks) else self._last or self._step
            yield ticks[rank], dts, follows
