"""Network calls of many requests put together: in every round each running trajectory takes one step.

A `Rounds` asks a model for whoever waits, all in one go, cut into batches of which several may be under way. Who asks
while a round is under way takes part in the next one; so requests that begin at different times share batches from
their second step on, a small request is never kept waiting by a large one for longer than a round, and nothing waits
for a neighbour that has stopped asking.

The rows of a batch belong to different requests. What a network makes of a row must not depend on its neighbours; that
is a property of the exported graphs, which their tests hold.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sluice.calls import Call

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
    """The rounds of one model.

    call, model, outputs: as of `sluice.calls.Call`. batch: the most rows of one network call. in_flight: calls at a
    time: as many as the model has instances. Rows are only split over several calls where each gets `least` of them.
    """

    def __init__(self, call: Call, model: str, outputs: tuple[str, ...], batch: int, in_flight: int, least: int):
        self.call, self.model, self.outputs = call, model, outputs
        self.batch, self.in_flight, self.least = batch, in_flight, least
        self._waiting: list[Asked] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, rows: Arrays) -> tuple[dict[str, np.ndarray], float]:
        """The network's answer to these rows, and how many rows its calls had in this round, on average.

        Raises what the call raised; a round that failed fails for all who took part.
        """
        asked = Asked(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        return await asked.answer

    async def _run(self) -> None:
        try:
            # Everyone who can ask now should have asked before a round begins: those who were answered by the last one
            # were woken before this task, and ask again without waiting for anything else.
            await asyncio.sleep(0)
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._round([one for one in asked if not one.answer.done()])
                await asyncio.sleep(0)
        finally:
            self._running = None

    async def _round(self, asked: list[Asked]) -> None:
        if not asked:
            return
        names = list(asked[0].rows)
        rows = {name: np.concatenate([one.rows[name] for one in asked]) for name in names}
        try:
            answer, calls = await self._calls(rows)
        except Exception as error:
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        start, average = 0, count_of(rows) / calls
        for one in asked:
            stop = start + one.count
            if not one.answer.done():
                one.answer.set_result(({name: array[start:stop] for name, array in answer.items()}, average))
            start = stop

    async def _calls(self, rows: Arrays) -> tuple[dict[str, np.ndarray], int]:
        """The answers to all rows, and how many calls it took."""
        places = asyncio.Semaphore(self.in_flight)
        parts = cuts(count_of(rows), self.batch, self.in_flight, self.least)

        async def one(part: slice) -> dict[str, np.ndarray]:
            async with places:
                found = await self.call(self.model, {name: array[part] for name, array in rows.items()}, self.outputs)
                return {name: np.array(array) for name, array in found.items()}  # views end with the next await

        found = await asyncio.gather(*(one(part) for part in parts))
        return {name: np.concatenate([part[name] for part in found]) for name in self.outputs}, len(parts)


def count_of(rows: Arrays) -> int:
    """How many rows there are."""
    return len(next(iter(rows.values())))


def cuts(count: int, batch: int, in_flight: int, least: int) -> list[slice]:
    """Batches of nearly equal size: a multiple of `in_flight` of them where that leaves each `least` rows."""
    number = -(-count // batch)
    if number % in_flight and count >= least * in_flight:
        number += in_flight - number % in_flight
    edges = [round(i * count / number) for i in range(number + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
