"""`sample` over a real socket: order of events, leaving, cancelling, errors before and in the middle, silence."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest
from sluice_client import (
    AsyncSluice,
    Cancelled,
    DeadlineExceeded,
    End,
    InvalidRequest,
    NotFound,
    Preview,
    Progress,
    Result,
    Retry,
    ServerFailed,
    Sluice,
    Tls,
    Unavailable,
    UnexpectedAnswer,
)
from sluice_client.tensors import strings

from tests.made.certificates import Authority
from tests.made.fake_server import FakeServer
from tests.made.fake_server.grpc import serving
from tests.made.fake_server.streams import Streaming

REQUEST = {"labels": 7, "seeds": range(6), "steps": 2, "preview": 2}
KINDS = [*(Progress, Progress, Preview, Result) * 2, End]


class Slow:
    """The fake server's events, each after a pause; `told` counts those that were drawn."""

    def __init__(self, pause: float):
        self.pause = pause
        self.told = 0

    def __call__(self, call, timeout):
        for tensors in FakeServer().events(call, timeout):
            self.told += 1
            yield tensors
            time.sleep(self.pause)


@contextlib.contextmanager
def sampling(events):
    streaming = Streaming(events)
    with serving(FakeServer().answer, streaming=streaming) as where:
        yield where, streaming


def drawn(where: str, asynchronous: bool, **options) -> list:
    """Return all events of a request, asked with the synchronous or the asynchronous client."""

    async def run():
        async with AsyncSluice(where, **options) as sluice:
            return [event async for event in sluice.sample_stream(**REQUEST)]

    if asynchronous:
        return asyncio.run(run())
    with Sluice(where, **options) as sluice:
        return list(sluice.sample_stream(**REQUEST))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_events_come_in_their_order_and_end_once(asynchronous):
    with serving(FakeServer().answer) as where:
        events = drawn(where, asynchronous)
    assert [type(event) for event in events] == KINDS
    assert [event.index for event in events if isinstance(event, Result)] == [(0, 1, 2, 3), (4, 5)]
    assert [event.array().shape for event in events if isinstance(event, Preview)] == [(4, 8, 8), (2, 8, 8)]
    done = [event.done for event in events[:-1]]
    assert done == sorted(done) and done[-1] == 1
    assert (events[-1].images, events[-1].nfe, events[-1].more) == (6, 2, {"networks": ["digits_curvature"]})


@pytest.mark.parametrize("asynchronous", [False, True])
def test_events_come_while_the_server_still_works(asynchronous):
    slow = Slow(0.1)
    seen = []

    async def run(where):
        async with AsyncSluice(where) as sluice:
            async for _ in sluice.sample_stream(**REQUEST):
                seen.append(slow.told)

    with sampling(slow) as (where, _):
        if asynchronous:
            asyncio.run(run(where))
        else:
            with Sluice(where) as sluice:
                for _ in sluice.sample_stream(**REQUEST):
                    seen.append(slow.told)
    assert seen[0] <= 2 and seen == sorted(seen)


