"""Frames that a search may find, in blocks as they lie on the disk, and threads that share the work on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.methods.scan.sums import Sums


@dataclass(frozen=True)
class Block:
    """Frames that lie together, such as one shard; the arrays may be memory-mapped. Blocks may differ in P.

    codes: uint8 [n, P, C], scale: float32 [n], error: float32 [n], as in `scan.codes.Codes`.
    exact: float16 [n, P, C], the features that the codes were made from.
    valid: bool [n, P], the cells on the image; None means all cells. A cell off the image must repeat a cell on it, so
           that no maximum over cells changes; only the forms 'image' and 'mean' look at `valid`.
    sums:  check sums of codes and features; None means that neither is checked.
    """

    codes: np.ndarray
    scale: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    valid: np.ndarray | None = None
    sums: Sums | None = None


class Scope:
    """The frames that may be found, numbered from 0 over all blocks.

    block, row: int64 [N], the place of each frame; rows ascend within a block. count: N.

    rows: per block the positions allowed, each once; None for all positions of a block, or of all blocks.
    """

    def __init__(self, blocks: Sequence[Block], rows: Sequence[np.ndarray | None] | None) -> None:
        chosen: Iterable[np.ndarray | None] = [None] * len(blocks) if rows is None else rows
        self.blocks = blocks
        self.rows = [
            np.arange(len(block.codes)) if own is None else np.sort(np.asarray(own, np.int64))
            for block, own in zip(blocks, chosen, strict=True)
        ]
        self.block = np.repeat(np.arange(len(blocks)), [len(own) for own in self.rows])
        self.row = np.concatenate([*self.rows, np.empty(0, np.int64)])
        self.count = len(self.row)

    def gather(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Pick the values of the scope's frames, [N], from values per block and position, [n] each."""
        parts = [np.asarray(own)[rows] for own, rows in zip(values, self.rows, strict=True)]
        return np.concatenate([*parts, np.empty(0, np.int64)])


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return array[rows] for rows that ascend; as a view, without copying, if they follow one another."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return array[rows[0] : rows[-1] + 1]
    return array[rows]


def share(
    tasks: Iterable[Any], worker: Callable[[], Callable[[Any], None]], threads: int, watch: Callable[[], None]
) -> None:
    """Do tasks on several threads, the calling one among them, and return when all are done.

    worker: called once per thread; returns the function that does one task.
    watch: called before each task; may raise to end the work.
    Raises the first exception that a task or `watch` raised; no further task is begun then.
    """
    todo, lock = iter(tasks), threading.Lock()
    failures: list[BaseException] = []

    def loop() -> None:
        try:
            work = worker()
            while not failures:
                with lock:
                    task = next(todo, None)
                if task is None:
                    return
                watch()
                work(task)
        except BaseException as failure:
            failures.append(failure)

    others = [threading.Thread(target=loop, daemon=True) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    loop()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
