"""Streams: the state that the server keeps of each stream between requests, and the order of its frames.

A stream is known by its name. The numbers of its frames only grow; frames are begun in that order, a few at a time, and
each answer waits for the one before, across requests. The cost of streams is bounded: waiting frames and known streams
have limits, and a stream without requests is forgotten after a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluice.errors import InvalidArgument, Unavailable
from sluice.methods.video.modes import Auto
from sluice.methods.video.rate import Spent, Stills


@dataclass(eq=False)
class Place:
    """The place of a frame in the order of its stream.

    turn:     resolves to True when the frame may begin, to False when it is dropped.
    before:   set when the frame before has been answered; None for the first frame.
    answered: to be set when this frame has been answered.
    running:  whether the frame has begun and not ended.
    """

    number: int
    turn: asyncio.Future[bool]
    before: asyncio.Event | None
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False

    async def told(self) -> None:
        """Wait until the frame before has been answered."""
        if self.before is not None:
            await self.before.wait()
            self.before = None  # kept, it would keep all earlier frames in memory


class Stream:
    """One stream.

    idle: seconds without a request after which the stream is forgotten.
    in_flight: frames processed at the same time. most: further frames that may wait in the queue.
    """

    def __init__(self, name: str, idle: float, in_flight: int, most: int):
        self.name, self.idle, self.in_flight, self.most = name, idle, in_flight, most
        self.next = 0  # the least number that the next frame may have
        self.auto = Auto()
        self.stills: tuple[tuple[int, int], Stills] = (0, 0), Stills()  # size of the last picture, and the rate there
        self.shown: tuple[Any, Any] | None = None  # of the last answered frame, what was asked and what was done
        self.decoder: Any = None  # a `packets.Decoder`; None if the stream is not sent as packets
        self.entering = asyncio.Lock()  # held by a request while it finds out how many frames it has
        self.requests = 0  # that run now
        self.touched = 0.0  # clock at the last begin or end of a request
        self._waiting: deque[Place] = deque()
        self._running = 0
        self._last: asyncio.Event | None = None

    def still(self, size: tuple[int, int], bits: float | None) -> Spent | None:
        """Add a picture of this size, pixels, and return the rate that is known now. bits: as in `Stills.add`."""
        if size != self.stills[0]:
            self.stills = size, Stills()
        return self.stills[1].add(bits)

    def check_room(self, count: int) -> None:
        """Raise Unavailable if with `count` more frames too many would wait."""
        free = self.in_flight - self._running
        if len(self._waiting) + count - free > self.most:
            raise Unavailable(
                f"{len(self._waiting)} frames of stream {self.name[:80]!r} wait, and {self.most} may; wait for "
                "answers, or let the server drop frames with policy drop"
            )

    def enter(self, numbers: Sequence[int], backlog: int | None = None) -> list[Place]:
        """Give these frames places behind all frames that have one.

        backlog: most frames that may wait after this; the oldest waiting frames are dropped. None drops none.
        Raises InvalidArgument for a number below the one expected.
        """
        expected = self.next
        for number in numbers:
            if number < expected:
                raise InvalidArgument(
                    f"stream {self.name[:80]!r} is at frame {expected}, got {number}; send frames in the order of "
                    "their numbers, or begin a stream of another name"
                )
            expected = number + 1
        self.next = expected
        places = []
        for number in numbers:
            place = Place(number, asyncio.get_running_loop().create_future(), self._last)
            self._last = place.answered
            places.append(place)
        self._waiting.extend(places)
        self._begin()
        while backlog is not None and len(self._waiting) > backlog:
            self._waiting.popleft().turn.set_result(False)
        return places

    def leave(self, place: Place) -> None:
        """Free the place of a frame that is done, failed, dropped or given up; a second call does nothing."""
        if place.running:
            place.running = False
            self._running -= 1
        elif place in self._waiting:
            self._waiting.remove(place)
            place.turn.cancel()
        self._begin()

    def _begin(self) -> None:
        while self._waiting and self._running < self.in_flight:
            place = self._waiting.popleft()
            if place.turn.done():  # its request has been cancelled
                continue
            place.running, self._running = True, self._running + 1
            place.turn.set_result(True)


class Streams:
    """All streams of a server.

    most: streams known at a time. in_flight, waiting: of each stream, `in_flight` and `most` of `Stream`.
    clock: returns seconds.
    """

    def __init__(self, most: int, in_flight: int, waiting: int, clock: Callable[[], float] = time.monotonic):
        self.most, self.in_flight, self.waiting, self.clock = most, in_flight, waiting, clock
        self._streams: dict[str, Stream] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of streams that are known."""
        return len(self._streams)

    def open(self, name: str, idle: float) -> tuple[Stream, bool]:
        """Return the stream for one more request, and whether it is new. `close` ends the request.

        idle: seconds without a request after which the stream is forgotten.
        Raises Unavailable if the stream is new and too many are known.
        """
        self.sweep()
        stream = self._streams.get(name)
        new = stream is None
        if stream is None:
            if len(self._streams) >= self.most:
                raise Unavailable(
                    f"{self.most} streams are known, and no more may be; end one with last, or try again when one "
                    "has been idle for long enough"
                )
            stream = self._streams[name] = Stream(name, idle, self.in_flight, self.waiting)
        stream.idle, stream.touched = idle, self.clock()
        stream.requests += 1
        return stream, new

    def close(self, stream: Stream, last: bool) -> None:
        """End a request of the stream. last: True forgets the stream as soon as no other request of it runs."""
        stream.requests -= 1
        stream.touched = self.clock()
        if last:
            stream.idle = 0.0
        self.sweep()

    def sweep(self) -> None:
        """Forget the streams that have been idle for long enough, and set an alarm for the next one."""
        now = self.clock()
        for name, stream in list(self._streams.items()):
            if not stream.requests and now - stream.touched >= stream.idle:
                del self._streams[name]
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        ends = [stream.touched + stream.idle for stream in self._streams.values() if not stream.requests]
        if ends:
            self._alarm = asyncio.get_running_loop().call_later(max(min(ends) - now, 0.05), self.sweep)
