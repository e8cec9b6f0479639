"""`detect`, its two models and heads of other detectors through the real server."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from sluice_client import NewFrame, Sluice
from tritonclient.utils import np_to_triton_dtype

from sluice import contracts, images
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.objects import detections
from sluice.methods.mixtures.options import Options
from sluice.methods.mixtures.summaries import Moments, Summary
from sluice.models import object_detector, uncertainty_aggregator
from sluice.models.uncertainty_aggregator import detector_version
from sluice.wire.calls import strings
from tests.made.encoded_pictures import jpeg
from tests.made.planted_heads import planted, random_heads, tensors

# So that something is found whatever the weights; the network that is shipped was trained on a deviation.
LOW = Options(min_score=0.02, object_score=0.02, location_sigmoid="deviation")
LABELS = uncertainty_aggregator.read_labels(contracts.ROOT / "model_repository", "mixture_detector")


@pytest.fixture(scope="module")
def pictures():
    return [jpeg(40), jpeg(41, (960, 720)), jpeg(42, (640, 360)), jpeg(43, (360, 480))]


@pytest.fixture(scope="module")
def ask(server):
    client = triton.InferenceServerClient(server.grpc)

    def ask(model, **inputs):
        given = []
        for name, value in inputs.items():
            array = value if isinstance(value, np.ndarray) else strings(value)
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            given.append(tensor)
        result = client.infer(model, given, client_timeout=120)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    return ask


def options(**values):
    return [json.dumps(values)]


def words(array):
    return [value.decode() for value in array]


def of(answer, i):
    """Return the rows of one image: class, score, box, uncertainties, as `Detections.as_array` has them."""
    rows = answer["IMAGE"] == i
    columns = [answer["CLASSES"][:, None], answer["SCORES"][:, None], answer["BOXES"]]
    return np.concatenate([*columns, answer["BOX_UNCERTAINTIES"], answer["CLASS_UNCERTAINTIES"]], axis=1)[rows]


def refused(ask, model, **inputs):
    """Return the sentence with which a wrong request is refused."""
    with pytest.raises(triton.InferenceServerException) as caught:
        ask(model, **inputs)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    message = caught.value.message()
    assert "Traceback" not in message and " /" not in message and "sluice:" not in message
    return message


# ------------------------------------------------------------------------------------------------ true answers


def test_detect_gives_what_graph_and_maths_give_in_one_process(ask, pictures):
    import onnxruntime

    graph = contracts.ROOT / "model_repository/mixture_detector/1/model.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answer = ask("detect", IMAGES=pictures, OPTIONS=options(min_score=0.02, object_score=0.02))
    assert words(answer["ERRORS"]) == [""] * 4
    assert len(answer["SCORES"]) > 0
    for i, data in enumerate(pictures):
        canvas, geometry = images.read(data, object_detector.Config())
        heads = Heads.of(dict(zip(names, session.run(names, {"IMAGE": canvas[None]}), strict=True)))
        (expected,) = detections(heads, [geometry], LOW)
        found = of(answer, i)
        # Sums in another order may move a score over a threshold: compare what is clear of it.
        clear = expected.scores > 0.021
        assert abs(len(found) - len(expected)) <= 0.02 * len(expected) + 1
        assert np.abs(np.sort(found[:, 1])[::-1][: clear.sum()] - expected.scores[clear]).max(initial=0) < 1e-3
        if len(expected):
            np.testing.assert_allclose(found[0], expected.as_array()[0], rtol=1e-3, atol=1e-3)
        summary = Summary.from_json(words(answer["SUMMARIES"])[i])
        assert summary.whole.objects == len(found) and summary.model == words(answer["MODEL"])[0]


def test_boxes_lie_in_the_image_and_best_comes_first(ask, pictures):
    answer = ask("detect", IMAGES=pictures, OPTIONS=options(min_score=0.02))
    for i, size in enumerate([(480, 360), (960, 720), (640, 360), (360, 480)]):
        rows = of(answer, i)
        assert (rows[:, 2:4] >= 0).all() and (rows[:, 4] <= size[0]).all() and (rows[:, 5] <= size[1]).all()
        assert (rows[:, 4:6] > rows[:, 2:4]).all() and (np.diff(rows[:, 1]) <= 0).all()
        assert (rows[:, 6:] >= 0).all() and (rows[:, 6:10] <= 1).all() and (rows[:, 15] <= 0.25).all()
    assert words(answer["LABELS"]) == list(LABELS)


def test_a_picture_has_the_same_answer_alone_and_beside_others_and_from_many_callers(ask, pictures):
    alone = [of(ask("detect", IMAGES=[data], OPTIONS=options(min_score=0.02)), 0) for data in pictures]
    together = ask("detect", IMAGES=pictures, OPTIONS=options(min_score=0.02))
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda _: ask("detect", IMAGES=pictures, OPTIONS=options(min_score=0.02)), range(8)))
    for i, rows in enumerate(alone):
        for answer in (together, *many):
            np.testing.assert_array_equal(of(answer, i), rows)


def test_who_wants_raw_heads_asks_the_detector_and_can_have_them_aggregated(ask, pictures):
    canvas, geometry = images.read(pictures[0], object_detector.Config())
    heads = ask("mixture_detector", IMAGE=canvas[None])
    b, n, k, c = heads["CLASS_MEAN"].shape
    assert (b, c) == (1, len(LABELS) + 1) and heads["PRIORS"].shape == (1, n, 4)
    assert heads["LOCATION_MEAN"].shape == (1, n, k, 4) and heads["CLASS_WEIGHT"].shape == (1, n, k)
    answer = ask("uncertainty_aggregator", **heads, GEOMETRY=geometry.as_array()[None], OPTIONS=options(min_score=0.02))
    direct = ask("detect", IMAGES=pictures[:1], OPTIONS=options(min_score=0.02))
    np.testing.assert_array_equal(of(answer, 0), of(direct, 0))


def test_the_client_reads_it(server, pictures):
    with Sluice(server.grpc, timeout=120) as client:
        found = client.detect([*pictures, b"no image"], min_score=0.02)
    assert [one.error is None for one in found.images] == [True] * 4 + [False]
    assert found.labels == LABELS and found.model.startswith("mixture_detector/")
    assert [one.summary is None for one in found.images] == [False] * 4 + [True]


# ------------------------------------------------------------------------------------------------ bad next to good


def test_a_bad_image_fails_alone(ask, pictures):
    batch = [pictures[0], b"", pictures[1], b"GIF89a", pictures[2][:2000], pictures[2]]
    answer = ask("detect", IMAGES=batch, OPTIONS=options(min_score=0.02))
    errors = words(answer["ERRORS"])
    assert [bool(error) for error in errors] == [False, True, False, True, True, False]
    assert "0 bytes" in errors[1] and "not an image" in errors[3] and "truncated" in errors[4]
    assert [bool(text) for text in answer["SUMMARIES"]] == [True, False, True, False, False, True]
    for i in (0, 2, 5):
        expected = ask("detect", IMAGES=[batch[i]], OPTIONS=options(min_score=0.02))
        np.testing.assert_array_equal(of(answer, i), of(expected, 0))


def test_only_bad_images_are_answered_with_nothing_found(ask):
    answer = ask("detect", IMAGES=[b"x", b"y"])
    assert answer["BOXES"].shape == (0, 4) and answer["CLASS_UNCERTAINTIES"].shape == (0, 2)
    assert all(answer["ERRORS"]) and words(answer["LABELS"]) == list(LABELS)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({}, "neither"),
        ({"IMAGES": [b"x"], "IDS": ["y"]}, "exactly one"),
        ({"IMAGES": []}, "1 to 256"),
        ({"IMAGES": [b"x"], "OPTIONS": ["{"]}, "JSON"),
        ({"IMAGES": [b"x"], "OPTIONS": options(confidence=7)}, "confidence"),
        ({"IMAGES": [b"x"], "OPTIONS": options(nms=0.4)}, "nms"),
        ({"IMAGES": [b"x"], "OPTIONS": options(labels=["Tram"])}, "Tram"),
        ({"IMAGES": [b"x"], "OPTIONS": options(keep_scores=True)}, "stored frames"),
    ],
)
def test_a_wrong_request_gets_a_sentence(ask, inputs, sentence):
    if not inputs:
        inputs = {"OPTIONS": ["{}"]}  # Triton itself refuses a request without any input
    assert sentence in refused(ask, "detect", **inputs)


# ------------------------------------------------------------------------------------------------ foreign heads


def test_heads_with_other_k_and_c_are_answered_under_their_detectors_name(ask):
    heads = random_heads(7, b=2, n=50, k=7, c=12)
    labels = [f"class {i}" for i in range(11)]
    answer = ask("uncertainty_aggregator", **tensors(heads), LABELS=labels, DETECTOR=["frcnn 7"])
    version = detector_version("frcnn 7", Options())
    for i, expected in enumerate(detections(heads)):
        np.testing.assert_array_equal(of(answer, i), expected.as_array())
        assert words(answer["SUMMARIES"])[i] == Summary.of(expected, labels, 0.5, version).to_json()
    assert words(answer["LABELS"]) == labels and words(answer["MODEL"]) == [version]


def test_one_component_and_no_class_variance_are_heads_too(ask):
    heads = tensors(random_heads(8, k=1, c=2))
    del heads["CLASS_VARIANCE"]
    answer = ask("uncertainty_aggregator", **heads, LABELS=["thing"], DETECTOR=["plain"])
    assert len(answer["SCORES"]) > 3 and np.isnan(answer["CLASS_UNCERTAINTIES"][:, 0]).all()
    assert not answer["CLASS_UNCERTAINTIES"][:, 1].any() and not answer["BOX_UNCERTAINTIES"][:, 4:].any()


def test_images_without_an_object_have_empty_tensors_and_a_summary(ask):
    heads = tensors(planted([[0, 0, 9, 9]], [1e-9], c=len(LABELS) + 1))
    answer = ask("uncertainty_aggregator", **heads)
    assert answer["BOXES"].shape == (0, 4) and answer["IMAGE"].shape == (0,)
    summary = json.loads(answer["SUMMARIES"][0])
    assert (summary["objects"], summary["maxima"], summary["classes"]) == (0, None, {})


def test_asked_without_heads_the_aggregator_says_whose_it_is(ask):
    answer = ask("uncertainty_aggregator", OPTIONS=["{}"])
    assert words(answer["LABELS"]) == list(LABELS) and len(answer["SUMMARIES"]) == 0
    assert words(answer["MODEL"])[0].startswith("mixture_detector/1/")


def broken(**arrays):
    return {**tensors(random_heads(0, c=len(LABELS) + 1)), **arrays}


NAN = np.full((1, 60, 3, len(LABELS) + 1), np.nan, np.float32)


@pytest.mark.parametrize(
    "heads, sentence",
    [
        (broken(CLASS_MEAN=NAN), "CLASS_MEAN of image 0"),
        (broken(CLASS_VARIANCE=NAN * np.inf), "CLASS_VARIANCE of image 0"),
        (broken(LOCATION_MEAN=np.zeros((1, 60, 2, 4), np.float32)), "LOCATION_MEAN must be"),
        (broken(CLASS_WEIGHT=np.zeros((1, 60, 9), np.float32)), "CLASS_WEIGHT must be"),
        (tensors(random_heads(0, c=9)), "give LABELS, 8 names, and DETECTOR"),
        (broken(LABELS=["a"] * 3, DETECTOR=["x"]), "differ"),
        (broken(LABELS=["a", "b", "c"], DETECTOR=["x"]), "LABELS, got 3"),
        (broken(GEOMETRY=np.ones((3, 6), np.float32)), "GEOMETRY"),
        ({"PRIORS": np.ones((1, 5, 4), np.float32)}, "LOCATION_MEAN"),
    ],
)
def test_wrong_heads_are_named(ask, heads, sentence):
    message = refused(ask, "uncertainty_aggregator", **heads)
    assert sentence in message


def test_wrong_heads_of_one_caller_do_not_harm_another(ask):
    good = tensors(random_heads(1, c=len(LABELS) + 1))
    expected = of(ask("uncertainty_aggregator", **good), 0)

    def one(i):
        if i % 2:
            return refused(ask, "uncertainty_aggregator", **broken(CLASS_MEAN=NAN))
        return of(ask("uncertainty_aggregator", **good), 0)

    with ThreadPoolExecutor(8) as pool:
        for i, answer in enumerate(pool.map(one, range(16))):
            if i % 2:
                assert "CLASS_MEAN" in answer
            else:
                np.testing.assert_array_equal(answer, expected)


def test_moments_of_many_answers_merge_to_those_of_all_objects(ask):
    answers = [ask("uncertainty_aggregator", **tensors(random_heads(seed, c=len(LABELS) + 1))) for seed in range(4)]
    merged = Moments()
    for answer in answers:
        merged = merged.merge(Summary.from_json(answer["SUMMARIES"][0]).whole.moments)
    rows = np.concatenate([of(answer, 0) for answer in answers]).astype(np.float64)
    values = np.stack([rows[:, 6:10].max(1), rows[:, 10:14].max(1), rows[:, 14], rows[:, 15]], axis=1)
    assert merged.n == len(values) > 50
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.std(), values.std(axis=0), rtol=1e-12)


# ------------------------------------------------------------------------------------------------ stored frames


@pytest.fixture(scope="module")
def stored(server, pictures):
    with Sluice(server.grpc, timeout=120) as client:
        frames = [NewFrame(data, id=f"detect {i}") for i, data in enumerate(pictures[:2])]
        assert [receipt.status for receipt in client.ingest(frames)] == ["stored"] * 2
        yield client
        client.delete(["detect 0", "detect 1"])


def test_stored_frames_are_detected_as_their_pictures(ask, pictures, stored):
    answer = ask("detect", IDS=["detect 0", "nobody", "detect 1"], OPTIONS=options(min_score=0.02))
    direct = ask("detect", IMAGES=pictures[:2], OPTIONS=options(min_score=0.02))
    np.testing.assert_array_equal(of(answer, 0), of(direct, 0))
    np.testing.assert_array_equal(of(answer, 2), of(direct, 1))
    errors = words(answer["ERRORS"])
    assert errors[0] == errors[2] == "" and "nobody" in errors[1]


def test_scores_are_kept_with_the_frames(ask, stored):
    answer = ask("detect", IDS=["detect 0", "nobody", "detect 1"], OPTIONS=options(keep_scores=True))
    command = {"op": "get", "ids": ["detect 0", "detect 1"]}
    frames = json.loads(ask("frame_gallery", COMMAND=[json.dumps(command)])["ANSWER"][0])
    for frame, i in zip(frames, (0, 2), strict=True):
        assert frame["detector"] == words(answer["MODEL"])[0]
        assert frame["summary"] == json.loads(answer["SUMMARIES"][i])
