"""Keeps the encoded part of a video on disk, so that an interruption costs a few seconds of work and not all of it.

The journal is a file of records beside the output: a head that identifies the work, packets as the encoder gave them,
and a mark after each part. The encoder is ended with each part, so that parts can be decoded without each other. When a
journal is opened again, everything after its last mark is cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import InvalidRequest, unwritten

__all__ = ["Coded", "Journal"]

_HEAD = b"sluice-journal-2\n"
_RECORD = struct.Struct("<qqBI")  # time stamp, duration, kind, bytes
_PACKET, _KEY, _MARK = 0, 1, 2


class Coded(NamedTuple):
    """An encoded packet. stamp: when its frame is shown. Stamp and duration are in the time base of the video."""

    stamp: int
    duration: int
    key: bool
    data: bytes


class Journal:
    """A journal, opened for appending.

    work:   everything that must be the same for the work to be continued, as JSON.
    frames: how many frames are finished, those of earlier runs included.
    begun:  whether the file held finished frames when it was opened.
    Raises InvalidRequest where the file is the journal of other work with finished frames.
    """

    def __init__(self, path: Path, work: dict[str, Any]):
        self.path, self.frames = path, 0
        head = _HEAD + json.dumps(work, sort_keys=True).encode() + b"\n"
        try:
            self.begun = path.exists() and self._resume(head)
            self._file: BinaryIO = open(path, "ab" if self.begun else "wb")  # noqa: SIM115 - closed by `close`
            if not self.begun:
                self._file.write(head)
        except OSError as error:
            raise unwritten(path, error) from None
        self._start = len(head)

    def _resume(self, head: bytes) -> bool:
        """Cut off what is not finished. Returns False where no frame is finished."""
        with open(self.path, "rb+") as file:
            there = file.read(len(_HEAD))
            there += file.readline()
            if not there.startswith(_HEAD) or not there.endswith(b"\n"):
                return False
            end = file.tell()
            for stamp, _, kind, size in self._records(file):
                if kind == _MARK:
                    self.frames, end = stamp, file.tell()
                else:
                    file.seek(size, os.SEEK_CUR)
            if there != head:
                finished, self.frames = self.frames, 0
                if finished:
                    raise InvalidRequest(
                        f"{self.path} is the unfinished part of other work (another input, or other options); "
                        "go on with those, or give --restart to throw it away."
                    )
                return False
            file.truncate(end)
        return self.frames > 0

    @staticmethod
    def _records(file: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
        """Read heads of records until one is cut off; the caller reads or skips the bytes that follow each."""
        while len(data := file.read(_RECORD.size)) == _RECORD.size:
            yield _RECORD.unpack(data)

    def add(self, packet: Coded) -> None:
        """Append a packet. Raises InvalidRequest or CannotWrite when that fails."""
        kind = _KEY if packet.key else _PACKET
        self._write(_RECORD.pack(packet.stamp, packet.duration, kind, len(packet.data)), packet.data)

    def mark(self, frames: int) -> None:
        """Record that the first `frames` frames are finished. From then on they survive a power cut."""
        self.frames = frames
        self._write(_RECORD.pack(frames, 0, _MARK, 0))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, *data: bytes) -> None:
        try:
            self._file.writelines(data)
        except OSError as error:
            raise unwritten(self.path, error) from None

    def packets(self) -> Iterator[Coded]:
        """Read all packets, in the order in which they were added."""
        self._file.flush()
        with open(self.path, "rb") as file:
            file.seek(self._start)
            for stamp, duration, kind, size in self._records(file):
                if kind != _MARK:
                    yield Coded(stamp, duration, kind == _KEY, file.read(size))

    def times(self) -> tuple[array[int], array[int]]:
        """Return time stamp and duration of each packet, in the order in which they were added."""
        self._file.flush()
        stamps, lengths = array("q"), array("q")
        with open(self.path, "rb") as file:
            file.seek(self._start)
            for stamp, duration, kind, size in self._records(file):
                if kind != _MARK:
                    stamps.append(stamp)
                    lengths.append(duration)
                    file.seek(size, os.SEEK_CUR)
        return stamps, lengths

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Close and delete the journal."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
