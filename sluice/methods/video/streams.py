"""What is remembered of a stream between requests: its place in the order, what waits, how it is treated.

A stream is a name. Its frames have numbers that only grow; they are begun in that order, a few at a time, and each
answer waits for the one before, across requests. What a stream costs is bounded: so many frames may wait, so many
streams may be known, and one that is not heard of for a while is forgotten.
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
    """A frame's place in its stream. turn: resolves to True when the frame may begin, to False when it is dropped."""

    number: int
    turn: asyncio.Future[bool]
    before: asyncio.Event | None
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False

    async def told(self) -> None:
        """Waits until the frame before has been answered."""
        if self.before is not None:
            await self.before.wait()
            self.before = None  # or every frame would hold all of its ancestors


class Stream:
    """One stream. in_flight: frames that are worked on at a time; most: that may wait besides."""

    def __init__(self, name: str, idle: float, in_flight: int, most: int):
        self.name, self.idle, self.in_flight, self.most = name, idle, in_flight, most
        self.next = 0  # the least number that the next frame may have
        self.auto = Auto()
        self.stills: tuple[tuple[int, int], Stills] = (0, 0), Stills()  # of the last size
        self.shown: tuple[Any, Any] | None = None  # what was asked for the last answered frame, and what was done
        self.decoder: Any = None  # of its packets, where it is sent as such
        self.entering = asyncio.Lock()  # held by a request that finds out how many frames it has
        self.requests = 0
        self.touched = 0.0
        self._waiting: deque[Place] = deque()
        self._running = 0
        self._last: asyncio.Event | None = None

    def still(self, size: tuple[int, int], bits: float | None) -> Spent | None:
        """What is known of the rate of pictures after one more. bits: as `Stills.add` has them."""
        if size != self.stills[0]:
            self.stills = size, Stills()
        return self.stills[1].add(bits)

    def check_room(self, count: int) -> None:
        """Raises Unavailable when more frames would wait than may."""
        free = self.in_flight - self._running
        if len(self._waiting) + count - free > self.most:
            raise Unavailable(
                f"{len(self._waiting)} frames of stream {self.name[:80]!r} wait, and {self.most} may; wait for "
                "answers, or let the server drop frames with policy drop"
            )

    def enter(self, numbers: Sequence[int], backlog: int | None = None) -> list[Place]:
        """Places for these frames behind all that have one.

        backlog: None: wait; otherwise the oldest of the waiting frames are dropped until so many are left.
        Raises InvalidArgument for a number that has passed.
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
        """The frame is done, failed, dropped or given up; calling it again does nothing."""
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
            if place.turn.done():  # its request has gone
                continue
            place.running, self._running = True, self._running + 1
            place.turn.set_result(True)


class Streams:
    """All streams of a server. most: that are known at a time. clock: seconds."""

    def __init__(self, most: int, in_flight: int, waiting: int, clock: Callable[[], float] = time.monotonic):
        self.most, self.in_flight, self.waiting, self.clock = most, in_flight, waiting, clock
        self._streams: dict[str, Stream] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, name: str, idle: float) -> tuple[Stream, bool]:
        """The stream for one more request, and whether it is new. Raises Unavailable when there are too many."""
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
        """A request of the stream has ended. last: forget the stream when no other request of it runs."""
        stream.requests -= 1
        stream.touched = self.clock()
        if last:
            stream.idle = 0.0
        self.sweep()

    def sweep(self) -> None:
        """Forget the streams that are idle, and come again when the next one may be."""
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