@pytest.mark.parametrize("way", ["break", "exception", "close", "asyncio break", "asyncio cancel", "asyncio timeout"])
def test_leaving_the_iteration_cancels_the_request_at_the_server_at_once(way):
    slow = Slow(0.05)

    def synchronous(where):
        with Sluice(where) as sluice:
            if way == "exception":
                with pytest.raises(ZeroDivisionError):
                    sluice.sample(**REQUEST, on_event=lambda event: 1 // 0)
            elif way == "break":
                for _ in sluice.sample_stream(**REQUEST):
                    break
            else:
                events = sluice.sample_stream(**REQUEST)
                next(events)
                events.close()
            assert streaming.cancelled.wait(1)

    async def asynchronous(where):
        async with AsyncSluice(where) as sluice:
            if way == "asyncio break":
                async for _ in sluice.sample_stream(**REQUEST):
                    break
            elif way == "asyncio timeout":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await sluice.sample(**REQUEST)
            else:
                task = asyncio.ensure_future(sluice.sample(**REQUEST))
                await asyncio.sleep(0.2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await asyncio.to_thread(streaming.cancelled.wait, 1)

    with sampling(slow) as (where, streaming):
        if "asyncio" in way:
            asyncio.run(asynchronous(where))
        else:
            synchronous(where)
    assert slow.told < 7


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_finished_is_not_cancelled(asynchronous):
    with sampling(FakeServer().events) as (where, streaming):
        drawn(where, asynchronous)
        time.sleep(0.1)
    assert not streaming.cancelled.is_set()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_server_is_asked_again_and_the_events_begin_once(asynchronous):
    server = FakeServer([Unavailable("Exceeds maximum queue size")] * 3)
    with serving(server.answer) as where:
        events = drawn(where, asynchronous, retry=Retry(first=0.01))
    assert len(server.calls) == 4 and [type(event) for event in events] == KINDS


def test_a_server_that_stays_full_ends_as_unavailable_within_the_time():
    server = FakeServer([Unavailable("Exceeds maximum queue size")] * 999)
    with serving(server.answer) as where, Sluice(where, timeout=0.4, retry=Retry(first=0.05, most=0.05)) as sluice:
        begin = time.monotonic()
        with pytest.raises(Unavailable, match=r"maximum queue size\. Tried \d+ times"):
            sluice.sample(labels=1)
        assert time.monotonic() - begin < 1


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", [Unavailable, ServerFailed, InvalidRequest])
def test_an_error_in_the_middle_comes_as_it_is_and_is_not_tried_again(kind, asynchronous):
    server = FakeServer()
    status = "INVALID_ARGUMENT" if kind is InvalidRequest else kind.status  # by itself it is one of the client's own
    server.break_after = (3, kind("The network is gone; wait.", status=status))
    seen = []

    async def run(where):
        async with AsyncSluice(where) as sluice:
            async for event in sluice.sample_stream(**REQUEST):
                seen.append(event)

    with serving(server.answer) as where, pytest.raises(kind, match="The network is gone"):
        if asynchronous:
            asyncio.run(run(where))
        else:
            with Sluice(where) as sluice:
                for event in sluice.sample_stream(**REQUEST):
                    seen.append(event)
    assert [type(event) for event in seen] == KINDS[:3] and len(server.calls) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_network_that_is_not_there_is_not_found(asynchronous):
    async def run(where):
        async with AsyncSluice(where) as sluice:
            await sluice.sample("nothing")

    with serving(FakeServer().answer) as where, pytest.raises(NotFound, match=r"^no network is called 'nothing'"):
        if asynchronous:
            asyncio.run(run(where))
        else:
            with Sluice(where) as sluice:
                sluice.sample("nothing")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_server_without_the_verb_is_told_as_that(asynchronous):
    with sampling(None) as (where, _), pytest.raises(NotFound, match=r"unknown model: 'sample'.*sluice doctor"):
        drawn(where, asynchronous)


def test_an_older_server_without_statuses_in_streams_still_tells_why(monkeypatch):
    monkeypatch.setattr("sluice_client.transport.streams._metadata", lambda connection: ())
    with serving(FakeServer().answer) as where, Sluice(where) as sluice, pytest.raises(ServerFailed, match="LABELS"):
        sluice.sample("digits")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_server_that_falls_silent_meets_the_deadline_and_is_cancelled(asynchronous):
    release = threading.Event()

    def silent(call, timeout):
        yield next(FakeServer().events(call, timeout))
        release.wait(3)

    with sampling(silent) as (where, streaming):
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"said nothing for 0\.3 s"):
            drawn(where, asynchronous, timeout=0.3)
        assert time.monotonic() - begin < 1.5 and streaming.cancelled.wait(1)
        release.set()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_request_may_take_longer_than_the_timeout_while_events_come(asynchronous):
    with sampling(Slow(0.1)) as (where, _):
        assert [type(event) for event in drawn(where, asynchronous, timeout=0.5)] == KINDS


def test_what_the_caller_does_between_two_events_does_not_count():
    with serving(FakeServer().answer) as where, Sluice(where, timeout=0.3) as sluice:
        kinds = []
        for event in sluice.sample_stream(labels=1, steps=1):
            kinds.append(type(event))
            time.sleep(0.4)
    assert kinds == [Progress, Result, End]


def test_no_server_ends_as_unavailable_within_the_time():
    begin = time.monotonic()
    with Sluice("127.0.0.1:9", timeout=0.4) as sluice, pytest.raises(Unavailable, match="No server answers at"):
        sluice.sample(labels=1)
    assert time.monotonic() - begin < 2


def test_a_stream_that_breaks_off_is_the_servers_failure():
    def half(call, timeout):
        yield next(FakeServer().events(call, timeout))

    with sampling(half) as (where, _), Sluice(where) as sluice, pytest.raises(ServerFailed, match="before the"):
        sluice.sample(labels=1)


@pytest.mark.parametrize("text", ['{"kind": "song"}', "[]", "no JSON", '{"kind": "progress", "done": 1}'])
def test_an_event_that_is_none_is_an_unexpected_answer(text):
    with (
        sampling(lambda call, timeout: [{"EVENT": strings([text])}]) as (where, _),
        pytest.raises(UnexpectedAnswer, match="should answer"),
    ):
        Sluice(where).sample(labels=1)


def test_closing_ends_streams_under_way_and_refuses_new_ones():
    with sampling(Slow(1.0)) as (where, _):
        sluice = Sluice(where)
        ended: list[Exception] = []

        def ask():
            try:
                sluice.sample(**REQUEST)
            except Exception as error:
                ended.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        begin = time.monotonic()
        sluice.close()
        thread.join(3)
        assert time.monotonic() - begin < 1.5 and isinstance(ended[0], Cancelled)
        with pytest.raises(Cancelled, match="closed"):
            sluice.sample(labels=1)


def test_closing_the_asyncio_client_ends_its_streams():
    async def run(where):
        sluice = AsyncSluice(where)
        task = asyncio.ensure_future(sluice.sample(**REQUEST))
        await asyncio.sleep(0.3)
        await sluice.close()
        with pytest.raises(Cancelled):
            await task

    with sampling(Slow(1.0)) as (where, _):
        asyncio.run(run(where))


def test_several_streams_run_at_the_same_time_in_both_clients():
    async def run(where):
        async with AsyncSluice(where) as sluice:
            return await asyncio.gather(*(sluice.sample(labels=1, seed=i, steps=2) for i in range(4)))

    with sampling(Slow(0.2)) as (where, _):
        begin = time.monotonic()
        samples = asyncio.run(run(where))
        assert time.monotonic() - begin < 2.4, "one after the other they take 3.2 s"
        assert len({one.images[0] for one in samples}) == 4
        found: list = []
        with Sluice(where) as sluice:
            ask = lambda i: found.append((i, sluice.sample(labels=1, seed=i, steps=2).images))  # noqa: E731
            threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert [images for _, images in sorted(found)] == [one.images for one in samples]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_streams_carry_headers_and_go_over_tls(tmp_path, asynchronous):
    authority = Authority(tmp_path)
    headers: list[dict] = []
    with serving(FakeServer().answer, pair=authority.issue("server"), headers=headers) as where:
        events = drawn(where, asynchronous, tls=Tls(ca=authority.file), headers={"authorization": "Bearer x"})
    assert [type(event) for event in events] == KINDS
    assert headers[-1]["authorization"] == "Bearer x" and headers[-1]["triton_grpc_error"] == "true"
