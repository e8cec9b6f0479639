"""`select`, the scores that `ingest` stores, and frames that a detector failed on, through the real server."""

import io
import json

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from sluice_client import InvalidRequest, NewFrame, Sluice
from tritonclient.utils import np_to_triton_dtype

import scenes
from sluice.wire.calls import strings
from tests.made.encoded_pictures import noise_jpeg as small
from tests.made.served import STORE
from tests.made.uncertain_objects import LABELS, Picture, long_hand, pictures

DETECTOR = "of_this_test/1/0123456789ab"  # its scores are a pool of their own, whatever other tests store


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def asker(server):
    client = triton.InferenceServerClient(server.grpc)

    def ask(model, **inputs):
        given = []
        for name, value in inputs.items():
            array = value if isinstance(value, np.ndarray) else strings(map(as_text, value))
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            given.append(tensor)
        result = client.infer(model, given, client_timeout=120)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    return ask


def as_text(value):
    return value if isinstance(value, bytes | str) else json.dumps(value)


@pytest.fixture(scope="module")
def ask(server):
    return asker(server)


@pytest.fixture(scope="module")
def client(server):
    with Sluice(server.grpc, timeout=120) as client:
        before = {frame.id for frame in client.frames()}
        yield client
        # The server is shared, and others count its frames.
        added = [frame.id for frame in client.frames() if frame.id not in before]
        if added:
            client.delete(added)


@pytest.fixture(scope="module")
def images():
    return [Picture(f"select {one.id}", one.objects, one.drive) for one in pictures(21, 16)]


@pytest.fixture(scope="module")
def stored(ask, client, images):
    """Store small pictures, with objects that a detector of this test found in them."""
    frames = [NewFrame(small(7000 + i), id=image.id, drive=image.drive) for i, image in enumerate(images)]
    assert [receipt.status for receipt in client.ingest(frames)] == ["stored"] * len(frames)
    command = {"op": "score", "ids": [image.id for image in images], "detector": DETECTOR, "labels": list(LABELS)}
    found = [image.detections().as_array() for image in images]
    counts = np.array([len(rows) for rows in found], np.int32)
    said = ask("frame_gallery", COMMAND=[command], DETECTIONS=np.concatenate(found), COUNTS=counts)
    assert json.loads(said["ANSWER"][0]) == {"scored": command["ids"], "unknown": []}
    return images


def ids(answer, name="IDS"):
    return [value.decode() for value in answer[name]]


def select(ask, candidates=None, **options):
    if candidates is None:
        return ask("select", OPTIONS=[{"detector": DETECTOR, **options}])
    return ask("select", OPTIONS=[options], CANDIDATES=candidates)


