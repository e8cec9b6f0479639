"""The verb `enhance` in process, over several requests: order, what is dropped, bounds, who goes away."""

import asyncio

import pytest

from sluice.errors import Cancelled, InvalidArgument, Unavailable
from sluice.verbs.enhance import Config, Enhancer
from tests.made.enhance_in_process import CONFIG, ask, facts, given, kinds, noise, png, stream
from tests.made.video_networks import NETWORKS, Networks

# ------------------------------------------------------------------------------------------------ order


def test_numbers_and_times_come_back_in_order():
    events = ask(RGB=noise(4, 4, 4, 3), stream="cam", first=7, times=[1001, 2002.5, None, 5005], last=True)
    assert [(said["number"], said["time"]) for said, _ in events[1:-1]] == [
        (7, 1001),
        (8, 2002.5),
        (9, None),
        (10, 5005),
    ]
    assert (events[0][0]["stream"], events[0][0]["new"], events[-1][0]["next"]) == ("cam", True, 11)


def test_answers_keep_the_order_over_requests_and_size_may_change():
    async def run():
        enhancer, told = Enhancer(Networks(), CONFIG), []

        async def one(first, size, count):
            inputs = given(RGB=noise(count, *size, 3), stream="a", first=first)
            async for answer in enhancer.enhance(inputs, lambda: None):
                if facts(answer)["kind"] == "frame":
                    told.append((facts(answer)["number"], facts(answer)["width"]))

        await asyncio.gather(one(0, (60, 60), 3), one(3, (2, 2), 4), one(7, (4, 6), 1))
        return told

    assert asyncio.run(run()) == [(0, 60), (1, 60), (2, 60), (3, 2), (4, 2), (5, 2), (6, 2), (7, 6)]


def test_a_frame_out_of_order_is_refused_and_a_gap_is_not():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        frame = noise(1, 4, 4, 3)
        for first in (0, 5):
            events = await stream(enhancer, given(RGB=frame, stream="a", first=first))
            assert events[1][0]["number"] == first
        for late in (5, 2):
            with pytest.raises(InvalidArgument, match=f"'a' is at frame 6, got {late}; send frames in the order"):
                await stream(enhancer, given(RGB=frame, stream="a", first=late))
        # It goes on as if nothing had happened.
        assert kinds(await stream(enhancer, given(RGB=frame, stream="a", first=6))) == ["begun", "frame", "end"]

    asyncio.run(run())


def test_a_picture_that_cannot_be_read_fails_alone():
    events = ask(IMAGES=[png(noise(4, 4, 3)), b"junk", png(noise(4, 4, 3))])
    assert kinds(events) == ["begun", "frame", "failed", "frame", "end"]
    assert "not an image" in events[2][0]["error"] and events[2][0]["number"] == 1
    assert (events[-1][0]["frames"], events[-1][0]["failed"]) == (2, 1)


# ------------------------------------------------------------------------------------------------ too fast, too long


def slow(policy, backlog=4, requests=6):
    """Return the events of many one-frame requests that arrive while the first is being worked on."""

    async def run():
        gate = asyncio.Event()
        networks = Networks(gate=gate)
        enhancer = Enhancer(networks, CONFIG)
        frame = noise(1, 4, 4, 3)
        options = {"stream": "a", "policy": policy, "backlog": backlog}
        tasks = [asyncio.ensure_future(stream(enhancer, given(RGB=frame, first=i, **options))) for i in range(requests)]
        await asyncio.sleep(0.05)
        gate.set()
        return [event for events in await asyncio.gather(*tasks) for event in events], networks

    return asyncio.run(run())


def test_with_wait_every_frame_is_enhanced_a_few_at_a_time():
    events, networks = slow("wait")
    assert [said["number"] for said, _ in events if said["kind"] == "frame"] == list(range(6))
    assert networks.most == 2


def test_with_drop_the_oldest_that_wait_are_dropped_and_told():
    events, networks = slow("drop", backlog=1)
    # Two are being worked on, the last one waits.
    assert [said["number"] for said, _ in events if said["kind"] == "frame"] == [0, 1, 5]
    assert [said["number"] for said, _ in events if said["kind"] == "dropped"] == [2, 3, 4]
    assert [said["dropped"] for said, _ in events if said["kind"] == "end"] == [[], [], [2], [3], [4], []]
    assert len(networks.models) == 3


def test_within_a_request_the_oldest_are_dropped_too():
    events = ask(RGB=noise(8, 4, 4, 3), stream="a", policy="drop", backlog=2)
    assert [(said["kind"], said["number"]) for said, _ in events[1:-1]] == [
        *[("frame", 0), ("frame", 1)],
        *[("dropped", i) for i in range(2, 6)],
        *[("frame", 6), ("frame", 7)],
    ]


