"""`ingest` stores a frame whatever its detector does, and what it found with it; in one process, without networks."""

import asyncio
import hashlib
import json

import numpy as np
import pytest

from sluice import contracts
from sluice.errors import Cancelled, InvalidArgument, Late, Unavailable
from sluice.gallery.store import Full, Gallery
from sluice.verbs import ingest as ingest_verb
from sluice.wire.calls import json_strings, strings
from tests.made.ingest_in_process import CHANNELS, LABELS, VERSION, Inputs, Server, jpeg, rows


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", "feature_extractor/1/0123456789ab", CHANNELS, threads=1) as opened:
        yield opened


def ingest(server, data, detector="detect"):
    inputs = Inputs(IMAGES=strings(data), FRAMES=json_strings([{"id": name(one)} for one in data]))
    config = ingest_verb.Config(canvases="64x64 96x64", detector=detector)
    answer = asyncio.run(ingest_verb.ingest(server.call, inputs, config))
    return [json.loads(receipt) for receipt in answer["RECEIPTS"]]


def name(data):
    return hashlib.sha256(data).hexdigest()[:8]


def found(store, data):
    frames = store.get([name(one) for one in data], objects=True)
    return [frame["objects"] and len(frame["objects"]) for frame in frames]


def test_new_frames_are_stored_with_what_was_found(store):
    data = [jpeg(i, size) for i, size in enumerate([(64, 64), (96, 64), (64, 64), (96, 64)])]
    counts = {data[0]: 3, data[1]: 0, data[2]: 0, data[3]: 2}
    server = Server(store, lambda one: (rows(counts[one]), LABELS, VERSION))
    receipts = ingest(server, data)
    assert [(receipt["status"], receipt["scored"], receipt["unscored"]) for receipt in receipts] == [
        ("stored", True, None)
    ] * 4
    (stored,) = store.get([name(data[0])], objects=True)
    np.testing.assert_array_equal(np.float32([one["box"] for one in stored["objects"]]), rows(3)[:, 2:6])
    assert [len(frame["objects"]) for frame in store.get([name(one) for one in data], objects=True)] == [3, 0, 0, 2]
    assert len(server.added) == 2  # a commit a canvas, as without a detector


def test_frames_that_are_known_are_not_looked_at_again(store):
    server = Server(store, lambda one: (rows(1), LABELS, VERSION))
    ingest(server, [jpeg(1)])
    server.asked.clear()
    (receipt,) = ingest(server, [jpeg(1)])
    assert receipt["status"] == "known" and "scored" not in receipt and "differs" not in receipt
    assert set(server.asked) == {"frame_gallery"}


def test_the_receipt_of_a_known_frame_has_what_was_said_otherwise(store):
    server = Server(store, lambda one: (rows(0), LABELS, VERSION))
    config = ingest_verb.Config(canvases="64x64 96x64", detector="detect")

    def receipts(*frames):
        inputs = Inputs(IMAGES=strings([jpeg(i) for i, _ in frames]), FRAMES=json_strings([one for _, one in frames]))
        answer = asyncio.run(ingest_verb.ingest(server.call, inputs, config))
        return [json.loads(receipt) for receipt in answer["RECEIPTS"]]

    first, twin = receipts((1, {"id": "one", "tags": ["day"]}), (1, {"id": "one", "tags": ["night"]}))
    assert (first["status"], "differs" in first, twin["status"]) == ("stored", False, "known")
    assert twin["differs"] == {"tags": {"given": ["night"], "stored": ["day"]}}
    bad, other = receipts((2, {"tags": "no list"}), (1, {"drive": "0042"}))
    assert bad["status"] == "refused"
    assert (other["id"], other["differs"]) == ("one", {"drive": {"given": "0042", "stored": ""}})


