"""Reads codes that lie on the disk and not in memory, faster than page faults would.

A mapped file that is not in the page cache is read at a fraction of the disk's rate, and a gallery larger than memory
never stays in the cache. Such blocks are read with `preadv` into buffers of the scan's threads. If all codes together
would fit into memory, they are read through the page cache, so that the next scan finds them there; if not, past it
(O_DIRECT).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PAGE = mmap.PAGESIZE
# Share of a block that must be in memory for its mapping to be used as it is.
RESIDENT = 0.9
# Share of the machine's memory that codes may fill before they are read past the page cache.
CACHEABLE = 0.5
# Blocks of fewer bytes stay mapped: asking where they lie costs more than it saves.
SMALL = 1 << 24


@dataclass(frozen=True)
class Source:
    """An open file that holds the codes of a block's frames one after the other, frame i at offset + i·size."""

    file: int  # descriptor
    offset: int  # bytes
    shape: tuple[int, int]  # P, C of a frame, one byte per code

    @property
    def size(self) -> int:
        """Return the bytes of one frame."""
        return self.shape[0] * self.shape[1]

    def read(self, start: int, end: int, buffer: mmap.mmap) -> np.ndarray:
        """Read the frames [start, end) into a buffer: uint8 [n, P, C], a view of the buffer.

        buffer: at least `room` bytes. Raises OSError when the file ends before the last frame.
        """
        first = self.offset + start * self.size
        last = self.offset + end * self.size
        aligned = first // PAGE * PAGE  # O_DIRECT takes offset, length and memory in whole pages
        length = -(-(last - aligned) // PAGE) * PAGE
        done = 0
        while done < last - aligned:
            got = os.preadv(self.file, [memoryview(buffer)[done:length]], aligned + done)
            done += got if done + got >= last - aligned else got // PAGE * PAGE  # go on from a whole page
            if got < PAGE and done < last - aligned:
                raise OSError("a shard of the gallery is shorter than its catalogue says; restore it from a copy")
        return np.frombuffer(buffer, np.uint8, last - first, first - aligned).reshape(-1, *self.shape)


def room(frames: int, size: int) -> int:
    """Return the bytes of a buffer that holds so many frames of `size` bytes each."""
    return (-(-frames * size // PAGE) + 2) * PAGE


def sources(blocks: Sequence[np.ndarray]) -> list[Source | None]:
    """Open the files of the mapped codes, uint8 [n, P, C] per block, that are read faster than mapped.

    Returns one entry per block, None for a block that stays mapped. A block stays mapped if it is small or in memory,
    or if its file cannot be opened or has been replaced. `close` closes the files.
    """
    direct = sum(codes.nbytes for codes in blocks) > CACHEABLE * memory()
    found: list[Source | None] = []
    for codes in blocks:
        place = _file(codes) if codes.nbytes >= SMALL and resident(codes) < RESIDENT else None
        found.append(None if place is None else _open(*place, codes, direct))
    return found


def close(found: Sequence[Source | None]) -> None:
    """Close the files that `sources` opened."""
    for source in found:
        if source is not None:
            os.close(source.file)


def memory() -> int:
    """Return the bytes of memory of this machine, or of this container if its limit is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            return min(physical, int(file.read()))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return physical


def resident(array: np.ndarray) -> float:
    """Return the share of the pages of a contiguous array that are in memory; 1 if the system does not tell."""
    start = array.ctypes.data // PAGE * PAGE
    pages = -(-(array.ctypes.data + array.nbytes - start) // PAGE)
    states = np.zeros(pages, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(pages * PAGE), states.ctypes.data_as(ctypes.c_void_p))
    return 1.0 if failed or not pages else float((states & 1).mean())


def _file(array: np.ndarray) -> tuple[str, int] | None:
    """Return path and offset in bytes of the file behind a contiguous view of a `np.memmap`; None for other arrays."""
    base: Any = array
    while isinstance(base, np.ndarray) and not (isinstance(base, np.memmap) and not isinstance(base.base, np.ndarray)):
        base = base.base
    if not isinstance(base, np.memmap) or base.filename is None or not array.flags.c_contiguous:
        return None
    return str(base.filename), base.offset + array.ctypes.data - base.ctypes.data


def _open(path: str, offset: int, codes: np.ndarray, direct: bool) -> Source | None:
    """Open the file of mapped codes, past the page cache if `direct`; None if it cannot be opened or holds others."""
    for flags in (os.O_DIRECT, 0) if direct else (0,):
        try:
            source = Source(os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags), offset, (codes.shape[1], codes.shape[2]))
        except OSError:  # gone, or on a file system without O_DIRECT
            continue
        # Another file of the same name may have replaced the mapped one.
        with mmap.mmap(-1, room(1, source.size)) as buffer:
            try:
                same = np.array_equal(source.read(0, 1, buffer), codes[:1])
            except OSError:
                same = False
        if same:
            return source
        os.close(source.file)
    return None
