"""Videos out: planes are encoded as H.264 into a journal, and in the end put into one file with the input's audio."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from .enhance import Planes
from .errors import InvalidRequest
from .video import CODES, Facts, library, video_frame
from .video_journal import Coded, Journal

__all__ = ["PART", "PRESETS", "Writer"]

PART = 240  # frames of a part, each of which begins with a key frame; or
LEAST, SECONDS = 24, 30.0  # so many, when they took so long
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


class Writer:
    """Encodes frames of one size, in order.

    facts:  of the input, whose time stamps, range and sample aspect are kept; matrix, range: of the planes.
    width, height: even. crf: 0 (lossless) to 51. Goes on behind the frames that the journal has.
    """

    def __init__(
        self, journal: Journal, facts: Facts, width: int, height: int, matrix: str, range_: str, crf: int, preset: str
    ):
        self._av = library()
        self._journal, self._facts, self._size = journal, facts, (width, height)
        self._matrix, self._range = matrix, range_
        self._options = {"crf": str(crf), "preset": preset}
        self._encoder: Any = None
        self._in_part, self._ended = 0, time.monotonic()
        self.frames = journal.frames

    def add(self, planes: Planes, stamp: int) -> None:
        if (planes.width, planes.height) != self._size:
            raise InvalidRequest(
                f"All frames of a video have {self._size[0]} x {self._size[1]} pixels; frame {self.frames} has "
                f"{planes.width} x {planes.height}.",
                status="LOCAL",
            )
        if self._encoder is None:
            self._encoder = self._settings(self._av.CodecContext.create("libx264", "w"))
        frame = video_frame(planes)
        frame.pts, frame.time_base = stamp, self._facts.time_base
        self._packets(self._encoder.encode(frame))
        self.frames += 1
        self._in_part += 1
        late = self._in_part >= LEAST and time.monotonic() - self._ended >= SECONDS
        if self._in_part >= PART or late:
            self.end_part()

    def end_part(self) -> None:
        """Everything that was added is in the journal, finished."""
        if self._encoder is not None:
            self._packets(self._encoder.encode(None))
            self._journal.mark(self.frames)
            self._encoder, self._in_part = None, 0
            self._ended = time.monotonic()

    def finish(self, source: Path, out: Path) -> None:
        """Put everything into one file, with the sound of `source`; the file is there whole or not at all."""
        self.end_part()
        beside = out.with_name(f".{out.name}.{os.getpid()}.part{out.suffix}")
        try:
            self._mux(source, beside)
            beside.replace(out)
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise InvalidRequest(f"{out} cannot be written: {error}.", status="LOCAL") from None
        finally:
            beside.unlink(missing_ok=True)

    def _settings(self, context: Any) -> Any:
        facts = self._facts
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base, context.framerate = facts.time_base, facts.rate
        context.options = dict(self._options)
        context.colorspace, context.color_range = CODES[self._matrix], CODES[self._range]
        context.color_primaries, context.color_trc = facts.primaries, facts.transfer
        if facts.aspect is not None:
            context.sample_aspect_ratio = facts.aspect
        return context

    def _packets(self, packets: Any) -> None:
        for one in packets:
            self._journal.add(Coded(one.pts, one.dts, one.duration or 0, one.is_keyframe, bytes(one)))

    def _mux(self, source: Path, out: Path) -> None:
        with self._av.open(os.fspath(source)) as given, self._av.open(os.fspath(out), "w") as made:
            stream = made.add_stream("libx264", rate=self._facts.rate)
            self._settings(stream.codec_context)
            stream.time_base = self._facts.time_base
            copies = {one.index: made.add_stream_from_template(one) for one in given.streams.audio}
            made.start_encoding()  # what decoders must know beforehand is written into the file's head
            sound = self._sound(given, copies) if copies else iter(())
            # By time, so that neither has to be held back for the other.
            for _, _, packet in heapq.merge(self._pictures(stream), sound, key=lambda one: one[:2]):
                made.mux(packet)

    def _pictures(self, stream: Any) -> Iterator[tuple[Fraction, int, Any]]:
        base = self._facts.time_base
        for coded in self._journal.packets():
            packet = self._av.Packet(coded.data)
            packet.pts, packet.dts, packet.time_base = coded.pts, coded.dts, base
            if coded.duration:
                packet.duration = coded.duration
            packet.is_keyframe, packet.stream = coded.key, stream
            yield coded.dts * base, 0, packet

    def _sound(self, given: Any, copies: dict[int, Any]) -> Iterator[tuple[Fraction, int, Any]]:
        try:
            for packet in given.demux(*(given.streams[i] for i in copies)):
                if packet.dts is None:
                    continue
                at = packet.dts * packet.time_base
                packet.stream = copies[packet.stream.index]
                yield at, 1, packet
        except self._av.error.FFmpegError:
            return  # a truncated file: what there is of it
