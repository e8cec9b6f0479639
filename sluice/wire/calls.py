"""What the verbs' loops need to call other models: many requests in flight, and tensors of text.

`call(model, inputs, outputs)` asks another model: inside Triton that is `sluice.triton.PythonModel.call`; a benchmark
or a test hands in a function that does the work in its own process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sluice.errors import InvalidArgument
from sluice.options import parsed, text

Call = Callable[[str, Mapping[str, np.ndarray], Iterable[str]], Awaitable[dict[str, np.ndarray]]]
Tensors = dict[str, Any]

Item = TypeVar("Item")
Result = TypeVar("Result")


async def each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], in_flight: int, check: Callable[[], None]
) -> list[Result]:
    """`work` on every item, at most `in_flight` at the same time; the results in the order of the items.

    check: raises Cancelled when the caller has gone; asked before each item.
    What one of them raises ends the others and is raised.
    """
    places = asyncio.Semaphore(in_flight)

    async def one(item: Item) -> Result:
        async with places:
            check()
            return await work(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def texts(inputs: Mapping[str, np.ndarray], name: str) -> list[str] | None:
    """All elements of an optional input; None where it was not given."""
    return [text(value) for value in inputs[name].reshape(-1)] if name in inputs else None


def json_object(inputs: Mapping[str, np.ndarray], name: str = "OPTIONS") -> dict[str, Any]:
    """The JSON object of an optional input of one string; {} where it was not given, or empty."""
    given = texts(inputs, name)
    value = parsed((given[0] if given else "") or "{}", name)
    if not isinstance(value, dict):
        raise InvalidArgument(f"{name} is a JSON object, got {str(value)[:80]}")
    return value


def strings(values: Iterable[str | bytes]) -> np.ndarray:
    """Object array [n] of bytes, Triton's form of strings."""
    rows = [value.encode() if isinstance(value, str) else value for value in values]
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def json_strings(values: Iterable[Any]) -> np.ndarray:
    """Each value as JSON, as `strings`."""
    return strings(json.dumps(value) for value in values)
