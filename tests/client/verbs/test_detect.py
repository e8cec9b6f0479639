"""`detect` and `select`: what is asked, what is answered, and what is refused before anything is sent. No network."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import Box, Detections, InvalidRequest, NewFrame, Object, Sluice, UnexpectedAnswer
from sluice_client.answers.detect import TYPES, Uncertainties
from sluice_client.transport.protocol import Function
from sluice_client.verbs import detect as detect_verb
from sluice_client.verbs import select as select_verb

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.detector import DETECTOR, LABELS, objects_of

SEEDS = range(12)
COUNTS = [len(objects_of(png(seed), {})) for seed in SEEDS]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sluice(server: FakeServer) -> Sluice:
    return Sluice(transport=Function(server.answer))


def test_the_pictures_of_these_tests_show_nothing_one_and_several_objects():
    assert {0, 1, 2, 3} <= set(COUNTS)


def test_every_object_comes_back_in_its_image_with_place_class_score_and_all_ten_values(sluice: Sluice):
    found = sluice.detect([png(seed) for seed in SEEDS], batch=5)
    assert [len(one) for one in found] == COUNTS and [one.id for one in found] == [str(seed) for seed in SEEDS]
    assert found.labels == LABELS and found.model == DETECTOR and found.images[0].model == DETECTOR
    for seed, one in zip(SEEDS, found, strict=True):
        assert (one.width, one.height) == (64, 48)
        for true, got in zip(objects_of(png(seed), {}), one, strict=True):
            assert got.label == LABELS[true["class"]] and got.class_id == true["class"]
            assert got.score == true["score"] and got.box == tuple(true["box"])
            assert (*got.box_aleatoric, *got.box_epistemic) == tuple(true["place"].tolist())
            assert (got.class_aleatoric, got.class_epistemic) == tuple(true["kind"].tolist())


def test_the_four_uncertainties_are_the_largest_over_the_coordinates_and_those_of_the_class():
    one = Object("Car", 0, 0.9, Box(0, 0, 8, 8), (0.1, 0.4, 0.2, 0.3), (0.05, 0.01, 0.02, 0.03), 0.5, 0.07)
    assert one.uncertainties == (0.4, 0.05, 0.5, 0.07)
    assert one.uncertainties.location_aleatoric == 0.4 and one.uncertainties.class_epistemic == 0.07
    assert TYPES == ("location_aleatoric", "location_epistemic", "class_aleatoric", "class_epistemic")


def test_the_summary_of_an_image_has_its_maxima_and_none_where_nothing_was_found(sluice: Sluice):
    found = sluice.detect([png(seed) for seed in SEEDS])
    for one in found:
        assert one.summary is not None and one.summary["objects"] == len(one)
        if len(one):
            assert one.maxima == pytest.approx(np.max([o.uncertainties for o in one], axis=0))
        else:
            assert one.maxima is None


def test_an_image_that_is_none_has_an_error_and_its_neighbours_are_answered(sluice: Sluice, tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(png(2))
    told: list[list[str]] = []
    given = [b"broken", good, tmp_path / "missing.png", png(1)]
    found = sluice.detect(given, batch=2, progress=lambda done: told.append([one.id for one in done]))
    assert [one.id for one in found] == ["0", str(good), str(tmp_path / "missing.png"), "3"]
    assert told == [["0", str(good)], [str(tmp_path / "missing.png"), "3"]]
    assert [one.error is None for one in found] == [False, True, False, True]
    assert found.images[0].summary is None and "cannot be read" in (found.images[2].error or "")
    assert "not an image" in (found.images[0].error or "") and found.images[0].width is None


def test_a_call_whose_images_cannot_be_read_is_not_made(sluice: Sluice, server: FakeServer, tmp_path):
    found = sluice.detect([tmp_path / "a.png", tmp_path / "b.png"])
    assert [one.error is not None for one in found] == [True, True] and server.calls == []


def test_stored_frames_are_named_by_their_ids_and_one_that_is_gone_fails_alone(sluice: Sluice, server: FakeServer):
    sluice.ingest(NewFrame(png(seed), id=f"f{seed}") for seed in SEEDS)
    found = sluice.detect(ids=["f3", "gone", "f1"])
    assert [len(one) for one in found] == [COUNTS[3], 0, COUNTS[1]]
    assert [one.error is None for one in found] == [True, False, True]
    sent = server.calls[-1][0].inputs
    assert sent["IDS"].tolist() == [b"f3", b"gone", b"f1"] and "IMAGES" not in sent
    assert json.loads(sent["OPTIONS"][0]) == {}


def test_scores_that_are_kept_are_no_longer_asked_for(sluice: Sluice):
    sluice.ingest(NewFrame(png(seed), id=f"f{seed:02d}") for seed in SEEDS)
    assert list(sluice.unscored(page=5)) == [f"f{seed:02d}" for seed in SEEDS]
    sluice.detect(ids=["f00", "f07"], keep_scores=True)
    assert list(sluice.unscored(page=3)) == [f"f{seed:02d}" for seed in SEEDS if seed not in (0, 7)]


def test_what_was_found_when_a_frame_was_scored_is_told_without_detecting_again(sluice: Sluice, server: FakeServer):
    sluice.ingest(NewFrame(png(seed), id=f"f{seed:02d}", drive="A") for seed in SEEDS)
    found = sluice.detect(ids=["f03", "f01"], keep_scores=True)
    kept = sluice.objects(["f03", "f02", "f01"])
    assert server.calls[-1][0].model == "frame_gallery"
    assert [one.error is None for one in kept] == [True, False, True] and "sluice score" in (kept[1].error or "")
    for before, after in zip(found, (kept[0], kept[2]), strict=True):
        assert [one.uncertainties for one in after] == [one.uncertainties for one in before]
        assert [one.box for one in after] == [one.box for one in before] and after.maxima == before.maxima
        assert after.model == DETECTOR and (after.width, after.height) == (64, 48)
        assert after.frame is not None and after.frame.drive == "A"


def test_pages_of_unscored_frames_lose_none_while_they_are_being_scored(sluice: Sluice):
    sluice.ingest(NewFrame(png(seed), id=f"f{seed:02d}") for seed in SEEDS)
    seen = []
    for id in sluice.unscored(page=2):
        seen.append(id)
        sluice.detect(ids=[id], keep_scores=True)
    assert seen == [f"f{seed:02d}" for seed in SEEDS] and list(sluice.unscored()) == []


def test_options_left_alone_are_not_sent_and_the_others_are():
    options = dict(confidence=0.02, candidates=50, iou=0.5, keep=20, object_score=0.6, min_score=0.05)
    options |= dict(class_reduce="max", labels=("Car",))
    sent = json.loads(detect_verb.request([b"x"], **options).inputs["OPTIONS"][0])
    assert sent == {**options, "labels": ["Car"]}
    assert json.loads(detect_verb.request([b"x"]).inputs["OPTIONS"][0]) == {}
    assert json.loads(detect_verb.request(ids=["f"], keep_scores=True).inputs["OPTIONS"][0]) == {"keep_scores": True}


def test_a_detector_without_class_variance_has_nan_there_and_null_in_json(server: FakeServer):
    call = detect_verb.request([png(2)])
    tensors = {**server.detect(call.inputs)}
    tensors["CLASS_UNCERTAINTIES"] = tensors["CLASS_UNCERTAINTIES"].copy()
    tensors["CLASS_UNCERTAINTIES"][:, 0] = np.nan
    one = detect_verb.answer(tensors).images[0]
    assert math.isnan(one.objects[0].uncertainties.class_aleatoric)
    text = json.dumps(one.as_json(), allow_nan=False)
    assert json.loads(text)["objects"][0]["class_aleatoric"] is None
    assert repr(Detections.from_json(json.loads(text))) == repr(one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"IMAGE": np.array([7], np.int32)}, "IMAGE of 0 to 0"),
        ({"CLASSES": np.array([4], np.int32)}, "CLASSES of 0 to 3"),
        ({"BOXES": np.zeros((1, 3), np.float32)}, "BOXES of shape"),
        ({"SUMMARIES": None}, "should answer SUMMARIES"),
    ],
)
def test_an_answer_of_another_form_is_said_to_be_one(server: FakeServer, change, message):
    seed = COUNTS.index(1)
    tensors = {**server.detect(detect_verb.request([png(seed)]).inputs), **change}
    with pytest.raises(UnexpectedAnswer, match=message):
        detect_verb.answer(tensors)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: detect_verb.request(), "got neither"),
        (lambda: detect_verb.request([b"x"], ids=["f"]), "got both"),
        (lambda: detect_verb.request([b"x"], keep_scores=True), "give their ids"),
        (lambda: detect_verb.request([b"x"], sort=1), "`detect` knows confidence"),
        (lambda: detect_verb.request([b"x"], iou=1.5), "iou must lie in 0..1; got 1.5"),
        (lambda: detect_verb.request([b"x"], min_score=math.nan), "min_score must lie"),
        (lambda: detect_verb.request([b"x"], keep=0), "keep must be a whole number"),
        (lambda: detect_verb.request([b"x"], candidates=True), "candidates must be"),
        (lambda: detect_verb.request([b"x"], class_reduce="sum"), "detected, max; got 'sum'"),
        (lambda: detect_verb.request([b"x"], labels="Car"), "labels must be a list"),
        (lambda: detect_verb.request(ids="f"), "ids must be a list"),
        (lambda: detect_verb.request(ids=[]), "at least one id"),
        (lambda: detect_verb.works([], None, 3), "`detect` needs a list of at least one image"),
        (lambda: detect_verb.works(None, ["f"], 0), "batch must be a whole number of at least 1; got 0"),
        (lambda: select_verb.request(n=1, threshold=2.0), "n or threshold, not both"),
        (lambda: select_verb.request(n=0), "n must be a whole number"),
        (lambda: select_verb.request(per_drive=0), "per_drive must be"),
        (lambda: select_verb.request(threshold=math.inf), "threshold must be a finite"),
        (lambda: select_verb.request(aggregate="median"), "max, mean, sum; got 'median'"),
        (lambda: select_verb.request(over_objects="median"), "over_objects.*max, mean, sum; got 'median'"),
        (lambda: select_verb.request(types=["location"]), "types are some of location_aleatoric"),
        (lambda: select_verb.request(types="class_epistemic"), "types must be a list"),
        (lambda: select_verb.request(class_weights={"Car": -1}), "Car=-1"),
        (lambda: select_verb.request(class_weights={"Car": math.nan}), "Car=nan"),
        (lambda: select_verb.request(diversity=0.5), "diversity is at least 1"),
        (lambda: select_verb.request(diversity=3, threshold=1.0), "not threshold"),
        (lambda: select_verb.request(after=2, before=1), "earlier than before"),
        (lambda: select_verb.request(k=3), "`select` knows n, threshold"),
        (lambda: select_verb.request([]), "at least one candidate"),
        (lambda: select_verb.request([{"id": "a"}]), "an id and a summary"),
        (lambda: select_verb.request([{"id": "a", "summary": 3}]), "an id and a summary"),
        (lambda: select_verb.request(["a"]), "an id and a summary"),
    ],
)
def test_a_wrong_request_is_refused_before_it_is_sent(ask, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        ask()
    assert caught.value.status == "LOCAL"


# select ---------------------------------------------------------------------------------------------------------------


def test_select_picks_the_most_uncertain_and_lists_what_it_could_not_rank(sluice: Sluice):
    sluice.ingest(NewFrame(png(seed), id=f"f{seed:02d}", drive="A") for seed in SEEDS)
    sluice.detect(ids=[f"f{seed:02d}" for seed in SEEDS if seed != 5], keep_scores=True)
    selection = sluice.select(n=3, aggregate="max")
    assert len(selection) == 3 and selection.ids == [pick.id for pick in selection]
    scores = [pick.score for pick in selection]
    assert scores == sorted(scores, reverse=True) and scores[0] == max(selection.picks[0].z)
    first = selection.picks[0]
    assert "standard deviations above the pool" in first.reason
    assert first.frame is not None and first.frame.drive == "A" and isinstance(first.maxima, Uncertainties)
    assert selection.unscored == ("f05",)
    assert selection.without_objects == tuple(f"f{seed:02d}" for seed in SEEDS if COUNTS[seed] == 0 and seed != 5)
    assert selection.statistics["detector"] == DETECTOR and selection.searched["frames"] == len(SEEDS) - 1


def test_what_detect_answered_can_be_selected_from_without_storing_it(sluice: Sluice, server: FakeServer):
    found = sluice.detect([*(png(seed) for seed in SEEDS), b"broken"])
    selection = sluice.select(found, n=2)
    assert len(selection) == 2 and set(selection.ids) <= {str(seed) for seed in SEEDS}
    sent = [json.loads(text) for text in server.calls[-1][0].inputs["CANDIDATES"]]
    assert len(sent) == len(SEEDS) + 1 and set(sent[0]) == {"id", "summary"}
    assert sent[-1] == {"id": "12", "summary": None} and selection.unscored == ("12",)


def test_candidates_of_ones_own_may_carry_drive_and_descriptor():
    summary = {"model": "m", "objects": 0, "maxima": None}
    one = {"id": "a", "drive": "D", "summary": summary, "descriptor": np.ones(2, np.float32), "mine": 1}
    sent = json.loads(select_verb.request([one]).inputs["CANDIDATES"][0])
    one = {"id": "b", "summary": None, "time": 0, "camera": "c", "tags": ["t"]}
    assert json.loads(select_verb.request([one]).inputs["CANDIDATES"][0]) == one
    assert sent == {"id": "a", "drive": "D", "summary": summary, "descriptor": [1.0, 1.0]}


def test_every_option_of_select_is_sent():
    options = dict(n=7, aggregate="mean", types=("class_epistemic",), class_weights={"Car": 2.0}, per_drive=3)
    options |= dict(labelled=("a",), labelled_tag="done", drives=("A",), cameras=("c",), after=1.0, before=2.0)
    options |= dict(tags=("t",), exclude=("e",), statistics={"n": 1}, detector="d/1/x", object_score=0.6, listed=9)
    options |= dict(frozen=True, over_objects="max", rank_empty=False)
    sent = json.loads(select_verb.request(**options).inputs["OPTIONS"][0])
    assert sent == {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    assert json.loads(select_verb.request(diversity=5, n=2).inputs["OPTIONS"][0]) == {"n": 2, "diversity": {"of": 5.0}}
    several = json.loads(select_verb.request(statistics=[{"n": 1}, {"n": 2}]).inputs["OPTIONS"][0])
    assert several == {"statistics": [{"n": 1}, {"n": 2}]}
    assert "CANDIDATES" not in select_verb.request().inputs
    with pytest.raises(InvalidRequest, match="give them as statistics"):
        select_verb.request(frozen=True)


def test_a_pool_in_which_nothing_can_be_ranked_gives_an_empty_selection(sluice: Sluice):
    selection = sluice.select(n=5)
    assert len(selection) == 0 and list(selection) == [] and selection.unscored == ()


finite = st.floats(0, 1e6, allow_nan=False)
value = st.one_of(st.just(math.nan), finite)


@given(
    st.builds(
        Object,
        st.text(max_size=9),
        st.integers(0, 99),
        st.floats(0, 1),
        st.builds(Box, finite, finite, finite, finite),
        st.tuples(finite, finite, finite, finite),
        st.tuples(finite, finite, finite, finite),
        value,
        value,
    )
)
def test_any_object_comes_back_from_json_unchanged(one: Object):
    text = json.dumps(one.as_json(), allow_nan=False)
    assert repr(Object.from_json(json.loads(text))) == repr(one)


@pytest.mark.parametrize("line", [{}, {"id": "a", "objects": [{}]}, {"id": "a", "objects": [{"label": 1}]}, [1]])
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(InvalidRequest, match="no line of `sluice detect"):
        Detections.from_json(line)