# ------------------------------------------------------------------------------------------------ true answers


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n": 4, "aggregate": "sum"},
        {"over_objects": "max", "aggregate": "max"},
        {"per_drive": 1},
        {"class_weights": {"Car": 0, "Pedestrian": 2}},
        {"types": ["location_aleatoric"], "aggregate": "mean"},
    ],
    ids=str,
)
def test_the_gallery_and_a_list_are_ranked_as_by_hand(ask, stored, options):
    hand = {
        "aggregate": "mean",
        "over_objects": "sum",
        "types": None,
        "class_weights": {},
        "per_drive": None,
        **options,
    }
    expected = long_hand(
        stored,
        hand["aggregate"],
        hand["types"] or ("location_aleatoric", "location_epistemic", "class_aleatoric", "class_epistemic"),
        hand["class_weights"],
        hand["per_drive"],
        over_objects=hand["over_objects"],
    )[: options.get("n", 100)]
    for answer in (select(ask, **options), select(ask, [image.candidate() for image in stored], **options)):
        assert ids(answer) == [id_ for _, id_, _ in expected]
        np.testing.assert_allclose(answer["SCORES"], [score for score, _, _ in expected], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(answer["Z"], [z for _, _, z in expected], rtol=1e-5, atol=1e-5)
        assert all(" standard deviations " in reason for reason in ids(answer, "REASONS"))
        assert json.loads(answer["SEARCHED"][0])["frames"] == len(stored)
    frames = [json.loads(frame) for frame in select(ask, **options)["FRAMES"]]
    assert [frame["id"] for frame in frames] == [id_ for _, id_, _ in expected]


def test_what_cannot_be_ranked_is_listed(ask, stored):
    answer = select(ask)
    assert sorted(ids(answer, "WITHOUT_OBJECTS")) == sorted(image.id for image in stored if not image.objects)
    # Whatever else lies in this gallery was never seen by this test's detector.
    assert not set(ids(answer, "UNSCORED")) & {image.id for image in stored}
    assert json.loads(answer["SEARCHED"][0])["unscored"] >= len(answer["UNSCORED"])


def test_nothing_to_pick_is_an_answer(ask):
    empty = [Picture("a").candidate(), json.dumps({"id": "b", "summary": None})]
    answer = select(ask, empty)
    assert ids(answer) == [] and answer["Z"].shape == (0, 4) and answer["MAXIMA"].shape == (0, 4)
    assert ids(answer, "WITHOUT_OBJECTS") == ["a"] and ids(answer, "UNSCORED") == ["b"]
    one = select(ask, [Picture("one", [("Car", [1.0, 2, 3, 4])]).candidate()])
    assert ids(one) == ["one"] and one["SCORES"].tolist() == [0]


def test_a_diverse_selection_picks_among_the_stored_frames(ask, stored):
    best, some = select(ask, n=8), select(ask, n=4, diversity={"of": 2})
    assert len(some["IDS"]) == 4 and set(ids(some)) <= set(ids(best)) and ids(some)[0] == ids(best)[0]


def test_the_client_asks_it(client, stored):
    """Select from a list, as `sluice select --candidates` does: the client itself names no detector."""
    chosen = client.select([json.loads(image.candidate()) for image in stored], n=3)
    assert [pick.id for pick in chosen] == [id_ for _, id_, _ in long_hand(stored)[:3]]
    assert chosen.picks[0].score == pytest.approx(long_hand(stored)[0][0], rel=1e-5)
    assert chosen.searched["frames"] == len(stored)


def test_statistics_are_kept_and_refused_when_the_pool_has_changed(ask, client, stored):
    kept = json.loads(select(ask)["STATISTICS"][0])
    assert ids(select(ask, statistics=kept, n=3)) == ids(select(ask, n=3))
    (receipt,) = client.ingest([NewFrame(small(7900), id="select one more")])
    assert receipt.status == "stored"
    assert "have changed since; leave `statistics` out" in refused(ask, statistics=kept)
    assert client.delete(["select one more"]) == ["select one more"]


def test_frozen_statistics_of_the_gallery_judge_images_that_are_not_in_it(ask, client, stored):
    kept = client.select(detector=DETECTOR, n=1).statistics
    outside = [Picture("a vehicle's", [("Car", [0.4, 0.05, 2.0, 0.1]), ("Pedestrian", [0.1, 0.01, 9.0, 0.02])])]
    given = [json.loads(one.candidate()) for one in outside]
    given[0]["summary"]["model"] = DETECTOR
    with pytest.raises(InvalidRequest, match="add `frozen`"):
        client.select(given, statistics=kept)
    found = client.select(given, statistics=kept, frozen=True)
    assert found.frozen and found.statistics == kept and found.ids == ["a vehicle's"]
    assert found.searched["judged_by"]["pool"] == kept["pool"] and found.searched["frames"] == 1
    assert "judged by another pool" in found.told() and "the other pool's mean" in found.picks[0].reason
    assert found.picks[0].score == pytest.approx(long_hand(outside, pool=stored)[0][0], rel=1e-5)


# ------------------------------------------------------------------------------------------------ mistakes


def refused(ask, candidates=None, **options):
    with pytest.raises(triton.InferenceServerException) as caught:
        select(ask, candidates, **options)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    message = caught.value.message()
    assert "Traceback" not in message and "sluice:" not in message and "File " not in message
    return message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n is a whole number"),
        ({"n": 3, "threshold": 1}, "not both"),
        ({"class_weights": {"Tram": 1}}, "has Tram; the detector knows Car"),
        ({"k": 3}, "OPTIONS has 'k'; known are: n, threshold"),
        ({"op": "delete"}, "no key 'op'"),
        ({"detector": "nobody/1/aa"}, "nothing is scored by nobody/1/aa"),
        ({"statistics": {"n": 3}}, "statistics"),
        ({"drives": "north"}, "drives is a list"),
        ({"diversity": 0}, "1 or more"),
    ],
    ids=str,
)
def test_a_wrong_request_gets_a_sentence(ask, stored, options, words):
    assert words in refused(ask, **options)


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (b"{", "candidate 1"),
        ({"id": "x"}, "candidate 1: it is a JSON object with id and summary"),
        ({"id": "x", "summary": {"model": "m"}}, "candidate 1: a summary"),
        ({"id": "", "summary": None}, "candidate 1: id is"),
        ({"id": "a", "summary": None}, "id of its own"),
        ({"id": "x", "summary": None, "boxes": []}, "may have id, drive"),
        ({"id": "x", "summary": None, "descriptor": ["a"]}, "candidate 1"),
    ],
    ids=str,
)
def test_a_wrong_candidate_is_named(ask, candidate, words):
    assert words in refused(ask, [Picture("a", [("Car", [1.0] * 4)]).candidate(), candidate])


