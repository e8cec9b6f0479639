"""Every verb through the real server: true answers, clear errors, and neighbours that are not harmed."""

import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from sluice_client import InvalidRequest, NewFrame, NotFound, Query, Sluice, errors

from sluice import contracts, images
from sluice.methods import matching
from tests.made.broken_files import bomb
from tests.made.encoded_pictures import jpeg

ROI = [200.0, 180.0, 290.0, 250.0]


@pytest.fixture(scope="module")
def pictures():
    return [jpeg(seed) for seed in range(8)] + [jpeg(20, (640, 360))]


@pytest.fixture(scope="module")
def client(server):
    with Sluice(server.grpc, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def stored(client, pictures):
    """Add the pictures to the gallery, under the ids frame 0, frame 1, ..."""
    frames = [
        NewFrame(
            data, id=f"frame {i}", drive=f"drive {i % 2}", camera="front", time=float(i), tags=("even",) * (i % 2 == 0)
        )
        for i, data in enumerate(pictures)
    ]
    receipts = list(client.ingest(frames))
    assert [receipt.status for receipt in receipts] == ["stored"] * len(frames)
    return receipts


@pytest.fixture(scope="module")
def features(client, pictures, stored):
    """Return the features of every stored picture, by id."""
    return {f"frame {i}": client.embed(data) for i, data in enumerate(pictures)}


def outcomes(server, model):
    text = urllib.request.urlopen(f"http://{server.metrics}/metrics").read().decode()
    lines = [line for line in text.splitlines() if line.startswith(f'sluice_requests_total{{model="{model}"')]
    return {line.split('outcome="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}


# ------------------------------------------------------------------------------------------------ embed


def test_embed_gives_what_the_graph_gives(client, pictures):
    import onnxruntime

    graph = contracts.ROOT / "model_repository/feature_extractor/1/model.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    canvas, geometry = images.read(pictures[0])
    answer = client.embed(pictures[0])
    expected = session.run(["FEATURES"], {"IMAGE": canvas[None]})[0][0]
    assert np.abs(np.asarray(answer.features, np.float32) - expected.astype(np.float32)).max() < 2e-3
    assert np.allclose(np.asarray(answer.geometry), geometry.as_array())


def test_one_bad_image_in_a_batch_fails_alone(client, pictures):
    def one(data):
        try:
            return client.embed(data)
        except InvalidRequest as error:
            return error

    batch = [*pictures[:3], b"not an image", *pictures[3:6], pictures[0][:3000]]
    with ThreadPoolExecutor(len(batch)) as pool:
        answers = list(pool.map(one, batch))
    assert [isinstance(answer, InvalidRequest) for answer in answers] == [False] * 3 + [True] + [False] * 3 + [True]
    assert "not an image" in str(answers[3]) and "truncated" in str(answers[7])


# ------------------------------------------------------------------------------------------------ ingest


def test_the_same_bytes_are_known_and_the_same_id_is_refused(client, pictures, stored):
    again, other, broken, new = client.ingest(
        [
            NewFrame(pictures[0], id="another name"),
            NewFrame(jpeg(900), id="frame 0"),
            NewFrame(pictures[1][:2000]),
            NewFrame(jpeg(901), id="neighbour"),
        ]
    )
    assert (again.status, again.id) == ("known", "frame 0")
    assert other.status == "refused" and "frame 0" in other.error
    assert broken.status == "refused" and "truncated" in broken.error
    assert new.status == "stored"
    assert client.image("neighbour") == jpeg(901)
    assert client.delete(["neighbour"]) == ["neighbour"]
    with pytest.raises(NotFound):
        client.image("neighbour")


def test_frames_are_listed_as_they_were_given(client, stored):
    frames = {frame.id: frame for frame in client.frames(page=4)}
    assert set(frames) == {f"frame {i}" for i in range(9)}
    assert (frames["frame 3"].drive, frames["frame 3"].time, frames["frame 3"].tags) == ("drive 1", 3.0, ())
    assert (frames["frame 8"].width, frames["frame 8"].height) == (640, 360)


# ------------------------------------------------------------------------------------------------ retrieve and match


def brute_force(features, rows, form="roi"):
    """Return every stored picture's score, computed one at a time from the features that `embed` gives."""
    scores = {}
    for id_, view in features.items():
        geometry = images.Geometry.from_array(np.asarray(view.geometry))
        grid = view.features.shape[:2]
        valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
        scores[id_] = float(matching.scores(np.asarray(view.features), rows, form, valid)[0])
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def templates(view, roi):
    geometry = images.Geometry.from_array(np.asarray(view.geometry))
    features = np.asarray(view.features)
    return matching.stack([matching.template(features, matching.roi_cells(roi, geometry, features.shape[:2]))])


@pytest.mark.parametrize("form", ["roi", "image", "mean"])
def test_retrieve_is_brute_force(client, pictures, features, form):
    found = client.retrieve(Query(pictures[2], rois=[ROI]), k=9, score=form)
    expected = brute_force(features, templates(features["frame 2"], ROI), form)
    assert [match.score for match in found] == pytest.approx([score for _, score in expected], abs=2e-3)
    assert found.matches[0].id == expected[0][0]
    assert found.searched == 9


def test_a_frame_finds_itself_where_the_region_is(client, pictures, stored):
    best = client.retrieve(Query(pictures[5], rois=[ROI]), k=1).matches[0]
    assert best.id == "frame 5" and best.score == pytest.approx(1, abs=2e-3)
    (box,) = best.boxes
    assert ROI[0] - 8 <= box.x0 and box.x1 <= ROI[2] + 8 and ROI[1] - 8 <= box.y0 and box.y1 <= ROI[3] + 8
    heat = best.heatmap
    assert heat.shape == (60, 80)  # 480 x 360 pixels on a canvas of 640 x 480, cells of 8
    left, top, right, bottom = (int(edge * 80 / 480) for edge in ROI)
    inside = heat[top + 1 : bottom, left + 1 : right]
    assert inside.min() >= 253


def test_a_stored_id_asks_as_its_picture_does(client, pictures, stored):
    by_picture = client.retrieve(Query(pictures[4], rois=[ROI]), k=5)
    by_id = client.retrieve(Query(id="frame 4", rois=[ROI]), k=5)
    assert [match.id for match in by_id] == [match.id for match in by_picture]


def test_filters_and_limits(client, stored):
    query = Query(id="frame 0", rois=[ROI])

    def ids(**options):
        return [match.id for match in client.retrieve(query, **options)]

    assert set(ids(k=9, drives=["drive 1"])) == {"frame 1", "frame 3", "frame 5", "frame 7"}
    assert set(ids(k=9, tags=["even"])) == {"frame 0", "frame 2", "frame 4", "frame 6", "frame 8"}
    assert set(ids(k=9, after=3, before=5)) == {"frame 3", "frame 4"}
    assert "frame 0" not in ids(k=9, exclude=["frame 0"])
    assert len(ids(k=9, per_drive=1)) == 2
    assert ids(k=9, drives=["nobody's"]) == []
    assert ids(k=9, threshold=0.999) == ["frame 0"]


def test_queries_answer_for_themselves(client, stored):
    queries = [Query(id="frame 1", rois=[ROI]), Query(id="frame 6", rois=[ROI, [10, 200, 60, 300]])]
    found = client.retrieve(queries, k=3, combine="query")
    assert [match.query for match in found] == [0, 0, 0, 1, 1, 1]
    assert (found.matches[0].id, found.matches[3].id) == ("frame 1", "frame 6")
    assert len(found.matches[0].roi_scores) == 3


@pytest.mark.parametrize("combine", ["max", "mean"])
def test_a_hit_of_one_query_does_not_light_up_the_object_of_another(client, pictures, stored, combine):
    queries = [Query(pictures[1], rois=[ROI]), Query(pictures[6], rois=[ROI])]
    alone = [client.match(query, [pictures[6]]).matches[0].heatmap for query in queries]
    for match in (
        client.match(queries, [pictures[6]], combine=combine, heatmaps="all").matches[0],
        next(m for m in client.retrieve(queries, k=9, combine=combine, heatmaps="all") if m.id == "frame 6"),
    ):
        assert match.heatmap_query == 1 and len(match.query_heatmaps) == 2
        for shown, wanted in zip((match.heatmap, *match.query_heatmaps), (alone[1], *alone), strict=True):
            assert np.abs(shown.astype(int) - wanted).max() <= 1  # a product's last bits may round to another level


def test_match_says_the_same_as_retrieve(client, pictures, stored):
    query = Query(pictures[3], rois=[ROI])
    scores = {f"frame {i}": match.score for i, match in enumerate(client.match(query, pictures))}
    for match in client.retrieve(query, k=9):
        assert scores[match.id] == pytest.approx(match.score, abs=2e-3)


def test_match_answers_the_neighbours_of_a_bad_image(client, pictures):
    answers = list(client.match(Query(pictures[0], rois=[ROI]), [pictures[0], b"", pictures[1], b"GIF89a"]))
    assert [answer.error is None for answer in answers] == [True, False, True, False]
    assert answers[0].score == pytest.approx(1, abs=2e-3) and np.isnan(answers[1].score)
    assert "0 bytes" in answers[1].error or "zero bytes" in answers[1].error


# ------------------------------------------------------------------------------------------------ mistakes


def raw(server, model, **tensors):
    """Make one call without the client's own checks."""
    inputs = []
    for name, value in tensors.items():
        if isinstance(value, np.ndarray):
            tensor = triton.InferInput(name, list(value.shape), "INT32" if value.dtype == np.int32 else "FP32")
        else:
            array = np.empty(len(value), object)
            array[:] = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in value]
            tensor, value = triton.InferInput(name, [len(array)], "BYTES"), array
        tensor.set_data_from_numpy(value)
        inputs.append(tensor)
    return triton.InferenceServerClient(server.grpc).infer(model, inputs, client_timeout=60)


def rois(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


BAD_QUERIES = {
    "not an image": (dict(QUERY_IMAGES=[b"hello"]), "not an image"),
    "zero bytes": (dict(QUERY_IMAGES=[b""]), "0 bytes"),
    "truncated": (dict(QUERY_IMAGES=[jpeg(0)[:2500]]), "truncated"),
    "a bomb": (dict(QUERY_IMAGES=[bomb(30_000, 30_000)]), "more than the limit"),
    "outside": (dict(ROIS=rois([900, 900, 950, 950])), "outside"),
    "inverted": (dict(ROIS=rois([90, 90, 50, 50])), "x0 < x1"),
    "empty": (dict(ROIS=rois([90, 90, 90, 120])), "x0 < x1"),
    "NaN": (dict(ROIS=rois([90, np.nan, 120, 120])), "finite"),
    "no ROI": (dict(ROIS=rois()), "ROIs"),
    "too many ROIs": (dict(ROIS=rois(*[[0, 0, 50, 50]] * 65)), "64"),
    "whose ROI": (dict(ROI_QUERY=np.array([7], np.int32)), "ROI_QUERY"),
    "two kinds of query": (dict(QUERY_IDS=[b"frame 0"]), "exactly one"),
    "k = 0": (dict(OPTIONS=[{"k": 0}]), "k is"),
    "an option that is none": (dict(OPTIONS=[{"kk": 3}]), "kk"),
    "options that are no JSON": (dict(OPTIONS=[b"{k: 3"]), "JSON"),
    "a form that is none": (dict(OPTIONS=[{"score": "best"}]), "score"),
}


@pytest.mark.parametrize("name", BAD_QUERIES)
def test_a_wrong_query_gets_a_sentence(server, pictures, stored, name):
    change, sentence = BAD_QUERIES[name]
    request = {"QUERY_IMAGES": [pictures[0]], "ROIS": rois(ROI), **change}
    with pytest.raises(triton.InferenceServerException) as caught:
        raw(server, "retrieve", **request)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert sentence in caught.value.message()
    assert "Traceback" not in caught.value.message() and "/" not in caught.value.message().replace("and/or", "")


def test_an_unknown_id_is_not_found(client, stored):
    with pytest.raises(NotFound, match="nobody"):
        client.retrieve(Query(id="nobody", rois=[ROI]))
    with pytest.raises(NotFound):
        client.get(["frame 0", "nobody"])


@pytest.mark.parametrize(
    "command", [b"", b"[]", b'{"op": "burn"}', b'{"op": "get"}', b'{"op": "get", "ids": 3, "x": 1}']
)
def test_a_wrong_command_gets_a_sentence(server, stored, command):
    with pytest.raises(triton.InferenceServerException) as caught:
        raw(server, "frame_gallery", COMMAND=[command])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


# ------------------------------------------------------------------------------------------------ under way


def test_a_cancelled_request_stops_its_loop(server, pictures):
    """Cancel after a second a request of 200 images, which take far longer."""
    client = triton.InferenceServerClient(server.grpc)
    before = outcomes(server, "match")
    array = np.empty(200, object)
    array[:] = [pictures[1]] * 200
    query = np.empty(1, object)
    query[:] = [pictures[0]]
    tensors = []
    for name, value, kind in (
        ("QUERY_IMAGES", query, "BYTES"),
        ("ROIS", rois(ROI), "FP32"),
        ("IMAGES", array, "BYTES"),
    ):
        tensor = triton.InferInput(name, list(value.shape), kind)
        tensor.set_data_from_numpy(value)
        tensors.append(tensor)
    answered = threading.Event()
    call = client.async_infer("match", tensors, callback=lambda result, error: answered.set())
    time.sleep(1)
    call.cancel()
    assert answered.wait(5)
    deadline = time.monotonic() + 15
    while outcomes(server, "match")["cancelled"] == before["cancelled"]:
        assert time.monotonic() < deadline, "the loop went on after its caller had gone"
        time.sleep(0.1)


def test_additions_and_queries_run_at_the_same_time(client, stored):
    new = [NewFrame(jpeg(seed), id=f"busy {seed}") for seed in range(300, 324)]
    with ThreadPoolExecutor(4) as pool:
        adding = pool.submit(lambda: list(client.ingest(new)))
        asked = 0
        while not adding.done():
            found = client.retrieve(Query(id="frame 0", rois=[ROI]), k=3)
            assert found.matches[0].id == "frame 0"
            asked += 1
        assert {receipt.status for receipt in adding.result()} == {"stored"} and asked >= 2
    assert len(client.delete([frame.id for frame in new])) == 24


def test_a_model_is_reloaded_under_traffic(server, client, stored):
    admin = triton.InferenceServerClient(server.grpc)
    headers = {"triton-grpc-protocol-admin-key": server.admin_key}
    stop, failures, answered = threading.Event(), [], []

    def traffic():
        while not stop.is_set():
            try:
                answered.append(client.retrieve(Query(id="frame 0", rois=[ROI]), k=1).matches[0].id)
            except errors.SluiceError as error:
                failures.append(error)

    thread = threading.Thread(target=traffic)
    thread.start()
    for model in ("frame_gallery", "retrieve"):
        admin.load_model(model, headers=headers)
        time.sleep(0.5)
    stop.set()
    thread.join()
    assert not failures and set(answered) == {"frame 0"}


def test_outcomes_are_counted(server, client, stored):
    before = outcomes(server, "retrieve")
    client.retrieve(Query(id="frame 0", rois=[ROI]))
    with pytest.raises(InvalidRequest):
        raw_bad = Query(b"no image", rois=[ROI])
        client.retrieve(raw_bad)
    after = outcomes(server, "retrieve")
    assert after["ok"] == before["ok"] + 1 and after["invalid"] == before["invalid"] + 1
