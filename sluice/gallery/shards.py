"""Append-only files of features and images: one writer's growing end, any reader's memory-mapped view.

A shard is three files of one name that only grow, and that only one process writes:

    NAME.codes    uint8   [n, P, C]  what the scan reads (sluice.methods.scan.codes)
    NAME.exact    float16 [n, P, C]  what the exact score reads
    NAME.images   the images' encoded bytes, one after the other, each behind its record (sluice.gallery.records)

All frames of a shard have the same grid (P = h * w cells) and the same model version. The catalogue alone says which
slots count. Bytes at the end that no row names (a writer died, a batch was lost) do no harm. The writer holds a lock on
NAME.exact as long as the shard may grow. A process that gets this lock may remove the shard if no row names it, or
become its next writer behind the bytes that are there, which never change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluice.gallery.errors import Damaged, Moved

REPLACE = "put the gallery's files back from a copy, or delete the frame and add its image again"
RESTORE = "put it back from a copy; until then its frames are set aside"

# The locked file is made first and removed last. As long as it is there, its lock says who owns the others.
KINDS = ("exact", "codes", "images")
TYPES = {"codes": np.uint8, "exact": np.float16}


class Writer:
    """The growing end of one shard."""

    def __init__(self, folder: Path, grid: tuple[int, int], channels: int, adopt: str | None = None) -> None:
        """Begin a shard, or continue the shard named `adopt` behind its last byte, whether or not a row names it.

        Raises FileNotFoundError if the shard was removed before its lock was taken, BlockingIOError if another process
        has the lock: a writer, or for a moment a compaction.
        """
        self.folder, self.grid, self.channels = folder, grid, channels
        self.name = adopt or uuid.uuid4().hex
        self.fresh = adopt is None  # True: no row names the shard yet
        self._files: dict[str, int] = {}
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if self.fresh else 0)
        try:
            for kind in KINDS:
                self._files[kind] = os.open(path(folder, self.name, kind), flags, 0o644)
                if kind == "exact":
                    fcntl.flock(self._files[kind], fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._files["exact"]).st_nlink == 0:  # a compaction removed it as unused
                raise FileNotFoundError(errno.ENOENT, "the shard was removed before it was locked")
        except OSError:
            self.abandon(truncate=self.fresh)
            raise
        size = {kind: os.fstat(file).st_size for kind, file in self._files.items()}
        row = grid[0] * grid[1] * channels
        slots = max(-(-size["exact"] // (2 * row)), -(-size["codes"] // row))
        # The bytes that the catalogue may name, and how far this writer has written.
        self.sizes = {"exact": 2 * row * slots, "codes": row * slots, "images": size["images"]}
        self._end = dict(self.sizes)
        self._lengths = size  # the files' lengths as this writer left them

    @property
    def next(self) -> int:
        """The slot of the frame that is appended next."""
        return self._end["exact"] // (2 * self.grid[0] * self.grid[1] * self.channels)

    def append(self, heads: list[bytes], images: list[bytes], codes: np.ndarray, exact: np.ndarray) -> list[int]:
        """Write n frames behind the last. They count only after `sync`, the catalogue's commit and `keep`.

        heads: one record per frame, for the slots from `next` on. codes: uint8 [n, P, C]; exact: float16 [n, P, C].
        Returns the offset of each image. Raises Moved as `check` does.
        """
        self.check()
        offsets, offset = [], self._end["images"]
        for head, image in zip(heads, images, strict=True):
            offsets.append(offset + len(head))
            offset += len(head) + len(image)
        self._write("images", b"".join(part for pair in zip(heads, images, strict=True) for part in pair))
        self._write("exact", np.ascontiguousarray(exact, np.float16).data)
        self._write("codes", np.ascontiguousarray(codes, np.uint8).data)
        return offsets

    def _write(self, kind: str, data: bytes | memoryview) -> None:
        """Write bytes behind the last of one file."""
        view = memoryview(data).cast("B")
        while len(view):
            done = os.pwrite(self._files[kind], view, self._end[kind])
            self._end[kind] += done
            self._lengths[kind] = self._end[kind]
            view = view[done:]

    def check(self) -> None:
        """Raise Moved unless the open files are those at the shard's path, and as long as they were left."""
        for kind, file in self._files.items():
            try:
                there, here = os.stat(path(self.folder, self.name, kind)), os.fstat(file)
                if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and here.st_size >= self._lengths[kind]:
                    continue
            except FileNotFoundError:
                pass
            raise Moved(
                f"the file {self.name}.{kind} of the gallery was removed, replaced or cut while it was being written; "
                "nothing of this batch was stored: send it again, and it goes to another file"
            )

    def sync(self) -> None:
        """Bring everything that was written onto the disk."""
        for kind in KINDS:
            os.fdatasync(self._files[kind])

    def keep(self) -> None:
        """Note that the catalogue names the bytes that were written."""
        self.sizes, self.fresh = dict(self._end), False

    def abandon(self, *, truncate: bool) -> None:
        """Give the shard up.

        truncate: take back what was written since the last `keep`; allowed only if no commit was tried since then.
        """
        for kind, file in reversed(self._files.items()):
            if not truncate:
                continue
            try:
                if not self.fresh:
                    if (
                        os.fstat(file).st_size > self.sizes[kind]
                    ):  # a shorter file was cut by another program, which zeros would not repair
                        os.ftruncate(file, self.sizes[kind])
                else:
                    os.unlink(path(self.folder, self.name, kind))
            except OSError:
                pass  # bytes that no row names do no harm; a compaction removes them
        self.close()

    def close(self) -> None:
        """End the shard. Closing its file releases the lock."""
        while self._files:
            os.close(self._files.popitem()[1])