def test_candidates_of_two_detectors_are_refused_with_the_remedy(ask):
    one = Picture("a", [("Car", [1.0] * 4)]).candidate()
    other = dict(json.loads(one), id="b")
    other["summary"] = dict(other["summary"], model="another/1/aa")
    message = refused(ask, [one, other])
    assert "several detectors" in message and "another/1/aa" in message
    chosen = select(ask, [one, other], detector="another/1/aa")
    assert ids(chosen) == ["b"] and ids(chosen, "UNSCORED") == ["a"]


def test_scores_that_fit_no_frame_are_refused(ask, stored):
    command = {"op": "score", "ids": [stored[0].id], "detector": DETECTOR, "labels": list(LABELS)}
    rows = np.zeros((2, 16), np.float32)
    for change, counts, words in (
        (rows, [1], "COUNTS needs a number per frame"),
        (rows, [1, 1], "COUNTS needs a number per frame"),
        (rows - 1, [2], "class a whole one from 0"),
        (rows + np.float32("nan"), [2], "finite"),
        (np.where(np.arange(16) == 0, 3, rows).astype(np.float32), [2], "from 0 to 2"),
    ):
        with pytest.raises(triton.InferenceServerException, match=words) as caught:
            ask("frame_gallery", COMMAND=[command], DETECTIONS=change, COUNTS=np.array(counts, np.int32))
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(triton.InferenceServerException, match="another version"):
        ask(
            "frame_gallery",
            COMMAND=[{**command, "labels": ["Tram"]}],
            DETECTIONS=rows,
            COUNTS=np.array([2], np.int32),
        )


# ------------------------------------------------------------------------------------------------ ingest and detect


