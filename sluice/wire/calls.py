"""Calls of other models, many at the same time, and tensors of text.

`call(model, inputs, outputs)` asks another model. Inside Triton `call` is `sluice.triton.PythonModel.call`; benchmarks
and tests pass a function that does the work in their own process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sluice import options
from sluice.errors import InvalidArgument
from sluice.options import text

Call = Callable[[str, Mapping[str, np.ndarray], Iterable[str]], Awaitable[dict[str, np.ndarray]]]
Tensors = dict[str, Any]

Item = TypeVar("Item")
Result = TypeVar("Result")


async def each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], in_flight: int, check: Callable[[], None]
) -> list[Result]:
    """Work on every item, on at most `in_flight` at the same time; return the results in the order of the items.

    check: raises Cancelled when the caller has gone; called before each item.
    Raises what work on any item raises, after ending the work on the others.
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
    """Return all elements of an optional input of texts; None if the input was not given."""
    return [text(value) for value in inputs[name].reshape(-1)] if name in inputs else None


def json_object(
    inputs: Mapping[str, np.ndarray], name: str = "OPTIONS", known: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the JSON object of an optional input of one string; {} if the input was not given, or is empty.

    known: the names that the object may have; None allows any.
    Raises InvalidArgument for what is not a JSON object, and for an unknown name.
    """
    given = texts(inputs, name)
    return options.json_object(given[0] if given else "", name, known)


def check_count(what: str, count: int, most: int) -> None:
    """Raise InvalidArgument unless a request holds 1 to `most` of something. what: its name in the plural."""
    if not 0 < count <= most:
        raise InvalidArgument(f"a request holds 1 to {most:,} {what}, got {count:,}; split it")


def strings(values: Iterable[str | bytes]) -> np.ndarray:
    """Return texts or bytes as Triton's form of strings: an object array [n] of bytes."""
    rows = [value.encode() if isinstance(value, str) else value for value in values]
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def json_strings(values: Iterable[Any]) -> np.ndarray:
    """Return each value as JSON, in an array as `strings` makes it."""
    return strings(json.dumps(value) for value in values)
