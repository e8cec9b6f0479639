"""Over a real socket: sizes, statuses, deadlines, a server that comes late, goes away, or is cancelled."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import numpy as np
import pytest
from sluice_client import (
    AsyncSluice,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    NewFrame,
    NotFound,
    Query,
    Retry,
    Sluice,
    Unavailable,
)

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving, slow

ROI = (8, 8, 24, 24)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_the_verbs_work_over_grpc():
    with serving(FakeServer().answer) as where, Sluice(where) as sluice:
        assert [r.status for r in sluice.ingest(NewFrame(png(i), id=f"f{i}") for i in range(5))] == ["stored"] * 5
        found = sluice.retrieve(Query(png(3), rois=[ROI]), k=2)
        assert found.matches[0].id == "f3" and found.matches[0].heatmap is not None
        assert len(sluice.match(Query(png(3), rois=[ROI]), [png(1), b"junk"])) == 2
        assert sluice.embed(png(1)).features.dtype == np.float16
        assert len(sluice.retrieve(Query(png(3), rois=[ROI]), drives=["none"])) == 0
        assert sluice.image("f1") == png(1)


def test_the_verbs_work_over_grpc_with_asyncio():
    async def run(where):
        async with AsyncSluice(where) as sluice:
            await sluice.ingest(NewFrame(png(i), id=f"f{i}") for i in range(5))
            found = await asyncio.gather(*(sluice.retrieve(Query(png(i), rois=[ROI]), k=1) for i in range(5)))
            return [one.matches[0].id for one in found], await sluice.health()

    with serving(FakeServer().answer) as where:
        ids, health = asyncio.run(run(where))
    assert ids == [f"f{i}" for i in range(5)] and health.ok and health.server == "triton 2.51.0"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_messages_beyond_grpcs_usual_four_megabytes_go_both_ways(asynchronous):
    server = FakeServer()
    large = png(1) + bytes(6 << 20)  # decoders stop at the end of the picture

    async def run(where):
        async with AsyncSluice(where) as sluice:
            await sluice.add(large, id="large")
            return await sluice.image("large")

    with serving(server.answer) as where:
        if asynchronous:
            assert asyncio.run(run(where)) == large
        else:
            with Sluice(where) as sluice:
                sluice.add(large, id="large")
                assert sluice.image("large") == large


def test_the_servers_status_becomes_the_exception():
    with serving(FakeServer().answer) as where, Sluice(where) as sluice:
        with pytest.raises(NotFound, match="no frame with the id 'x'"):
            sluice.get(["x"])
        with pytest.raises(InvalidRequest, match="not an image"):
            sluice.embed(b"junk")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_slow_server_meets_the_deadline(asynchronous):
    async def run(where):
        async with AsyncSluice(where, timeout=0.2) as sluice:
            await sluice.describe()

    with serving(slow(FakeServer().answer, 1.0)) as where:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="Allow more time"):
            if asynchronous:
                asyncio.run(run(where))
            else:
                with Sluice(where, timeout=0.2) as sluice:
                    sluice.describe()
        assert time.monotonic() - begin < 0.9


def test_a_server_that_is_not_there_yet_is_waited_for():
    port = free_port()
    result: list[int] = []

    def ask():
        with Sluice(f"127.0.0.1:{port}", timeout=20, retry=Retry(first=0.05, most=0.2)) as sluice:
            result.append(sluice.describe()["frames"])

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.4)
    with serving(FakeServer().answer, port=port):
        thread.join(20)
    assert result == [0]


def test_a_server_that_went_away_and_came_back_is_found_again():
    server = FakeServer()
    with serving(server.answer) as where:
        sluice = Sluice(where, timeout=20, retry=Retry(first=0.05, most=0.2))
        sluice.add(png(1))
    port = int(where.rpartition(":")[2])
    with pytest.raises(Unavailable, match="No server answers at"):
        sluice.describe(timeout=0.3)
    with serving(server.answer, port=port):
        assert sluice.describe()["frames"] == 1
        sluice.close()


def test_no_server_ends_as_unavailable_within_the_time():
    begin = time.monotonic()
    with Sluice(f"127.0.0.1:{free_port()}", timeout=0.5) as sluice:
        with pytest.raises(Unavailable, match=r"No server answers .* Tried \d+ times"):
            sluice.describe()
        with pytest.raises(Unavailable, match="sluice serve"):
            sluice.health()
    assert time.monotonic() - begin < 3


def test_a_full_server_is_asked_again():
    server = FakeServer([Unavailable("Exceeds maximum queue size")] * 3)
    with serving(server.answer) as where, Sluice(where, retry=Retry(first=0.01)) as sluice:
        assert sluice.describe()["frames"] == 0
    assert len(server.calls) == 4


def test_many_threads_may_share_a_client():
    server = FakeServer()
    results: list[str] = []
    with serving(server.answer) as where, Sluice(where) as sluice:
        sluice.ingest(NewFrame(png(i), id=f"f{i}") for i in range(8))

        def ask(i: int):
            for _ in range(5):
                results.append((i, sluice.retrieve(Query(png(i), rois=[ROI]), k=1).matches[0].id))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 40 and all(id == f"f{i}" for i, id in results)


def test_closing_ends_calls_under_way_and_refuses_new_ones():
    with serving(slow(FakeServer().answer, 3.0)) as where:
        sluice = Sluice(where)
        ended: list[Exception] = []

        def ask():
            try:
                sluice.describe()
            except Exception as error:
                ended.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        begin = time.monotonic()
        sluice.close()
        thread.join(2)
        assert time.monotonic() - begin < 1.5 and isinstance(ended[0], Cancelled)
        with pytest.raises(Cancelled, match="closed"):
            sluice.describe()


def test_a_cancelled_task_is_cancelled_and_nothing_else():
    async def run(where):
        async with AsyncSluice(where) as sluice:
            task = asyncio.ensure_future(sluice.describe())
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with serving(slow(FakeServer().answer, 1.0)) as where:
        asyncio.run(run(where))


def test_health_names_the_model_that_is_not_ready():
    with serving(FakeServer().answer, ready=lambda name: name != "match") as where, Sluice(where) as sluice:
        health = sluice.health()
        assert health.live and health.ready and not health.ok
        assert [name for name, ready in health.models.items() if not ready] == ["match"]


def test_the_address_comes_from_the_argument_then_the_environment_then_the_default(monkeypatch):
    monkeypatch.setenv("SLUICE_URL", "elsewhere:9001")
    assert Sluice().server == "elsewhere:9001" and Sluice("here:9002").server == "here:9002"
    monkeypatch.delenv("SLUICE_URL")
    assert Sluice().server == "127.0.0.1:8001"
