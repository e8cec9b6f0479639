"""Measures the scan of a gallery that is not in memory, against the rate at which the disk reads."""

from __future__ import annotations

import mmap
import os
import threading
import time
from pathlib import Path

import numpy as np

from bench.machine_limits import together
from sluice.methods import matching
from sluice.methods.scan import blocks, cold_files, engine

CHUNK = 8 << 20


class ColdGallery:
    """A file of codes, written past the page cache and removed at the end; its frames repeat those of a block."""

    def __init__(self, path: Path, block: engine.Block, size: int) -> None:
        """Write the file. size: bytes, about."""
        frame = block.codes[0].nbytes
        # Whole pages, because only those can be written past the cache.
        once = len(block.codes) // cold_files.PAGE * cold_files.PAGE or len(block.codes)
        repeats = max(1, size // (once * frame))
        self.path, self.count = path, once * repeats
        with mmap.mmap(-1, once * frame) as buffer:
            buffer[:] = np.ascontiguousarray(block.codes[:once]).data.cast("B")
            file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
            for i in range(repeats):
                for at in range(0, once * frame, CHUNK):
                    part = memoryview(buffer)[at : min(at + CHUNK, once * frame)]
                    os.pwrite(file, part, i * once * frame + at)
                    part.release()
            os.fsync(file)
            os.close(file)
        codes = np.asarray(np.memmap(path, np.uint8, "r", shape=(self.count, *block.codes.shape[1:])))
        tiled = [np.tile(np.asarray(values)[:once], repeats) for values in (block.scale, block.error)]
        self.block = engine.Block(codes, tiled[0], tiled[1], codes)  # the scan does not touch the exact features
        self.once, self.bytes = once, self.count * frame

    def forget(self) -> float:
        """Drop the file from the page cache. Returns the share of the file that stays."""
        file = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
        return cold_files.resident(self.block.codes)

    def read(self, threads: int) -> float:
        """Read the file past the page cache and do nothing with it. Returns bytes per second."""
        file = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
        starts, lock = iter(range(0, self.bytes, CHUNK)), threading.Lock()

        def loop() -> None:
            with mmap.mmap(-1, CHUNK) as buffer:
                while True:
                    with lock:
                        start = next(starts, None)
                    if start is None:
                        return
                    os.preadv(file, [buffer], start)

        started = time.perf_counter()
        together(loop, threads)
        seconds = time.perf_counter() - started
        os.close(file)
        return self.bytes / seconds

    def scan(self, templates: matching.Templates, threads: int) -> tuple[float, np.ndarray]:
        """Score all frames from the disk. Returns seconds, and scores [N, R]."""
        self.forget()
        cacheable = cold_files.CACHEABLE
        cold_files.CACHEABLE = 0.0  # as for a gallery larger than memory, of which nothing stays cached
        try:
            started = time.perf_counter()
            scores, _ = engine.scan(blocks.Scope([self.block], None), templates, "roi", threads)
            return time.perf_counter() - started, scores
        finally:
            cold_files.CACHEABLE = cacheable

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
