"""Many requests, few runs: requests of equal shape are put together, run once and taken apart again.

A request that the graph refuses is run again alone, so that it fails alone. Pure NumPy; nothing here knows Triton.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .engines import Engine, GraphError
from .rules import TYPES, Tensor, batch_limit, entries, model_dims, shown, states

_NUMPY = {
    type_: np.dtype({"bool": "?", "float": "f4", "double": "f8", "string": "O"}.get(name, name))
    for name, type_ in TYPES.items()
}


@dataclass(frozen=True)
class Item:
    """One request: its arrays by name (views are fine, they are not kept) and the outputs that it asks for."""

    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """Why one request got no answer; `caller` says that its own inputs were at fault."""

    message: str
    caller: bool = False


class Runner:
    """A loaded graph under its config: takes the requests of one execution, gives each its arrays or its failure."""

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

    def run(self, items: Sequence[Item]) -> list[dict[str, np.ndarray] | Failure]:
        """Answers in the order of the items; arrays are contiguous and do not alias the inputs."""
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
        """Strings as text and scalars as rank 0; everything else stays the view that it was."""
        changed = {}
        for name, array in item.inputs.items():
            if name in self._strings:
                changed[name] = _text(name, array)
            elif name in self._scalars and array.ndim:
                changed[name] = array.reshape(())
        return Item({**item.inputs, **changed}, item.outputs) if changed else item

    def _groups(self, ready: Mapping[int, Item]) -> list[list[int]]:
        """Places of requests that may share a run: equal names, types and shapes but for the batch."""
        if not self._batching:
            return [[place] for place in ready]
        found: dict[tuple[Any, ...], list[int]] = {}
        for place, item in ready.items():
            key = tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in item.inputs.items()))
            found.setdefault(key, []).append(place)
        return list(found.values())

    def _alone(self, item: Item) -> dict[str, np.ndarray] | Failure:
        try:
            return self._merged([item])[0]
        except GraphError as error:
            return Failure(str(error), error.caller)

    def _merged(self, group: Sequence[Item]) -> list[dict[str, np.ndarray]]:
        if len(group) == 1:
            feeds = dict(group[0].inputs)
        else:
            feeds = {name: np.concatenate([item.inputs[name] for item in group]) for name in group[0].inputs}
        wanted = [name for name in self._promised if any(name in item.outputs for item in group)]
        arrays = dict(zip(wanted, self._engine.run(wanted, feeds), strict=True)) if wanted else {}
        rows = [_rows(item) for item in group] if self._batching else [0]
        for name, array in arrays.items():
            arrays[name] = self._checked(name, array, sum(rows))
        if len(group) == 1:
            return [{name: _whole(array) for name, array in arrays.items()}]
        results, start = [], 0
        for item, count in zip(group, rows, strict=True):
            part = slice(start, start + count)
            results.append({name: _whole(array[part]) for name, array in arrays.items() if name in item.outputs})
            start += count
        return results

    def _checked(self, name: str, array: np.ndarray, rows: int) -> np.ndarray:
        """An output that keeps the config's promise. Triton would pass a wrong type or shape on to the caller."""
        promised = self._promised[name]
        if array.ndim == 0 and not self._batching:
            array = array.reshape((1,) * len(promised.dims))
        full = (rows, *promised.dims) if self._batching else promised.dims
        if array.ndim != len(full) or any(want not in (-1, have) for want, have in zip(full, array.shape, strict=True)):
            raise GraphError(f"the graph gave output '{name}' the shape {shown(array.shape)}, expected {shown(full)}")
        if array.dtype != _NUMPY[promised.type] and not (promised.type == "TYPE_STRING" and array.dtype.kind in "OUS"):
            raise GraphError(f"the graph gave output '{name}' the type {array.dtype}, expected {promised.type}")
        return array


def _rows(item: Item) -> int:
    return next(iter(item.inputs.values())).shape[0]


def _whole(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _text(name: str, array: np.ndarray) -> np.ndarray:
    """Bytes as `str`: given bytes, ONNX Runtime would take their Python notation, b'...' and all."""
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
