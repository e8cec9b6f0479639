"""What is encoded of a video so far, so that an interruption costs a few seconds of it and not all.

A file of records beside the output: a head that tells which work it is, packets as the encoder gave them, and a mark
after each part. A part can be decoded without the others: the encoder is ended with it. What stands behind the last
mark of a file that is opened again is cut off.
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
    """A packet. stamp: when it is shown; it and duration are in the video's time base."""

    stamp: int
    duration: int
    key: bool
    data: bytes


class Journal:
    """frames: that are finished, all told. work: whatever must be the same for going on, as JSON.

    begun: whether there was something to go on from.
    Raises InvalidRequest where there is a journal of other work.
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
        """Cut what is not finished; False where nothing is."""
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
        while len(data := file.read(_RECORD.size)) == _RECORD.size:
            yield _RECORD.unpack(data)

    def add(self, packet: Coded) -> None:
        kind = _KEY if packet.key else _PACKET
        self._write(_RECORD.pack(packet.stamp, packet.duration, kind, len(packet.data)), packet.data)

    def mark(self, frames: int) -> None:
        """So many frames are finished from the beginning; they outlast a power cut from here on."""
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
        """All packets, in the order in which they were added."""
        self._file.flush()
        with open(self.path, "rb") as file:
            file.seek(self._start)
            for stamp, duration, kind, size in self._records(file):
                if kind != _MARK:
                    yield Coded(stamp, duration, kind == _KEY, file.read(size))

    def times(self) -> tuple[array[int], array[int]]:
        """Time stamp and duration of each packet, in that order."""
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
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
