"""Many frames: bounded calls, several at once, receipts in order, nothing lost by a bad neighbour or a bad moment."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import DeadlineExceeded, InvalidRequest, NewFrame, Receipt, Retry, Sluice, TooLarge, Unavailable
from sluice_client.tensors import strings
from sluice_client.transport.in_order import in_order
from sluice_client.transport.protocol import Function
from sluice_client.verbs.ingest import batches

from tests.made.fake_server import FakeServer, png


def sluice_of(server: FakeServer, **options) -> Sluice:
    return Sluice(transport=Function(server.answer), retry=Retry(first=0.001, most=0.002), **options)


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 8), st.integers(1, 60))
def test_batches_hold_every_frame_once_in_order_and_keep_their_bounds(sizes, count, size):
    frames = [NewFrame(bytes([i % 256]) * length) for i, length in enumerate(sizes)]
    cut = list(batches(frames, count=count, size=size))
    assert [item.frame for batch in cut for item in batch.items] == frames
    for batch in cut:
        assert 1 <= len(batch.items) <= count
        assert sum(len(item.data) for item in batch.items) <= size or len(batch.items) == 1


def test_files_are_read_only_when_their_turn_comes(tmp_path):
    drawn = []

    def frames():
        for i in range(100):
            drawn.append(i)
            yield NewFrame(png(i))

    cut = batches(frames(), count=4)
    next(cut)
    assert len(drawn) <= 5


def test_receipts_come_in_the_order_of_the_frames_however_the_calls_end():
    server = FakeServer()

    def answer(call, timeout):
        first = json.loads(call.inputs["FRAMES"][0])["id"]
        time.sleep(0.03 if first in ("f0", "f4") else 0)
        return server.answer(call, timeout)

    told: list[str] = []
    receipts = Sluice(transport=Function(answer)).ingest(
        (NewFrame(png(i), id=f"f{i}") for i in range(16)),
        batch=2,
        in_flight=4,
        progress=lambda done: told.extend(receipt.id for receipt in done),
    )
    assert [receipt.id for receipt in receipts] == told == [f"f{i}" for i in range(16)]


def test_no_more_calls_are_under_way_than_allowed():
    lock = threading.Lock()
    state = {"now": 0, "most": 0}

    def work(item: int) -> int:
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        time.sleep(0.005)
        with lock:
            state["now"] -= 1
        return item

    assert list(in_order(work, range(20), 3)) == list(range(20))
    assert state["most"] <= 3


def test_a_frame_that_cannot_be_read_is_refused_here_and_its_neighbours_are_stored(tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(png(1))
    (tmp_path / "empty.png").write_bytes(b"")
    server = FakeServer()
    receipts = sluice_of(server).ingest(
        [
            NewFrame(tmp_path / "missing.png", id="m"),
            NewFrame(good),
            NewFrame(tmp_path / "empty.png"),
            NewFrame(b"junk"),
        ]
    )
    assert [receipt.status for receipt in receipts] == ["refused", "stored", "refused", "refused"]
    assert receipts[0].id == "m" and "cannot be read" in (receipts[0].error or "")
    assert "zero bytes" in (receipts[2].error or "") and "not an image" in (receipts[3].error or "")
    assert len(server.calls[0][0].inputs["IMAGES"]) == 2


def test_paths_and_bytes_are_frames_of_which_nothing_else_is_known(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for place, path in enumerate(paths):
        path.write_bytes(png(place))
    receipts = sluice_of(FakeServer()).ingest([str(paths[0]), paths[1], png(2), NewFrame(png(3), id="d"), 5, None])  # type: ignore[list-item]
    assert [receipt.status for receipt in receipts] == ["stored"] * 4 + ["refused"] * 2
    assert receipts[3].id == "d" and "or a path; got int" in (receipts[4].error or "")


@pytest.mark.parametrize("alone", ["a.png", Path("a.png"), b"bytes", NewFrame(b"x"), 5, None], ids=repr)
def test_one_frame_alone_is_no_list_of_frames(alone):
    with pytest.raises(InvalidRequest, match=r"^`ingest` needs a list of frames.* Put it in a list\.$"):
        sluice_of(FakeServer()).ingest(alone)


def test_when_nothing_can_be_read_nothing_is_sent():
    server = FakeServer()
    assert [receipt.ok for receipt in sluice_of(server).ingest([NewFrame("no/such")] * 3)] == [False] * 3
    assert server.calls == []


@pytest.mark.parametrize("error", [InvalidRequest, TooLarge])
def test_a_call_that_is_refused_as_a_whole_is_split_until_one_frame_is_to_blame(error):
    server = FakeServer()

    def answer(call, timeout):
        if b"poison" in call.inputs["IMAGES"].tolist():
            raise error("no")
        return server.answer(call, timeout)

    images = [png(0), png(1), b"poison", png(3), png(4)]
    receipts = Sluice(transport=Function(answer)).ingest(
        [NewFrame(image, id=f"f{i}") for i, image in enumerate(images)]
    )
    assert [receipt.status for receipt in receipts] == ["stored", "stored", "refused", "stored", "stored"]
    assert receipts[2].id == "f2" and receipts[2].error == "no"


def test_what_could_not_be_stored_just_now_is_sent_again_and_alone():
    server = FakeServer()
    full = [True, True]

    def answer(call, timeout):
        tensors = dict(server.answer(call, timeout))
        if full and len(call.inputs["IMAGES"]):
            full.pop()
            receipts = [json.loads(text) for text in tensors["RECEIPTS"]]
            receipts[-1] = {"status": "refused", "id": None, "error": "no space is left on the disk", "retry": True}
            server.frames.popitem()
            tensors["RECEIPTS"] = strings(json.dumps(receipt) for receipt in receipts)
        return tensors

    sluice = Sluice(transport=Function(answer), retry=Retry(first=0.001, most=0.002))
    receipts = sluice.ingest([NewFrame(png(i), id=f"f{i}") for i in range(3)])
    assert [receipt.status for receipt in receipts] == ["stored"] * 3
    assert [len(call.inputs["IMAGES"]) for call, _ in server.calls] == [3, 1, 1]


@pytest.mark.parametrize("least", [0, 0.15])
def test_a_disk_that_stays_full_ends_as_unavailable_and_what_was_told_is_stored(least):
    """Let the last attempt have no time for an answer, too. least: seconds that the server takes."""
    told: list[Receipt] = []

    def answer(call, timeout):
        if timeout < least:
            raise DeadlineExceeded("Deadline Exceeded.")
        frames = [json.loads(frame) for frame in call.inputs["FRAMES"]]
        bad = {"status": "refused", "error": "no space is left on the disk", "retry": True}
        return {
            "RECEIPTS": strings(
                json.dumps({"status": "stored", "id": frame["id"]} if frame["id"] == "f0" else bad) for frame in frames
            )
        }

    sluice = Sluice(transport=Function(answer), retry=Retry(first=0.001, most=0.002), timeout=0.2)
    with pytest.raises(Unavailable, match="no space is left"):
        sluice.ingest([NewFrame(png(i), id=f"f{i}") for i in range(3)], batch=1, in_flight=1, progress=told.extend)
    assert [receipt.id for receipt in told] == ["f0"]


def test_running_it_again_stores_only_what_was_missing():
    server = FakeServer()
    frames = [NewFrame(png(i)) for i in range(6)]
    sluice_of(server).ingest(frames[:4])
    receipts = sluice_of(server).ingest(frames)
    assert [receipt.status for receipt in receipts] == ["known"] * 4 + ["stored"] * 2


def test_a_failure_in_the_middle_leaves_no_thread_behind():
    server = FakeServer([Unavailable("full")] * 10_000)
    with pytest.raises(Unavailable):
        sluice_of(server, timeout=0.05).ingest((NewFrame(png(i)) for i in range(50)), batch=1)
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("sluice-call") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"batch_bytes": 0}, {"in_flight": 0}])
def test_bounds_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidRequest):
        sluice_of(FakeServer()).ingest([NewFrame(png(0))], **wrong)


def test_a_time_that_is_not_known_is_sent_as_null():
    assert NewFrame(b"x").as_json() == {"id": None, "drive": "", "camera": "", "time": None, "tags": []}
