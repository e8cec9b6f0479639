"""Runs several calls at the same time and gives their answers in order, in threads or in tasks of an event loop.

Everything in which the synchronous and the asyncio client differ, apart from the transports, is here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ..options import whole

__all__ = ["AsyncSignal", "Signal", "chained", "in_order", "in_order_async"]

A = TypeVar("A")
B = TypeVar("B")


def in_order(function: Callable[[A], B], items: Iterable[A], in_flight: int) -> Generator[B, None, None]:
    """Yield `function(item)` of each item, in order, with at most `in_flight` calls at once, each in a thread.

    An item is drawn only when a call can take it. After an exception, or when the caller leaves the iteration, nothing
    more is drawn and calls that have not begun are dropped; calls under way end by themselves.
    Raises InvalidRequest unless `in_flight` is a whole number of at least 1.
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
        # Threads are not waited for: if Ctrl-C came, closing the client ends their calls.
        pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[B]) -> B:
    """Wait for a future and return its result.

    Each wait lasts half a second at most. Python notices a Ctrl-C that comes just before a wait only when the wait
    ends, and an unlimited wait would end only when the server answers.
    """
    while not future.done():
        wait([future], timeout=0.5)
    return future.result()


async def in_order_async(
    function: Callable[[A], Awaitable[B]], items: Iterable[A], in_flight: int
) -> AsyncGenerator[B, None]:
    """Yield the results as `in_order` does, with a task per call. Tasks under way are cancelled at the end.

    Items are drawn in a thread, so that the event loop never waits for the disk from which an item is read.
    """
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
            waiting.append(asyncio.ensure_future(function(item)))  # type: ignore[arg-type]  # no longer `end`
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


Signal = threading.Event


class AsyncSignal:
    """The methods of `Signal` for tasks of one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the signal is set, at most `timeout` seconds (None: without limit). Returns whether it is set."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            pass
        return self.is_set()


S = TypeVar("S", Signal, AsyncSignal)


def chained(items: Iterable[A], signal: Callable[[], S]) -> Iterator[tuple[A, S, S]]:
    """Pair each item with two signals: one that is set when the previous item's call has begun, and one that the call
    of this item must set when it has begun. The first signal of the first item is set from the start."""
    before = signal()
    before.set()
    for item in items:
        begun = signal()
        yield item, before, begun
        before = begun