def path(folder: Path, name: str, kind: str) -> Path:
    """Return the path of a shard's file."""
    return folder / f"{name}.{kind}"


def sync_folder(folder: Path) -> None:
    """Bring new and removed names of a folder onto the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def view(folder: Path, name: str, kind: str, slots: int, cells: int, channels: int) -> np.ndarray:
    """Return the first `slots` frames of a shard's codes or exact features, memory-mapped, read-only: [slots, P, C].

    The view stays valid when the shard grows and when its file is removed, but not when the file is cut: see
    `mapped_length`. Raises FileNotFoundError if the file is gone, Damaged if it is shorter than that.
    """
    shape = (slots, cells, channels)
    try:
        return np.asarray(np.memmap(path(folder, name, kind), TYPES[kind], mode="r", shape=shape))
    except ValueError:  # NumPy's word for a file that ends before
        raise short(name, kind) from None


def features(folder: Path, name: str, slots: Sequence[int], cells: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return copies of the exact features and the codes of some slots of a shard, [len(slots), P, C] each.

    Raises FileNotFoundError, Damaged.
    """
    exact, codes = (
        view(folder, name, kind, max(slots) + 1, cells, channels)[list(slots)] for kind in ("exact", "codes")
    )
    return exact, codes


def mapped_length(view: np.ndarray) -> int:
    """Return how many bytes the file of a `view` has now. The system kills a process that touches what lies behind."""
    base: Any = view
    while not isinstance(base, mmap.mmap):
        base = base.base
    return base.size()


def short(name: str, kind: str) -> Damaged:
    """Return the error for a file that is shorter than the catalogue says."""
    return Damaged(f"the file {name}.{kind} is shorter than the catalogue says; {RESTORE}")


def least(slots: int, row: int, end: int) -> dict[str, int]:
    """Return the bytes that a shard's files must have: `slots` slots of `row` numbers each, and images up to `end`."""
    return {"exact": 2 * slots * row, "codes": slots * row, "images": end}


def trouble(folder: Path, name: str, least: Mapping[str, int]) -> str | None:
    """Return what is wrong with a shard's files at first sight: a file is missing, or has fewer bytes than `least`
    says.

    Returns None if all files are there.
    """
    for kind in KINDS:
        try:
            if path(folder, name, kind).stat().st_size < least[kind]:
                return f"{name}.{kind} is shorter than the catalogue says"
        except FileNotFoundError:
            return f"{name}.{kind} is missing"
    return None


def read(folder: Path, name: str, offset: int, length: int) -> bytes:
    """Return `length` bytes of a shard's images from `offset`; fewer if the file is shorter."""
    with open(path(folder, name, "images"), "rb", buffering=0) as file:
        file.seek(offset)
        data = bytearray(length)
        at = 0
        while at < length:
            done = file.readinto(memoryview(data)[at:])
            if not done:
                break
            at += done
        return bytes(data[:at])


def closed(folder: Path, name: str) -> int | None:
    """Return the lock of a shard that no writer holds, as an open file that the caller must close.

    Returns None if a writer holds it.
    """
    try:
        file = os.open(path(folder, name, "exact"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def room(folder: Path, name: str, limit: int) -> bool:
    """Return whether a shard's exact features have fewer bytes than `limit`."""
    try:
        return path(folder, name, "exact").stat().st_size < limit
    except FileNotFoundError:
        return False


def names(folder: Path) -> set[str]:
    """Return the shards of which at least one file lies in the folder."""
    return {file.stem for file in folder.iterdir() if file.suffix[1:] in KINDS}


def unlink(folder: Path, name: str) -> int:
    """Remove a shard's files. Returns the bytes that this frees once the last reader has let go."""
    freed = 0
    for kind in reversed(KINDS):
        try:
            freed += path(folder, name, kind).stat().st_size
            path(folder, name, kind).unlink()
        except FileNotFoundError:
            pass
    return freed


def size(folder: Path) -> int:
    """Return the bytes of all files of all shards."""
    total = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a compaction may be at work
            total += file.stat().st_size
    return total
