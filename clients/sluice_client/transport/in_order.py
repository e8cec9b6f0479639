"""Several calls under way at the same time, their answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ..options import whole

__all__ = ["in_order", "in_order_async"]

A = TypeVar("A")
B = TypeVar("B")


def in_order(function: Callable[[A], B], items: Iterable[A], in_flight: int) -> Iterator[B]:
    """`map` with at most `in_flight` calls at once. `items` is drawn from only as places come free.

    After an exception nothing more is drawn and what has not begun is dropped; calls under way end by themselves.
    """
    in_flight = whole("in_flight", in_flight, 1)
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="sluice-call")
    try:
        for item in items:
            if len(waiting) >= in_flight:
                yield _result(waiting.popleft())
            waiting.append(pool.submit(function, item))
        while waiting:
            yield _result(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()
        # Not waited for, since this may be Ctrl-C: closing the client cancels them.
        pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[B]) -> B:
    """Its result. Looks up from waiting twice a second: Python sees a Ctrl-C that falls into the moment before a wait
    only when that wait ends, which would be when the server answers."""
    while not future.done():
        wait([future], timeout=0.5)
    return future.result()


async def in_order_async(function: Callable[[A], Awaitable[B]], items: Iterable[A], in_flight: int) -> AsyncIterator[B]:
    """The same with asyncio. Items are drawn (files are read) in a thread, so that the loop never waits for a disk."""
    in_flight = whole("in_flight", in_flight, 1)
    waiting: deque[asyncio.Task[B]] = deque()
    source = iter(items)
    end = object()
    try:
        while True:
            item = await asyncio.to_thread(next, source, end)
            if item is end:
                break
            if len(waiting) >= in_flight:
                yield await waiting.popleft()
            waiting.append(asyncio.ensure_future(function(item)))  # type: ignore[arg-type]
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