def test_too_many_waiting_frames_are_refused():
    async def run():
        enhancer = Enhancer(Networks(gate=asyncio.Event()), Config(networks=NETWORKS, max_waiting=3))
        first = asyncio.ensure_future(stream(enhancer, given(RGB=noise(5, 4, 4, 3), stream="a")))
        await asyncio.sleep(0.02)
        with pytest.raises(Unavailable, match="3 frames of stream 'a' wait, and 3 may"):
            await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=5))
        first.cancel()

    with pytest.raises(Unavailable):  # of one request as well
        ask(config=Config(networks=NETWORKS, max_waiting=1), RGB=noise(4, 4, 4, 3), stream="a")
    config = Config(networks=NETWORKS, max_waiting=3)
    assert kinds(ask(config=config, RGB=noise(3, 4, 4, 3)))[-1] == "end"
    asyncio.run(run())


def test_streams_are_few_and_forgotten_when_idle():
    async def run():
        now = [0.0]
        enhancer = Enhancer(Networks(), Config(networks=NETWORKS, max_streams=2), lambda: now[0])

        async def one(name, first=0, **more):
            return (await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream=name, first=first, **more)))[0][0]["new"]

        assert await one("a", idle=10) and await one("b", idle=20)
        with pytest.raises(Unavailable, match="2 streams are known, and no more may be"):
            await one("c")
        assert not await one("a", 1, idle=10)
        now[0] = 11
        assert await one("c")  # in place of a
        assert not await one("b", 5, last=True)
        assert len(enhancer.streams) == 1
        assert await one("a")  # it begins anew, at any number

    asyncio.run(run())


def test_an_abandoned_stream_is_forgotten_without_another_request():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", idle=1))
        assert len(enhancer.streams) == 1
        await asyncio.sleep(1.3)
        assert len(enhancer.streams) == 0

    asyncio.run(run())


def test_requests_without_a_name_leave_nothing_behind():
    async def run():
        enhancer = Enhancer(Networks(), Config(networks=NETWORKS, max_streams=4))
        for _ in range(6):
            events = await stream(enhancer, given(RGB=noise(1, 4, 4, 3)))
            assert events[0][0]["stream"] is None
        assert len(enhancer.streams) == 0 and enhancer.held == 0

    asyncio.run(run())


def test_a_request_may_do_nothing_but_end_its_stream():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a"))
        assert kinds(await stream(enhancer, given(RGB=noise(0, 4, 4, 3), stream="a", first=1, last=True))) == [
            "begun",
            "end",
        ]
        assert len(enhancer.streams) == 0

    asyncio.run(run())


def test_memory_is_bounded_over_requests():
    async def run():
        enhancer = Enhancer(Networks(gate=asyncio.Event()), Config(networks=NETWORKS, max_memory=100))
        first = asyncio.ensure_future(stream(enhancer, given(RGB=noise(1, 8, 8, 3), stream="a")))  # one alone may
        await asyncio.sleep(0.02)
        with pytest.raises(Unavailable, match="frames of 192 bytes are under way already"):
            await stream(enhancer, given(RGB=noise(1, 4, 4, 3)))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert enhancer.held == 0

    asyncio.run(run())


def test_all_streams_together_have_so_many_frames_in_work():
    async def run():
        networks = Networks()
        enhancer = Enhancer(networks, Config(networks=NETWORKS, workers=3))
        requests = [given(RGB=noise(4, 4, 4, 3), stream=str(i)) for i in range(6)]
        await asyncio.gather(*(stream(enhancer, one) for one in requests))
        return networks.most

    assert asyncio.run(run()) == 3


# ------------------------------------------------------------------------------------------------ who goes away


def test_a_caller_that_goes_away_stops_its_frames_and_nobody_else_s():
    async def run():
        networks = Networks()
        enhancer = Enhancer(networks, CONFIG)
        gone = [False]

        def check():
            if gone[0]:
                raise Cancelled("the request was cancelled")

        async def leave():
            async for answer in enhancer.enhance(given(RGB=noise(20, 4, 4, 3), stream="a"), check):
                gone[0] = gone[0] or facts(answer)["kind"] == "frame"

        leaver = asyncio.ensure_future(leave())
        await asyncio.sleep(0)
        others = await stream(enhancer, given(RGB=noise(2, 4, 4, 3), stream="a", first=20))
        with pytest.raises(Cancelled):
            await leaver
        assert [said["number"] for said, _ in others if said["kind"] == "frame"] == [20, 21]
        return len(networks.models)

    assert asyncio.run(run()) < 8


def test_a_closed_answer_frees_the_places_of_its_frames():
    async def run():
        networks = Networks()
        enhancer = Enhancer(networks, CONFIG)
        answers = enhancer.enhance(given(RGB=noise(20, 4, 4, 3), stream="a"), lambda: None)
        assert facts(await anext(answers))["kind"] == "begun"
        await answers.aclose()
        events = await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=20))
        assert kinds(events) == ["begun", "frame", "end"]

    asyncio.run(run())


def test_a_network_that_fails_fails_the_request_and_the_stream_goes_on():
    async def run():
        enhancer = Enhancer(Networks(fail=1), CONFIG)
        one = asyncio.ensure_future(stream(enhancer, given(RGB=noise(4, 4, 4, 3), stream="a")))
        other = asyncio.ensure_future(stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=4)))
        with pytest.raises(Unavailable, match="is busy"):
            await one
        return kinds(await other)

    assert asyncio.run(run()) == ["begun", "frame", "end"]
