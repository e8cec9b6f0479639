"""Network calls of many requests put together: a call takes a step for each of the trajectories in it.

A `Rounds` asks a model for whoever waits, several calls at a time: while one runs, the next waits at the model, and the
solvers of those that were answered step and ask again, so that the network need not rest. Requests that begin at
different times share calls from their second step on, and nothing waits for a neighbour that has stopped asking.

The rows of a call belong to different requests. What a network makes of a row must not depend on its neighbours; that
is a property of the exported graphs, which their tests hold.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sluice.wire.calls import Call

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Asked:
    """One trajectory's question: name -> rows, the same count in each, and where its answer is awaited."""

    rows: Arrays
    answer: asyncio.Future[tuple[dict[str, np.ndarray], float]]

    @property
    def count(self) -> int:
        return count_of(self.rows)


class Rounds:
    """The calls of one model.

    call, model, outputs: as of `wire.calls.Call`. batch: the most rows of one network call. in_flight: calls at a
    time, one more than the model has instances. least: rows that a call should have before those who wait are spread
    over several.
    """

    def __init__(self, call: Call, model: str, outputs: tuple[str, ...], batch: int, in_flight: int, least: int):
        self.call, self.model, self.outputs = call, model, outputs
        self.batch, self.in_flight, self.least = batch, in_flight, least
        self._waiting: deque[Asked] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._soon = False

    async def ask(self, rows: Arrays) -> tuple[dict[str, np.ndarray], float]:
        """The network's answer to these rows, and how many rows its call had.

        Raises what the call raised; a call that failed fails for all who took part.
        """
        asked = Asked(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._begin_soon()
        return await asked.answer

    def _begin_soon(self) -> None:
        # Not at once: those who were answered together ask again in this turn of the loop, one after the other.
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._soon = False
        while len(self._calls) < self.in_flight and (taken := self._take()):
            # In a context of its own: it works for all of them, and goes on when the first of them goes.
            task = asyncio.get_running_loop().create_task(self._answer(taken), context=contextvars.Context())
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if self._waiting:
            self._begin_soon()

    def _take(self) -> list[Asked]:
        """Those who are asked for next, in the order in which they came."""
        self._waiting = deque(one for one in self._waiting if not one.answer.done())  # done: given up
        free = self.in_flight - len(self._calls)
        wanted = min(self.batch, max(self.least, -(-sum(one.count for one in self._waiting) // free)))
        taken: list[Asked] = []
        rows = 0
        while self._waiting and (not taken or rows + self._waiting[0].count <= wanted):
            taken.append(self._waiting.popleft())
            rows += taken[-1].count
        return taken

    async def _answer(self, taken: list[Asked]) -> None:
        try:
            rows = {name: np.concatenate([one.rows[name] for one in taken]) for name in taken[0].rows}
            parts = cuts(count_of(rows), self.batch)
            answer = await self._called(rows, parts)
        except Exception as error:
            for one in taken:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        start, average = 0, count_of(rows) / len(parts)
        for one in taken:
            stop = start + one.count
            if not one.answer.done():
                one.answer.set_result(({name: array[start:stop] for name, array in answer.items()}, average))
            start = stop

    async def _called(self, rows: Arrays, parts: list[slice]) -> dict[str, np.ndarray]:
        """The answers to all rows; one question alone may have more than a batch."""
        found = []
        for part in parts:
            given = {name: array[part] for name, array in rows.items()}
            answer = await self.call(self.model, given, self.outputs)
            found.append({name: np.array(array) for name, array in answer.items()})  # views end with the next await
        return {name: np.concatenate([part[name] for part in found]) for name in self.outputs}


def count_of(rows: Arrays) -> int:
    """How many rows there are."""
    return len(next(iter(rows.values())))


def cuts(count: int, batch: int) -> list[slice]:
    """As few parts of nearly equal size as batches allow."""
    number = -(-count // batch)
    edges = [round(i * count / number) for i in range(number + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
