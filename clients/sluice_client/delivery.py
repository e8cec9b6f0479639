# Generated from aio/delivery.py by `python clients/unasync.py`. Edit that file and run the command again.
"""Delivers calls: tries each again while the server is absent or full, until its deadline, and follows its streams.

The verbs' own modules make the requests and read the answers; callers see the methods of `client` and `streaming`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TypeVar

from .answers.enhance import Begun, Enhanced
from .answers.enhance import Reader as EnhancedReader
from .answers.ingest import Receipt
from .answers.sample import Collector
from .answers.sample_events import Event, OnEvent
from .answers.sample_events import Reader as EventReader
from .errors import Cancelled, DeadlineExceeded, Unavailable
from .tensors import Call, Reader, Tensors, Work
from .transport.in_order import Signal, chained, in_order
from .transport.protocol import Transport
from .transport.retry import Attempts, Retry
from .verbs import ingest
from .verbs.ingest import Batch

__all__ = ["Delivery"]

T = TypeVar("T")


class Delivery:
    """Sends the calls of a client over its transport. In every method `timeout=None` stands for the client's own."""

    timeout: float
    retry: Retry
    on_retry: Callable[[Unavailable, float], None] | None
    _transport: Transport
    _closed: Signal

    def _ask(self, call: Call, answer: Callable[[Tensors], T], timeout: float | None) -> T:
        """Send a call and return its tensors as `answer` reads them."""
        return answer(self._send(call, self.timeout if timeout is None else timeout))

    def _do(self, work: Work[T], timeout: float | None) -> T:
        """Return the answer of one of many calls; nothing is sent if the work has no request."""
        call = work.request()
        return work.answer(None) if call is None else self._ask(call, work.answer, timeout)

    def _send(self, call: Call, timeout: float) -> Tensors:
        """Send a call until it is answered. timeout: seconds, retries included."""
        attempts = Attempts(self.retry, timeout, self._clock())
        while True:
            try:
                return self._transport.infer(call, attempts.remaining(self._clock()))
            except Unavailable as error:
                self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None

    def _events(self, call: Call, timeout: float | None) -> Generator[Event, None, None]:
        """Return the events of one request of `sample`, as they come."""
        return self._read(call, timeout, EventReader())

    def _read(self, call: Call, timeout: float | None, reader: Reader[T]) -> Generator[T, None, None]:
        """Yield what `reader` makes of each answer of a stream, as the answers come.

        timeout: seconds until the first answer, retries included; then seconds until each further answer.
        """
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
                    raise  # the caller has seen events, which a second attempt would repeat
                self._wait(attempts, error)
            except DeadlineExceeded as error:
                raise error if begun else attempts.ended(error, self._clock()) from None
        reader.finish()

    def _enhanced(
        self, calls: Iterable[Call], in_flight: int, timeout: float | None
    ) -> Generator[Enhanced, None, None]:
        """Yield the frames of a stream, in order. Each call waits until the call before it has its place at the server.

        in_flight: maximum number of calls under way at the same time.
        """
        left = Signal()

        def frames_of(turn: tuple[Call, Signal, Signal]) -> list[Enhanced]:
            call, before, begun = turn
            frames: list[Enhanced] = []
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

        try:
            with closing(in_order(frames_of, chained(calls, Signal), in_flight)) as answers:
                for frames in answers:
                    yield from frames
        finally:
            left.set()  # a call in a thread cannot be cancelled, as one in a task is: it ends at its next event

    def _collect(
        self, call: Call, on_event: OnEvent | None, timeout: float | None, own: Callable[[Event], Event] | None = None
    ) -> Collector:
        """Return all events of one request. own: changes each event before it is kept and told; None: no change."""
        collected = Collector()
        with closing(self._events(call, timeout)) as events:
            for event in events:
                told = event if own is None else own(event)
                collected.add(told)
                if on_event is not None:
                    on_event(told)
        return collected

    def _wait(self, attempts: Attempts, error: Unavailable) -> None:
        """Wait before the next attempt. Raises `error` if none is left."""
        wait = attempts.wait_after(error, self._clock())
        if self.on_retry is not None:
            self.on_retry(error, wait)
        self._sleep(wait)

    def _add(self, batch: Batch, timeout: float | None) -> list[Receipt]:
        """Store one batch and return its receipts. Frames that the server cannot store at the moment are sent again
        until the deadline."""
        timeout = self.timeout if timeout is None else timeout
        attempts = Attempts(self.retry, timeout, self._clock())
        left = attempts.remaining(self._clock())
        receipts = self._add_once(batch, left)
        while again := [place for place, receipt in enumerate(receipts) if receipt.retry]:
            self._wait(attempts, ingest.not_stored(receipts[again[0]]))
            left = attempts.remaining(self._clock())
            try:
                newer = self._add_once(batch.only(again), left)
            except DeadlineExceeded as error:
                raise attempts.ended(error, self._clock()) from None
            for place, receipt in zip(again, newer, strict=True):
                receipts[place] = receipt
        return receipts

    def _add_once(self, batch: Batch, timeout: float) -> list[Receipt]:
        """Send one batch and return its receipts. A batch that is refused as a whole is halved until the frames that
        are to blame stand alone, so that no frame fails because of its neighbours."""
        sent = batch.sendable
        if not sent:
            return batch.merge([])
        call = ingest.request([item.data for item in sent], [item.frame for item in sent])
        try:
            return batch.merge(ingest.answer(self._send(call, timeout), len(sent)))
        except ingest.REFUSALS as error:
            if len(sent) == 1:
                return batch.merge([ingest.refused(sent[0].frame, error)])
        return [receipt for half in batch.halves() for receipt in self._add_once(half, timeout)]

    # Tests replace both by a clock that does not wait.
    _clock = staticmethod(time.monotonic)

    def _sleep(self, seconds: float) -> None:
        """Sleep, unless the client is closed meanwhile; then raise Cancelled, so that no call tries again."""
        if self._closed.wait(seconds):
            raise Cancelled("The client was closed while the call was waiting to be tried again.")