def test_new_frames_are_scored_as_detect_scores_them(ask, client):
    """Add streets, and a grey picture in which there is nothing."""
    data = [jpeg(scenes.render(seed, (480, 360)).image) for seed in (61, 62, 63)]
    data.append(jpeg(np.full((360, 480, 3), 128, np.uint8)))
    names = [f"select scored {i}" for i in range(4)]
    receipts = list(client.ingest([NewFrame(one, id=name) for one, name in zip(data, names, strict=True)]))
    assert [(receipt.status, receipt.scored) for receipt in receipts] == [("stored", True)] * 4
    found = ask("detect", IMAGES=data)
    told = ask("frame_gallery", COMMAND=[{"op": "get", "ids": names, "objects": True}])
    for i, frame in enumerate(json.loads(told["ANSWER"][0])):
        rows = found["IMAGE"] == i
        assert frame["detector"] == found["MODEL"][0].decode()
        assert frame["summary"] == json.loads(found["SUMMARIES"][i])
        assert frame["summary"]["faint"] == found["FAINT"][i] >= 0
        np.testing.assert_allclose(
            np.array([one["box"] for one in frame["objects"]]).reshape(-1, 4), found["BOXES"][rows], rtol=1e-6
        )
        assert [one["label"] for one in frame["objects"]] == [
            found["LABELS"][c].decode() for c in found["CLASSES"][rows]
        ]
    assert not set(names) & set(client.unscored())
    again = list(client.ingest([NewFrame(data[0], id="another")]))
    assert again[0].status == "known"
    client.delete(names)


def test_frames_of_another_detector_are_scored_again(ask, client):
    name = "select grey"
    grey = jpeg(np.full((120, 160, 3), 90, np.uint8))
    assert next(iter(client.ingest([NewFrame(grey, id=name)]))).scored
    assert client.get([name])[0].more["summary"]["objects"] == 0  # so that tensors without a row are sent on the way
    command = {"op": "score", "ids": [name], "detector": "older/1/aa", "labels": ["thing"]}
    ask("frame_gallery", COMMAND=[command], COUNTS=np.array([0], np.int32))  # and it found nothing
    assert name in set(client.unscored())
    assert name in ids(ask("select", OPTIONS=[{"n": 1}]), "UNSCORED")
    before = client.describe()
    client.detect(ids=[name], keep_scores=True)
    assert name not in set(client.unscored())
    assert "faint" in client.get([name])[0].more["summary"]  # by which `select` ranks the frame without an object
    assert name in client.select(n=10_000).ids
    command = {"op": "score", "ids": [name]}  # as an older server did, without FAINT
    ask("frame_gallery", COMMAND=[command], COUNTS=np.array([0], np.int32))
    chosen = client.select(n=10_000)
    assert name in chosen.without_objects and chosen.searched["faintless"] >= 1 and "sluice score" in chosen.told()
    assert name in set(client.unscored())
    client.detect(ids=[name], keep_scores=True)
    assert name not in set(client.unscored())
    after = client.describe()
    assert after["unscored"] == before["unscored"] - 1 and after["detector"] in after["detectors"]
    client.delete([name])


def test_a_frame_that_the_detector_fails_on_is_stored_all_the_same(start, tmp_path):
    """Unload `frame_view` and `detect`, as if the detector were down."""
    server = start(gallery=tmp_path / "gallery", models=[*STORE, "select"])
    with server.client() as admin:
        for name in ("frame_view", "detect"):
            admin.unload_model(name, headers=server.admin_headers)
    with Sluice(server.grpc, timeout=60) as client:
        receipts = list(client.ingest([NewFrame(small(seed), id=f"{seed}") for seed in range(3)]))
        assert [(receipt.status, receipt.scored) for receipt in receipts] == [("stored", False)] * 3
        assert client.image("1") == small(1)
    ask = asker(server)
    receipt = json.loads(ask("ingest", IMAGES=[small(9)], FRAMES=[{"id": "9"}])["RECEIPTS"][0])
    assert receipt["status"] == "stored" and "detect" in receipt["unscored"] and "/" not in receipt["unscored"]
    answer = ask("select", OPTIONS=[{}])
    assert ids(answer) == [] and sorted(ids(answer, "UNSCORED")) == ["0", "1", "2", "9"]
    assert "sluice score" in json.loads(answer["SEARCHED"][0])["remedy"]
