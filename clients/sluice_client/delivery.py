"""How both clients move calls: each is tried again while the server is absent or full, until its deadline.

What is asked and answered stands in the verbs' own files, and what a caller sees in `client` and `aio`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from typing import Protocol, TypeVar

from .answers.enhance import Begun, Enhanced
from .answers.enhance import Reader as EnhancedReader
from .answers.ingest import Receipt
from .answers.sample import Collector
from .answers.sample_events import Event, OnEvent, Reader
from .errors import Cancelled, DeadlineExceeded, Unavailable
from .tensors import Call, Tensors
from .transport.in_order import in_order, in_order_async
from .transport.protocol import AsyncTransport, Transport
from .transport.retry import Attempts, Retry
from .verbs import ingest
from .verbs.ingest import Batch

__all__ = ["Asking", "AsyncAsking", "Work"]

E = TypeVar("E", covariant=True)

T = TypeVar("T")
R = TypeVar("R", covariant=True)


class Work(Protocol[R]):
    """One call of many. request: None where there is nothing to ask; then `answer` gets None."""

    def request(self) -> Call | None: ...
    def answer(self, tensors: Tensors | None) -> R: ...


class Reads(Protocol[E]):
    """Turns the answers of one stream into events; `finish` raises where its end has not come."""

    def event(self, tensors: Tensors) -> E: ...
    def finish(self) -> None: ...


class Asking:
    """The moving part of the synchronous client."""

    timeout: float
    retry: Retry
    on_retry: Callable[[Unavailable, float], None] | None
    _transport: Transport
    _closed: threading.Event

    def _ask(self, call: Call, answer: Callable[[Tensors], T], timeout: float | None) -> T:
        return answer(self._send(call, self.timeout if timeout is None else timeout))

    def _do(self, work: Work[T], timeout: float | None) -> T:
        call = work.request()
        return work.answer(None) if call is None else self._ask(call, work.answer, timeout)

    def _send(self, call: Call, timeout: float) -> Tensors:
        attempts = Attempts(self.retry, timeout, self._clock())
        while True:
            try:
                return self._transport.infer(call, attempts.remaining(self._clock()))
            except Unavailable as error:
                self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None

    def _events(self, call: Call, timeout: float | None) -> Generator[Event, None, None]:
        yield from self._read(call, timeout, Reader())

    def _read(self, call: Call, timeout: float | None, reader: Reads[T]) -> Generator[T, None, None]:
        timeout = self.timeout if timeout is None else timeout
        attempts = Attempts(self.retry, timeout, self._clock())
        begun = False
        while True:
            left = attempts.remaining(self._clock())
            try:
                with closing(self._transport.stream(call, left, timeout)) as answers:
                    for tensors in answers:
                        begun = True
                        yield reader.event(tensors)
                break
            except Unavailable as error:
                if begun:
                    raise  # what was told cannot be told again
                self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise error if begun else attempts.ended(error, self._clock()) from None
        reader.finish()

    def _enhanced(
        self, calls: Iterable[Call], in_flight: int, timeout: float | None
    ) -> Generator[Enhanced, None, None]:
        """The frames of a stream, in order. A request is sent when the one before has its place at the server."""
        left = threading.Event()

        def one(turn: tuple[Call, threading.Event, threading.Event]) -> list[Enhanced]:
            call, before, begun = turn
            frames = []
            try:
                before.wait()
                with closing(self._read(call, timeout, EnhancedReader())) as events:
                    for event in events:
                        if left.is_set():
                            break
                        if isinstance(event, Begun):
                            begun.set()
                        elif isinstance(event, Enhanced):
                            frames.append(event)
            finally:
                begun.set()
            return frames

        turns = chained(calls, threading.Event)
        try:
            for frames in in_order(one, turns, in_flight):
                yield from frames
        finally:
            left.set()

    def _collect(
        self, call: Call, on_event: OnEvent | None, timeout: float | None, own: Callable[[Event], Event] | None = None
    ) -> Collector:
        collected = Collector()
        with closing(self._events(call, timeout)) as events:
            for event in events if own is None else map(own, events):
                collected.add(event)
                if on_event is not None:
                    on_event(event)
        return collected

    def _wait(self, attempts: Attempts, error: Unavailable) -> None:
        wait = attempts.wait_after(error, self._clock())
        if self.on_retry is not None:
            self.on_retry(error, wait)
        self._sleep(wait)

    def _add(self, batch: Batch, timeout: float | None) -> list[Receipt]:
        """Store one batch; what the server could not store just now is sent again until the deadline."""
        timeout = self.timeout if timeout is None else timeout
        attempts = Attempts(self.retry, timeout, self._clock())
        left = attempts.remaining(self._clock())
        receipts = self._add_once(batch, left)
        while again := [place for place, receipt in enumerate(receipts) if receipt.retry]:
            self._wait(attempts, not_stored(receipts[again[0]]))
            left = attempts.remaining(self._clock())
            try:
                newer = self._add_once(batch.only(again), left)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None
            for place, receipt in zip(again, newer, strict=True):
                receipts[place] = receipt
        return receipts

    def _add_once(self, batch: Batch, timeout: float) -> list[Receipt]:
        sent = batch.sendable
        if not sent:
            return batch.merge([])
        call = ingest.request([item.data for item in sent], [item.frame for item in sent])
        try:
            return batch.merge(ingest.answer(self._send(call, timeout), len(sent)))
        except ingest.REFUSALS as error:
            if len(sent) == 1:
                return batch.merge([ingest.refused(sent[0].frame, error)])
        # The server refused the call as a whole. One image must not fail its neighbours, so the call is split.
        return [receipt for half in batch.halves() for receipt in self._add_once(half, timeout)]

    # Replaced in tests by a clock that does not wait.
    _clock = staticmethod(time.monotonic)

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):  # so that a client that was closed does not go on trying in other threads
            raise Cancelled("The client was closed while the call was waiting to be tried again.")


class AsyncAsking:
    """The moving part of the asyncio client."""

    timeout: float
    retry: Retry
    on_retry: Callable[[Unavailable, float], None] | None
    _transport: AsyncTransport

    async def _ask(self, call: Call, answer: Callable[[Tensors], T], timeout: float | None) -> T:
        return answer(await self._send(call, self.timeout if timeout is None else timeout))

    async def _do(self, work: Work[T], timeout: float | None) -> T:
        call = work.request()
        return work.answer(None) if call is None else await self._ask(call, work.answer, timeout)

    async def _send(self, call: Call, timeout: float) -> Tensors:
        attempts = Attempts(self.retry, timeout, self._clock())
        while True:
            try:
                return await self._transport.infer(call, attempts.remaining(self._clock()))
            except Unavailable as error:
                await self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None

    async def _events(self, call: Call, timeout: float | None) -> AsyncGenerator[Event, None]:
        async with aclosing(self._read(call, timeout, Reader())) as events:
            async for event in events:
                yield event

    async def _read(self, call: Call, timeout: float | None, reader: Reads[T]) -> AsyncGenerator[T, None]:
        timeout = self.timeout if timeout is None else timeout
        attempts = Attempts(self.retry, timeout, self._clock())
        begun = False
        while True:
            left = attempts.remaining(self._clock())
            try:
                async with aclosing(self._transport.stream(call, left, timeout)) as answers:
                    async for tensors in answers:
                        begun = True
                        yield reader.event(tensors)
                break
            except Unavailable as error:
                if begun:
                    raise  # what was told cannot be told again
                await self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise error if begun else attempts.ended(error, self._clock()) from None
        reader.finish()

    async def _enhanced(
        self, calls: Iterable[Call], in_flight: int, timeout: float | None
    ) -> AsyncGenerator[Enhanced, None]:
        """The frames of a stream, in order. A request is sent when the one before has its place at the server."""

        async def one(turn: tuple[Call, asyncio.Event, asyncio.Event]) -> list[Enhanced]:
            call, before, begun = turn
            frames = []
            try:
                await before.wait()
                async with aclosing(self._read(call, timeout, EnhancedReader())) as events:
                    async for event in events:
                        if isinstance(event, Begun):
                            begun.set()
                        elif isinstance(event, Enhanced):
                            frames.append(event)
            finally:
                begun.set()
            return frames

        turns = chained(calls, asyncio.Event)
        async with aclosing(in_order_async(one, turns, in_flight)) as answers:  # type: ignore[type-var]
            async for frames in answers:
                for frame in frames:
                    yield frame

    async def _collect(
        self, call: Call, on_event: OnEvent | None, timeout: float | None, own: Callable[[Event], Event] | None = None
    ) -> Collector:
        collected = Collector()
        async with aclosing(self._events(call, timeout)) as events:
            async for event in events:
                told = event if own is None else own(event)
                collected.add(told)
                if on_event is not None:
                    on_event(told)
        return collected

    async def _wait(self, attempts: Attempts, error: Unavailable) -> None:
        wait = attempts.wait_after(error, self._clock())
        if self.on_retry is not None:
            self.on_retry(error, wait)
        await self._sleep(wait)

    async def _add(self, batch: Batch, timeout: float | None) -> list[Receipt]:
        """Store one batch; what the server could not store just now is sent again until the deadline."""
        timeout = self.timeout if timeout is None else timeout
        attempts = Attempts(self.retry, timeout, self._clock())
        left = attempts.remaining(self._clock())
        receipts = await self._add_once(batch, left)
        while again := [place for place, receipt in enumerate(receipts) if receipt.retry]:
            await self._wait(attempts, not_stored(receipts[again[0]]))
            left = attempts.remaining(self._clock())
            try:
                newer = await self._add_once(batch.only(again), left)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None
            for place, receipt in zip(again, newer, strict=True):
                receipts[place] = receipt
        return receipts

    async def _add_once(self, batch: Batch, timeout: float) -> list[Receipt]:
        sent = batch.sendable
        if not sent:
            return batch.merge([])
        call = ingest.request([item.data for item in sent], [item.frame for item in sent])
        try:
            return batch.merge(ingest.answer(await self._send(call, timeout), len(sent)))
        except ingest.REFUSALS as error:
            if len(sent) == 1:
                return batch.merge([ingest.refused(sent[0].frame, error)])
        # The server refused the call as a whole. One image must not fail its neighbours, so the call is split.
        return [receipt for half in batch.halves() for receipt in await self._add_once(half, timeout)]

    # Replaced in tests by a clock that does not wait.
    _clock = staticmethod(time.monotonic)
    _sleep = staticmethod(asyncio.sleep)


def not_stored(receipt: Receipt) -> Unavailable:
    """The error of a frame that the server could not store just now, in the words of its receipt."""
    text = receipt.error or "the server could not store a frame; send it again"
    remedy = receipt.remedy or text.rpartition("; ")[2]
    return Unavailable(f"{text.removesuffix('.')}.", remedy=remedy)


class Signal(Protocol):
    """An event of threads or of tasks."""

    def set(self) -> None: ...


S = TypeVar("S", bound=Signal)


def chained(calls: Iterable[Call], signal: Callable[[], S]) -> Iterator[tuple[Call, S, S]]:
    """Each call with what is set when the one before it has begun, and what it sets itself."""
    before = signal()
    before.set()
    for call in calls:
        begun = signal()
        yield call, before, begun
        before = begun
