"""The score networks, models NAME_score and NAME_curvature: calls of many requests, put together.

A `Rounds` asks a model for all trajectories that wait, with several calls at the same time. While one call runs, the
next waits at the model and the solvers of the answered trajectories step and ask again, so that the network is always
busy. Requests that begin at different times share calls from their second step on, and no trajectory waits for another
that has stopped asking.

The rows of a call belong to different requests, so the answer to a row must not depend on the other rows. The exported
graphs have this property, which their tests hold.
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
    """A trajectory's question.

    rows: tensors by their names, with the same number of rows. answer: awaited by the trajectory.
    """

    rows: Arrays
    answer: asyncio.Future[tuple[dict[str, np.ndarray], float]]

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return count_of(self.rows)


class Rounds:
    """The calls of one model.

    call, model, outputs: as of `wire.calls.Call`. batch: most rows per call. in_flight: calls at the same time, one
    more than the model has instances. least: minimum rows per call; waiting rows are split over several calls only if
    each call gets at least this many.
    """

    def __init__(self, call: Call, model: str, outputs: tuple[str, ...], batch: int, in_flight: int, least: int):
        self.call, self.model, self.outputs = call, model, outputs
        self.batch, self.in_flight, self.least = batch, in_flight, least
        self._waiting: deque[Asked] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._soon = False

    async def ask(self, rows: Arrays) -> tuple[dict[str, np.ndarray], float]:
        """Return the network's answer to these rows, and the mean number of rows per call that it took.

        Raises what the call raised; a call that fails, fails for all trajectories in it.
        """
        asked = Asked(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._begin_soon()
        return await asked.answer

    def _begin_soon(self) -> None:
        # Not at once: trajectories that were answered together ask again in this turn of the loop, one by one.
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._soon = False
        while len(self._calls) < self.in_flight and (taken := self._take()):
            # In a context of its own: the call serves all of them, and goes on if one of their callers leaves.
            task = asyncio.get_running_loop().create_task(self._answer(taken), context=contextvars.Context())
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if self._waiting:
            self._begin_soon()

    def _take(self) -> list[Asked]:
        """Take the questions of the next call, in the order in which they came."""
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
        """Return the answers to all rows. A single question may have more rows than a batch."""
        found = []
        for part in parts:
            given = {name: array[part] for name, array in rows.items()}
            answer = await self.call(self.model, given, self.outputs)
            found.append({name: np.array(array) for name, array in answer.items()})  # views end with the next await
        return {name: np.concatenate([part[name] for part in found]) for name in self.outputs}


def count_of(rows: Arrays) -> int:
    """Return the number of rows."""
    return len(next(iter(rows.values())))


def cuts(count: int, batch: int) -> list[slice]:
    """Cut `count` rows into as few parts as batches allow, of nearly equal size."""
    number = -(-count // batch)
    edges = [round(i * count / number) for i in range(number + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
