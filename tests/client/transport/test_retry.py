"""Trying again: on UNAVAILABLE only, with growing jittered waits, never beyond the deadline. The clock is a fake."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import DeadlineExceeded, InvalidRequest, NotFound, Retry, ServerFailed, Sluice, Unavailable
from sluice_client.transport.protocol import Function
from sluice_client.transport.retry import Attempts

from tests.made.fake_server import FakeServer


class FakeClock:
    """Time passes only by sleeping, and by `each` seconds for every call."""

    def __init__(self, each: float = 0.0):
        self.now = 100.0
        self.each = each
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client(server: FakeServer, clock: FakeClock, **options) -> Sluice:
    def answer(call, timeout):
        clock.now += clock.each
        return server.answer(call, timeout)

    sluice = Sluice(transport=Function(answer), **options)
    sluice._clock = lambda: clock.now  # type: ignore[method-assign]
    sluice._sleep = clock.sleep  # type: ignore[method-assign]
    return sluice


def test_a_server_that_comes_back_is_asked_again():
    server, clock = FakeServer([Unavailable("full")] * 3), FakeClock()
    assert client(server, clock).describe()["frames"] == 0
    assert len(server.calls) == 4 and len(clock.slept) == 3


def test_each_attempt_gets_what_is_left_of_the_time():
    server, clock = FakeServer([Unavailable("full")] * 3), FakeClock(each=1.0)
    client(server, clock, timeout=20).describe()
    timeouts = [timeout for _, timeout in server.calls]
    assert timeouts[0] == 20
    for (earlier, later), slept in zip(itertools.pairwise(timeouts), clock.slept, strict=True):
        assert later == pytest.approx(earlier - 1 - slept)


def test_the_error_comes_before_the_deadline_with_the_count_of_attempts():
    server, clock = FakeServer([Unavailable("full.", remedy="Wait.")] * 1000), FakeClock(each=0.01)
    with pytest.raises(Unavailable, match=r"full\. Tried \d+ times in 30\.0 s\.") as error:
        client(server, clock, timeout=30).describe()
    assert 129.9 < clock.now <= 130 and error.value.remedy == "Wait."
    assert 8 < len(server.calls) < 60


@pytest.mark.parametrize("error", [NotFound("no"), InvalidRequest("no"), ServerFailed("no"), DeadlineExceeded("no")])
def test_nothing_else_is_tried_again(error):
    server, clock = FakeServer([error]), FakeClock()
    with pytest.raises(type(error)):
        client(server, clock).describe()
    assert len(server.calls) == 1 and clock.slept == []


def test_one_attempt_is_one_attempt():
    server, clock = FakeServer([Unavailable("full")]), FakeClock()
    with pytest.raises(Unavailable, match=r"^full") as error:
        client(server, clock, retry=Retry(attempts=1)).describe()
    assert "Tried" not in str(error.value) and clock.slept == []


def test_a_waiting_person_can_be_told_why():
    told: list[tuple[str, float]] = []
    server, clock = FakeServer([Unavailable("full")] * 2), FakeClock()
    client(server, clock, on_retry=lambda error, wait: told.append((error.message, wait))).describe()
    assert [message for message, _ in told] == ["full", "full"] and [wait for _, wait in told] == clock.slept


def test_a_timeout_can_be_given_for_one_call():
    server, clock = FakeServer(), FakeClock()
    client(server, clock, timeout=60).describe(timeout=3)
    assert server.calls[0][1] == 3


def test_waits_double_up_to_the_most():
    waits = list(itertools.islice(Retry(first=0.1, factor=2, most=1).waits(lambda: 1.0), 6))
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_two_clients_do_not_wait_in_step():
    a, b = (Attempts(Retry(), 60, 0.0) for _ in range(2))
    pairs = [(a.wait_after(Unavailable("x"), 0.0), b.wait_after(Unavailable("x"), 0.0)) for _ in range(8)]
    assert any(abs(x - y) > 1e-6 for x, y in pairs)


@given(
    st.floats(0.001, 10),
    st.floats(1, 5),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
)
def test_no_wait_ever_passes_the_deadline(first, factor, timeout, draws):
    jitter = itertools.cycle(draws)
    attempts = Attempts(Retry(first=first, factor=factor, most=max(first, 5)), timeout, 0.0, lambda: next(jitter))
    now = 0.0
    for _ in range(200):
        assert attempts.remaining(now) > 0
        now += 0.01
        try:
            now += attempts.wait_after(Unavailable("x"), now)
        except Unavailable:
            assert now > timeout - 0.04
            return
        assert now <= timeout


def test_a_last_attempt_without_time_ends_in_the_reason_of_those_before():
    attempts = Attempts(Retry(), 10, 0.0)
    late = DeadlineExceeded("Deadline Exceeded.")
    attempts.remaining(0.0)
    assert attempts.ended(late, 10.0) is late, "the only one: the server took the call and was slow"
    attempts.wait_after(Unavailable("The queue is full.", remedy="Wait."), 1.0)
    attempts.remaining(2.0)
    error = attempts.ended(late, 10.0)
    assert isinstance(error, Unavailable) and error.remedy == "Wait."
    assert error.message.startswith("The queue is full. Tried 2 times in 10.0 s")


@pytest.mark.parametrize("wrong", [{"first": 0}, {"factor": 0.5}, {"most": 0.01}, {"attempts": 0}])
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        Retry(**wrong)
