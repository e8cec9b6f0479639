"""Delivers calls: tries each again while the server is absent or full, until its deadline, and follows its streams.

The verbs' own modules make the requests and read the answers; callers see the methods of `client` and `streaming`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

from ..answers.enhance import Begun, Enhanced
from ..answers.enhance import Reader as EnhancedReader
from ..answers.ingest import Receipt
from ..answers.sample import Collector
from ..answers.sample_events import Event, OnEvent
from ..answers.sample_events import Reader as EventReader
from ..errors import Cancelled, DeadlineExceeded, Unavailable
from ..tensors import Call, Reader, Tensors, Work
from ..transport.in_order import AsyncSignal, chained, in_order_async
from ..transport.protocol import AsyncTransport
from ..transport.retry import Attempts, Retry
from ..verbs import ingest
from ..verbs.ingest import Batch

__all__ = ["AsyncDelivery"]

T = TypeVar("T")


class AsyncDelivery:
    """Sends the calls of a client over its transport. In every method `timeout=None` stands for the client's own."""

    timeout: float
    retry: Retry
    on_retry: Callable[[Unavailable, float], None] | None
    _transport: AsyncTransport
    _closed: AsyncSignal

    async def _ask(self, call: Call, answer: Callable[[Tensors], T], timeout: float | None) -> T:
        """Send a call and return its tensors as `answer` reads them."""
        return answer(await self._send(call, self.timeout if timeout is None else timeout))

    async def _do(self, work: Work[T], timeout: float | None) -> T:
        """Return the answer of one of many calls; nothing is sent if the work has no request."""
        call = work.request()
        return work.answer(None) if call is None else await self._ask(call, work.answer, timeout)

    async def _send(self, call: Call, timeout: float) -> Tensors:
        """Send a call until it is answered. timeout: seconds, retries included."""
        attempts = Attempts(self.retry, timeout, self._clock())
        while True:
            try:
                return await self._transport.infer(call, attempts.remaining(self._clock()))
            except Unavailable as error:
                await self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None

    def _events(self, call: Call, timeout: float | None) -> AsyncGenerator[Event, None]:
        """Return the events of one request of `sample`, as they come."""
        return self._read(call, timeout, EventReader())

    async def _read(self, call: Call, timeout: float | None, reader: Reader[T]) -> AsyncGenerator[T, None]:
        """Yield what `reader` makes of each answer of a stream, as the answers come.

        timeout: seconds until the first answer, retries included; then seconds until each further answer.
        """
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
                    raise  # the caller has seen events, which a second attempt would repeat
                await self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise error if begun else attempts.ended(error, self._clock()) from None
        reader.finish()

    async def _enhanced(
        self, calls: Iterable[Call], in_flight: int, timeout: float | None
    ) -> AsyncGenerator[Enhanced, None]:
        """Yield the frames of a stream, in order. Each call waits until the call before it has its place at the server.

        in_flight: maximum number of calls under way at the same time.
        """
        left = AsyncSignal()

        async def frames_of(turn: tuple[Call, AsyncSignal, AsyncSignal]) -> list[Enhanced]:
            call, before, begun = turn
            frames: list[Enhanced] = []
            try:
                await before.wait()
                async with aclosing(self._read(call, timeout, EnhancedReader())) as events:
                    async for event in events:
                        if left.is_set():
                            break
                        if isinstance(event, Begun):
                            begun.set()
                        elif isinstance(event, Enhanced):
                            frames.append(event)
            finally:
                begun.set()
            return frames

        try:
            async with aclosing(in_order_async(frames_of, chained(calls, AsyncSignal), in_flight)) as answers:
                async for frames in answers:
                    for frame in frames:
                        yield frame
        finally:
            left.set()  # a call in a thread cannot be cancelled, as one in a task is: it ends at its next event

    async def _collect(
        self, call: Call, on_event: OnEvent | None, timeout: float | None, own: Callable[[Event], Event] | None = None
    ) -> Collector:
        """Return all events of one request. own: changes each event before it is kept and told; None: no change."""
        collected = Collector()
        async with aclosing(self._events(call, timeout)) as events:
            async for event in events:
                told = event if own is None else own(event)
                collected.add(told)
                if on_event is not None:
                    on_event(told)
        return collected

    async def _wait(self, attempts: Attempts, error: Unavailable) -> None:
        """Wait before the next attempt. Raises `error` if none is left."""
        wait = attempts.wait_after(error, self._clock())
        if self.on_retry is not None:
            self.on_retry(error, wait)
        await self._sleep(wait)

    async def _add(self, batch: Batch, timeout: float | None) -> list[Receipt]:
        """Store one batch and return its receipts. Frames that the server cannot store at the moment are sent again
        until the deadline."""
        timeout = self.timeout if timeout is None else timeout
        attempts = Attempts(self.retry, timeout, self._clock())
        left = attempts.remaining(self._clock())
        receipts = await self._add_once(batch, left)
        while again := [place for place, receipt in enumerate(receipts) if receipt.retry]:
            await self._wait(attempts, ingest.not_stored(receipts[again[0]]))
            left = attempts.remaining(self._clock())
            try:
                newer = await self._add_once(batch.only(again), left)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None
            for place, receipt in zip(again, newer, strict=True):
                receipts[place] = receipt
        return receipts

    async def _add_once(self, batch: Batch, timeout: float) -> list[Receipt]:
        """Send one batch and return its receipts. A batch that is refused as a whole is halved until the frames that
        are to blame stand alone, so that no frame fails because of its neighbours."""
        sent = batch.sendable
        if not sent:
            return batch.merge([])
        call = ingest.request([item.data for item in sent], [item.frame for item in sent])
        try:
            return batch.merge(ingest.answer(await self._send(call, timeout), len(sent)))
        except ingest.REFUSALS as error:
            if len(sent) == 1:
                return batch.merge([ingest.refused(sent[0].frame, error)])
        return [receipt for half in batch.halves() for receipt in await self._add_once(half, timeout)]

    # Tests replace both by a clock that does not wait.
    _clock = staticmethod(time.monotonic)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless the client is closed meanwhile; then raise Cancelled, so that no call tries again."""
        if await self._closed.wait(seconds):
            raise Cancelled("The client was closed while the call was waiting to be tried again.")
