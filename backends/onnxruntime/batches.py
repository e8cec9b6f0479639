"""Puts requests of equal shape together, runs the graph once for all of them, and takes the answers apart again.

A request that the graph refuses is run again alone, so that it fails alone. This is pure NumPy and knows nothing of
Triton.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .engines import Engine, GraphError
from .ragged import Layout, Shapes
from .rules import TYPES, Tensor, batch_limit, entries, model_dims, shown, states

_NUMPY = {
    # NumPy has no bfloat16, so its numbers travel as their 16 bits.
    type_: np.dtype({"bool": "?", "float": "f4", "double": "f8", "string": "O", "bfloat16": "u2"}.get(name, name))
    for name, type_ in TYPES.items()
}


@dataclass(frozen=True)
class Item:
    """One request: its input arrays by name, and the outputs that it asks for.

    Views are allowed, because the arrays are not kept. BF16 arrives as UINT16, its bits. `shapes` are those that the
    caller gave; an empty mapping is filled in from the arrays.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    shapes: Shapes = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return the size of the request's batch axis."""
        return next(iter(self.shapes.values()))[0]


@dataclass(frozen=True)
class Failure:
    """The reason for which a request got no answer. `caller` is True if the request's own inputs were at fault."""

    message: str
    caller: bool = False


class Runner:
    """A loaded graph under its config: takes the requests of one execution, and gives each its arrays or its
    failure."""

    def __init__(self, engine: Engine, config: Mapping[str, Any]):
        self._engine = engine
        self._batching = batch_limit(config) > 0
        self._promised = {
            entry["name"]: Tensor(str(entry["data_type"]), model_dims(entry))
            for entry in ({**state, "name": state["output_name"]} for state in states(config))
        }
        for entry in entries(config, "output"):
            self._promised[entry["name"]] = Tensor(str(entry["data_type"]), model_dims(entry))
        graph = engine.graph
        known = {**graph.inputs, **graph.defaults}
        self._strings = {name for name, tensor in known.items() if tensor.type == "TYPE_STRING"}
        self._scalars = {name for name, tensor in known.items() if not tensor.dims}
        self._ragged = Layout.read(config)

    def run(self, items: Sequence[Item]) -> list[dict[str, np.ndarray] | Failure]:
        """Return the answers in the order of the items. Arrays are contiguous and share no memory with the inputs."""
        answers: list[dict[str, np.ndarray] | Failure] = [Failure("not run")] * len(items)
        ready: dict[int, Item] = {}
        for place, item in enumerate(items):
            try:
                ready[place] = self._prepared(item)
            except GraphError as error:
                answers[place] = Failure(str(error), error.caller)
        for places in self._groups(ready):
            group = [ready[place] for place in places]
            try:
                results: Sequence[dict[str, np.ndarray] | Failure] = self._merged(group)
            except GraphError as error:
                if len(group) == 1:
                    results = [Failure(str(error), error.caller)]
                else:
                    results = [self._alone(item) for item in group]
            for place, result in zip(places, results, strict=True):
                answers[place] = result
        return answers

    def _prepared(self, item: Item) -> Item:
        """Return the item with strings as text and scalars as rank 0; every other array stays the view that it was."""
        changed = {}
        for name, array in item.inputs.items():
            if name in self._strings:
                changed[name] = _text(name, array)
            elif name in self._scalars and array.ndim:
                if array.size != 1:
                    raise GraphError(
                        f"input '{name}' is one number for the whole graph, got shape {shown(array.shape)}; "
                        "send one row a request",
                        caller=True,
                    )
                changed[name] = array.reshape(())
        shapes = {name: array.shape for name, array in item.inputs.items()}
        return replace(item, inputs={**item.inputs, **changed}, shapes=shapes)

    def _groups(self, ready: Mapping[int, Item]) -> list[list[int]]:
        """Return the places of requests that may share a run: names, types and shapes are equal but for the batch.

        A ragged input may have any shape. A scalar input, one number for the whole graph, is never shared with other
        requests.
        """
        if not self._batching or self._scalars:
            return [[place] for place in ready]
        found: dict[tuple[Any, ...], list[int]] = {}
        for place, item in ready.items():
            key = tuple(
                sorted(
                    (name, array.dtype.str, () if name in self._ragged.flat else array.shape[1:])
                    for name, array in item.inputs.items()
                )
            )
            found.setdefault(key, []).append(place)
        return list(found.values())

    def _alone(self, item: Item) -> dict[str, np.ndarray] | Failure:
        """Return the answer of one request that runs by itself, or its failure."""
        try:
            return self._merged([item])[0]
        except GraphError as error:
            return Failure(str(error), error.caller)

    def _merged(self, group: Sequence[Item]) -> list[dict[str, np.ndarray]]:
        """Return the answers of requests that run together."""
        feeds = self._ragged.feeds([item.inputs for item in group])
        wanted = [name for name in self._promised if any(name in item.outputs for item in group)]
        arrays = self._engine.run(wanted, feeds) if wanted else []
        parts = {name: self._parts(name, array, group) for name, array in zip(wanted, arrays, strict=True)}
        return [
            {name: _whole(each[place]) for name, each in parts.items() if name in item.outputs}
            for place, item in enumerate(group)
        ]

    def _parts(self, name: str, array: np.ndarray, group: Sequence[Item]) -> list[np.ndarray]:
        """Return every request's part of an output.

        Sizes other than the batch are those that the graph gave, whatever the config says. A type or a batch size other
        than the config promises is an error.
        """
        promised = self._promised[name]
        if array.dtype != _NUMPY[promised.type] and not (promised.type == "TYPE_STRING" and array.dtype.kind in "OUS"):
            raise GraphError(f"the graph gave output '{name}' the type {array.dtype}, expected {promised.type}")
        if name in self._ragged.sources:
            try:
                return self._ragged.parts(name, array, [item.shapes for item in group])
            except ValueError as error:
                raise GraphError(str(error)) from None
        if not array.ndim:  # the config gives dims for a scalar, as in C++
            array = array.reshape((1,) * max(len(promised.dims), int(self._batching)))
        if not self._batching:
            return [array]
        rows = [item.rows for item in group]
        if array.shape[0] != sum(rows):
            raise GraphError(
                f"the graph gave output '{name}' the shape {shown(array.shape)} for a batch of {sum(rows)}, expected "
                "as many rows; export an open batch, or set max_batch_size: 0"
            )
        return np.split(array, np.cumsum(rows)[:-1]) if len(rows) > 1 else [array]


def _whole(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _text(name: str, array: np.ndarray) -> np.ndarray:
    """Return bytes as `str`. Given bytes, ONNX Runtime would take their Python notation, with b'...' around them."""
    flat = np.empty(math.prod(array.shape), dtype=object)
    try:
        for place, value in enumerate(array.ravel()):
            flat[place] = value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise GraphError(
            f"element {place} of input '{name}' is not UTF-8 text ({error.reason} at byte {error.start}); "
            "encode it as UTF-8",
            caller=True,
        ) from None
    return flat.reshape(array.shape)
