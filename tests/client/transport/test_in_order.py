"""Several calls at once, in threads and in tasks: their order, their signals, and what a closed client ends."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from sluice_client import AsyncSluice, Cancelled, InvalidRequest, Retry, Sluice, Unavailable
from sluice_client.transport.in_order import AsyncSignal, Signal, chained, in_order, in_order_async
from sluice_client.transport.protocol import AsyncFunction, Function


def test_tasks_give_their_answers_in_order_and_no_more_of_them_run_than_allowed():
    state = {"now": 0, "most": 0}

    async def work(item: int) -> int:
        state["now"] += 1
        state["most"] = max(state["most"], state["now"])
        await asyncio.sleep(0.02 if item % 2 else 0.005)
        state["now"] -= 1
        return item

    async def run() -> list[int]:
        return [one async for one in in_order_async(work, range(12), 3)]

    assert asyncio.run(run()) == list(range(12)) and 2 <= state["most"] <= 3


@pytest.mark.parametrize("in_flight", [0, True, 1.5, "2"])
def test_the_number_of_calls_under_way_is_a_whole_number(in_flight):
    async def run() -> list[int]:
        return [one async for one in in_order_async(asyncio.sleep, [0], in_flight)]

    with pytest.raises(InvalidRequest, match="in_flight"):
        list(in_order(int, [1], in_flight))
    with pytest.raises(InvalidRequest, match="in_flight"):
        asyncio.run(run())


def test_leaving_the_iteration_cancels_tasks_and_draws_nothing_more():
    drawn, cancelled = [], []

    def items():
        for item in range(100):
            drawn.append(item)
            yield item

    async def work(item: int) -> int:
        try:
            await asyncio.sleep(0 if item == 0 else 30)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    async def run() -> None:
        answers = in_order_async(work, items(), 3)
        assert await anext(answers) == 0
        await asyncio.sleep(0.01)  # so that the others begin
        await answers.aclose()

    begin = time.monotonic()
    asyncio.run(run())
    assert drawn == [0, 1, 2, 3] and cancelled == [1, 2] and time.monotonic() - begin < 20


def test_an_exception_in_a_thread_drops_what_has_not_begun():
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise ValueError("first")
        return item

    with pytest.raises(ValueError, match="first"):
        list(in_order(work, range(100), 2))
    assert set(begun) <= {0, 1, 2}


def test_each_item_is_chained_to_the_one_before_it():
    turns = list(chained("abc", Signal))
    assert [item for item, _, _ in turns] == ["a", "b", "c"]
    assert [before.is_set() for _, before, _ in turns] == [True, False, False]
    assert turns[0][2] is turns[1][1] and turns[1][2] is turns[2][1]
    assert list(chained([], AsyncSignal)) == []


def test_the_signal_of_tasks_waits_as_that_of_threads_does():
    async def run() -> None:
        signal, plain = AsyncSignal(), Signal()
        assert [await signal.wait(0.01), plain.wait(0.01)] == [signal.is_set(), plain.is_set()] == [False, False]
        waiting = asyncio.ensure_future(signal.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        signal.set()
        plain.set()
        assert await waiting and [await signal.wait(0), plain.wait(0)] == [True, True]
        assert await signal.wait(30) and signal.is_set()

    asyncio.run(run())


def test_a_task_that_is_cancelled_while_it_waits_for_a_signal_is_cancelled():
    async def run() -> None:
        waiting = asyncio.ensure_future(AsyncSignal().wait(30))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())


def absent(call, timeout):
    raise Unavailable("away")


PATIENT = Retry(first=30, most=30)


def test_closing_a_client_ends_the_waits_of_its_threads():
    waiting = threading.Event()
    client = Sluice(transport=Function(absent), retry=PATIENT, on_retry=lambda *_: waiting.set())
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client.describe(timeout=1000)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert waiting.wait(10)
    client.close()
    thread.join(10)
    assert [type(error) for error in failures] == [Cancelled]


def test_closing_a_client_ends_the_waits_of_its_tasks():
    async def run() -> None:
        waiting = asyncio.Event()
        client = AsyncSluice(transport=AsyncFunction(absent), retry=PATIENT, on_retry=lambda *_: waiting.set())
        task = asyncio.ensure_future(client.describe(timeout=1000))
        await asyncio.wait_for(waiting.wait(), 10)
        await client.close()
        with pytest.raises(Cancelled, match="closed while the call was waiting to be tried again"):
            await asyncio.wait_for(task, 10)

    asyncio.run(run())
