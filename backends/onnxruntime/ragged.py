"""Runs ragged batches: requests of unequal lengths in one run, laid end to end.

An input with `allow_ragged_batch` reaches the graph flat, [-1]. Tensors made of the requests' shapes (`batch_input`)
tell the requests apart; `batch_output` gives every request its part of a flat output. Pure NumPy.

Source: Triton's documentation of ragged batching and the behaviour of its C++ backends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .rules import BATCH_INPUTS, entries

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]  # of one request, by input, batch first

_NUMPY = {"TYPE_INT32": np.dtype("i4"), "TYPE_FP32": np.dtype("f4")}


@dataclass(frozen=True)
class Layout:
    """The ragged batches that a config asks for.

    flat     inputs that are laid end to end.
    made     (kind, source input, type, targets) of the inputs that are made from shapes.
    sources  output -> the input whose shape its parts have.
    """

    flat: frozenset[str]
    made: tuple[tuple[str, str, np.dtype, tuple[str, ...]], ...]
    sources: Mapping[str, str]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Layout:
        """Read the layout of a config that `rules` has passed."""
        return cls(
            frozenset(entry["name"] for entry in entries(config, "input") if entry.get("allow_ragged_batch")),
            tuple(
                (
                    str(entry.get("kind") or BATCH_INPUTS[0]),
                    str(entry["source_input"][0]),
                    _NUMPY[str(entry["data_type"])],
                    tuple(entry["target_name"]),
                )
                for entry in entries(config, "batch_input")
            ),
            {
                str(name): str(entry["source_input"][0])
                for entry in entries(config, "batch_output")
                for name in entry["target_name"]
            },
        )

    def feeds(self, requests: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the inputs of one run over `requests`: ragged ones flat, others joined along the batch, and those made
        of shapes."""
        feeds = {}
        for name, first in requests[0].items():
            parts = [request[name] for request in requests]
            if name in self.flat:
                parts = [part.reshape(-1) for part in parts]
            feeds[name] = (parts[0] if name in self.flat else first) if len(parts) == 1 else np.concatenate(parts)
        for kind, source, dtype, targets in self.made:
            array = described(kind, [request[source].shape for request in requests]).astype(dtype)
            feeds.update(dict.fromkeys(targets, array))
        return feeds

    def parts(self, name: str, array: np.ndarray, requests: Sequence[Shapes]) -> list[np.ndarray]:
        """Return every request's part of a flat output, in the shape of the output's source input.

        Raises ValueError if the output has not as many elements as those shapes.
        """
        shapes = [request[self.sources[name]] for request in requests]
        stops = np.cumsum([math.prod(shape) for shape in shapes])
        if array.size != stops[-1]:
            raise ValueError(f"output '{name}' has {array.size} elements, its requests' inputs have {stops[-1]}")
        pieces = np.split(array.reshape(-1), stops[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def described(kind: str, shapes: Iterable[Shape]) -> np.ndarray:
    """Return a `batch_input` of this kind for requests whose source inputs have these shapes (batch first).

    Counts are of elements, [requests], or one more with a leading zero. The greatest count is the length of a tensor of
    zeros. Shapes are without the batch, one row per item, [items, rank], or all in one row.
    """
    shapes = list(shapes)
    counts = np.array([math.prod(shape) for shape in shapes])
    if kind == "BATCH_ELEMENT_COUNT":
        return counts
    if kind == "BATCH_ACCUMULATED_ELEMENT_COUNT":
        return np.cumsum(counts)
    if kind == "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO":
        return np.concatenate([[0], np.cumsum(counts)])
    if kind == "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE":
        return np.zeros(counts.max(), int)
    items = np.array([shape[1:] for shape in shapes for _ in range(shape[0])])
    return items.reshape(-1) if kind == "BATCH_ITEM_SHAPE_FLATTEN" else items