def test_without_a_detector_frames_are_stored_unscored(store):
    server = Server(store, lambda one: 1 / 0)
    (receipt,) = ingest(server, [jpeg(1)], detector="")
    assert (receipt["status"], receipt["scored"], receipt["unscored"]) == ("stored", False, None)
    assert "detect" not in server.asked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("mixture_detector is busy; try again"), "busy"),
        (Late("mixture_detector did not start within its time limit; try again"), "time limit"),
        (InvalidArgument("CLASS_MEAN of image 0 holds NaN"), "NaN"),
        (Cancelled("the request was cancelled"), "cancelled"),
        (RuntimeError("/usr/lib/somewhere: broken"), "detect failed; the server's log says why"),
        (KeyError("BOXES"), "detect failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_detector_that_fails_loses_no_frame(store, error, words):
    data = [jpeg(i) for i in range(5)]

    def detect(one):
        if one in data[1:4:2]:
            raise error
        return rows(2), LABELS, VERSION

    receipts = ingest(Server(store, detect), data)
    assert [receipt["status"] for receipt in receipts] == ["stored"] * 5
    assert [receipt["scored"] for receipt in receipts] == [True, False, True, False, True]
    assert words in receipts[1]["unscored"] and receipts[0]["unscored"] is None
    assert "/usr" not in receipts[1]["unscored"]
    assert found(store, data) == [2, None, 2, None, 2]
    assert all(store.image(name(one)) == one for one in data)


def test_a_detector_that_is_replaced_meanwhile_scores_each_frame_with_its_version(store):
    data = [jpeg(i) for i in range(4)]
    server = Server(store, lambda one: (rows(1), LABELS, VERSION if one in data[:2] else "mixture_detector/1/bbbb"))
    assert all(receipt["scored"] for receipt in ingest(server, data))
    assert [frame["detector"] for frame in store.get([name(one) for one in data])] == [VERSION] * 2 + [
        "mixture_detector/1/bbbb"
    ] * 2


def test_classes_that_do_not_fit_the_version_lose_no_frame(store):
    ingest(Server(store, lambda one: (rows(1), LABELS, VERSION)), [jpeg(1)])
    (receipt,) = ingest(Server(store, lambda one: (rows(1), ("Car", "Tram"), VERSION)), [jpeg(2)])
    assert receipt["status"] == "stored" and not receipt["scored"] and "another version" in receipt["unscored"]


def test_what_is_no_image_is_refused_alone(store):
    receipts = ingest(Server(store, lambda one: (rows(1), LABELS, VERSION)), [jpeg(1), b"no image", jpeg(2)])
    assert [receipt["status"] for receipt in receipts] == ["stored", "refused", "stored"]
    assert "not an image" in receipts[1]["error"] and "scored" not in receipts[1]


def test_a_full_disk_is_said_as_before(store, monkeypatch):
    server = Server(store, lambda one: (rows(1), LABELS, VERSION))

    def full(*_):
        raise Full("no space is left")

    monkeypatch.setattr(store, "add", full)
    (receipt,) = ingest(server, [jpeg(1)])
    assert receipt["status"] == "refused" and receipt["retry"] and "no space" in receipt["error"]


def test_features_that_cannot_be_made_are_nobodys_own_fault(store):
    server = Server(store, lambda one: (rows(1), LABELS, VERSION))
    call = server.call

    async def broken(model, inputs, outputs):
        if model == "feature_extractor":
            raise Unavailable("feature_extractor is busy; try again")
        return await call(model, inputs, outputs)

    server.call = broken
    with pytest.raises(Unavailable, match="busy"):
        ingest(server, [jpeg(1), jpeg(2)])
    assert store.describe()["frames"] == 0


@pytest.mark.parametrize("name", ["max_rois", "max_texts", "max_queries", "max_cells", "texts"])
def test_a_limit_of_another_verb_is_no_parameter_of_ingest(name):
    with pytest.raises(ValueError, match=f"unknown parameter '{name}'"):
        contracts.parameters(ingest_verb.Config, {name: "1"})
    known = {"max_images": "9", "in_flight": "2", "max_bytes": "10", "max_pixels": "20", "canvases": "64x64"}
    assert contracts.parameters(ingest_verb.Config, known).sketch().max_pixels == 20
