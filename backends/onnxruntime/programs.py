"""Keeps the programs that OpenVINO compiles of a graph: one with open sizes, or one for each shape.

A program for one shape is 4 to 34 % faster than the program with open sizes (docs/decisions/onnxruntime-backend.md),
and its bf16 differs in the last bits. So a graph is served in one of the two ways and never in both: the same input
then always passes through the same program, whatever came before and however it was batched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]
Key = tuple[tuple[str, tuple[int, ...]], ...]


class Programs:
    """The programs of one graph.

    compiled: of the graph for given shapes by input, or with open sizes for None.
    most:     programs for one shape that are kept, at least 1; of more shapes, the last used are kept and the others
              compiled again. 0 serves all shapes with the program with open sizes, which is compiled at once.
    """

    def __init__(self, compiled: Callable[[Shapes | None], Any], most: int):
        self._compiled, self._most = compiled, most
        self._open = None if most else compiled(None).create_infer_request()
        self._kept: OrderedDict[Key, Any] = OrderedDict()

    def run(self, feeds: Arrays) -> list[np.ndarray]:
        """Return all outputs, in the graph's order. Programs for one shape take the rows of a batch one by one."""
        if self._open is not None:
            return _run(self._open, feeds)
        found = [_run(self._program(row), row) for row in _rows(feeds)]
        return found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _program(self, feeds: Arrays) -> Any:
        """Return the program for the shapes of these inputs; it is compiled if it is not kept."""
        key = tuple(sorted((name, array.shape) for name, array in feeds.items()))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if len(self._kept) == self._most:
            self._kept.popitem(last=False)  # before the next one, so that no more than `most` are ever in memory
        self._kept[key] = self._compiled(dict(key)).create_infer_request()
        return self._kept[key]


def _rows(feeds: Arrays) -> Iterator[Arrays]:
    """Yield a batch of one per row. A scalar input is the same for all rows."""
    count = next((array.shape[0] for array in feeds.values() if array.ndim), 1)
    for row in range(count):
        yield {name: array[row : row + 1] if array.ndim else array for name, array in feeds.items()}


def _run(request: Any, feeds: Arrays) -> list[np.ndarray]:
    # Outputs are copied, because the next run writes to the library's buffers again. Inputs are shared.
    found = request.infer(dict(feeds), share_inputs=True, share_outputs=False)
    return [found[place] for place in range(len(found))]
