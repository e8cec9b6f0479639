"""Every verb: what is asked, what is answered, and what is refused before anything is sent. No network."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import Box, Frame, InvalidRequest, Match, NewFrame, NotFound, Query, Sluice, UnexpectedAnswer
from sluice_client.tensors import strings
from sluice_client.transport.protocol import Function, address
from sluice_client.verbs import embed as embed_verb
from sluice_client.verbs import gallery as gallery_verb
from sluice_client.verbs import ingest as ingest_verb
from sluice_client.verbs import match as match_verb
from sluice_client.verbs import retrieve as retrieve_verb
from sluice_client.verbs.pieces import cut_images

from tests.made.fake_server import MODEL, FakeServer, png

ROI = (8, 8, 24, 24)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sluice(server: FakeServer) -> Sluice:
    return Sluice(transport=Function(server.answer))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((0.9999999, 1.0, 1.0000001), 0),
        ((0.5, 0.7, 0.7), 1),
        ((0.5, 0.7, 0.71), 2),
        ((float("nan"), 0.2, 0.1), 1),
        ((float("nan"),) * 3, None),
        ((), None),
    ],
)
def test_of_equal_regions_the_first_is_shown(scores: tuple[float, ...], best: int | None):
    boxes = tuple(Box(i, 0, i + 1, 1) for i in range(len(scores)))
    assert Match("f", 1.0, roi_scores=scores, boxes=boxes).best_box == (None if best is None else boxes[best])


def test_a_stored_frame_is_found_with_everything_that_was_said_about_it(sluice: Sluice):
    receipt = sluice.add(png(1), id="f1", drive="A", camera="front", time=2.5, tags=["night", "rain"])
    assert (receipt.status, receipt.id, receipt.ok) == ("stored", "f1", True)
    found = sluice.retrieve(Query(png(1), rois=[ROI, (0, 0, 8, 8)]), k=3)
    assert (found.model, found.searched, found.rescored, found.seconds, len(found)) == (MODEL, 1, 1, 0.25, 1)
    match = found.matches[0]
    assert match.id == "f1" and match.score == 1 and match.roi_scores == (1.0, 1.0) and match.query is None
    assert match.boxes == ((8, 8, 16, 16), (8, 8, 16, 16)) and match.boxes[0].x1 == 16
    assert match.frame is not None
    assert (match.frame.drive, match.frame.camera, match.frame.time, match.frame.tags) == (
        "A",
        "front",
        2.5,
        ("night", "rain"),
    )
    assert (match.frame.width, match.frame.height) == (64, 48)


def test_a_heat_map_is_decoded_on_demand_to_bytes_of_one_value_a_cell(sluice: Sluice):
    sluice.add(png(1))
    query = Query(png(1), rois=[ROI])
    heat = sluice.retrieve(query).matches[0].heatmap
    assert heat is not None and heat.shape == (6, 8) and heat.dtype == np.uint8 and heat[0, 1] == 5
    assert sluice.retrieve(query, heatmaps=False).matches[0].heatmap is None


def test_of_several_queries_a_heat_map_says_whose_it_is_and_all_are_there_on_request(sluice: Sluice):
    sluice.ingest([NewFrame(png(i), id=f"f{i}") for i in range(3)])
    queries = [Query(png(0), rois=[ROI]), Query(png(1), rois=[ROI])]
    for ask in (partial(sluice.retrieve, queries), partial(sluice.match, queries, [png(2)])):
        first = ask().matches[0]
        assert first.heatmap_query == 1 and first.query_heatmaps == () and first.as_json()["heatmap_query"] == 1
        every = ask(heatmaps="all").matches[0]
        assert every.heatmap_query == 1 and [one.shape for one in every.query_heatmaps] == [(6, 8)] * 2
        with pytest.raises(InvalidRequest, match=r'heatmaps must be True, False or "all"; got \'each\''):
            ask(heatmaps="each")
    assert sluice.retrieve(queries[0]).matches[0].heatmap_query is None  # of one query there is nothing to say


def test_the_same_bytes_are_known_under_their_first_id(sluice: Sluice):
    assert sluice.add(png(1), id="first").status == "stored"
    again = sluice.add(png(1), id="second")
    assert (again.status, again.id) == ("known", "first")


def test_an_id_that_is_not_given_comes_from_the_bytes(sluice: Sluice):
    receipt = sluice.add(png(1))
    assert receipt.id == receipt.sha256[:16] and len(receipt.sha256) == 64


def test_a_filter_that_nobody_matches_gives_an_empty_answer(sluice: Sluice):
    sluice.add(png(1), drive="A")
    found = sluice.retrieve(Query(png(1), rois=[ROI]), drives=["B"])
    assert len(found) == 0 and list(found) == []


def test_a_query_by_id_sends_the_id_and_no_image(sluice: Sluice, server: FakeServer):
    sluice.add(png(1), id="f1")
    assert sluice.retrieve(Query(id="f1", rois=[ROI])).matches[0].id == "f1"
    sent = server.calls[-1][0].inputs
    assert sent["QUERY_IDS"].tolist() == [b"f1"] and "QUERY_IMAGES" not in sent
    with pytest.raises(NotFound, match="'nobody'"):
        sluice.retrieve(Query(id="nobody", rois=[ROI]))


def test_each_region_says_which_query_it_belongs_to():
    call = retrieve_verb.request([Query(png(1), rois=[ROI, (0, 0, 4, 4)]), Query(png(2), rois=[(1, 1, 2, 2)])])
    assert call.inputs["ROI_QUERY"].tolist() == [0, 0, 1] and call.inputs["ROI_QUERY"].dtype == np.int32
    assert call.inputs["ROIS"].shape == (3, 4) and call.inputs["ROIS"].dtype == np.float32
    assert [len(image) for image in call.inputs["QUERY_IMAGES"]] == [len(png(1)), len(png(2))]


def test_results_of_several_rankings_tell_their_query(server: FakeServer):
    server._store(png(1), NewFrame(png(1), id="a").as_json())
    call = retrieve_verb.request(Query(png(1), rois=[ROI]))
    tensors = {**server.retrieve(call.inputs), "QUERY": np.array([1], np.int32)}
    found = retrieve_verb.answer(tensors)
    assert found.matches[0].query == 1 and found.of(1) == found.matches and found.of(0) == ()


def test_options_left_alone_are_not_sent_so_that_the_servers_defaults_hold():
    options = json.loads(retrieve_verb.request(Query(b"x", rois=[ROI])).inputs["OPTIONS"][0])
    assert options == {"k": 10, "score": "roi", "combine": "mean", "heatmaps": True}
    options = json.loads(retrieve_verb.request(Query(b"x", rois=[ROI]), drives=("a",), after=0.0).inputs["OPTIONS"][0])
    assert options["drives"] == ["a"] and options["after"] == 0.0


def test_match_answers_every_image_in_its_place_even_when_one_is_broken(sluice: Sluice, tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(png(1))
    scores = sluice.match(Query(png(1), rois=[ROI]), [b"broken", good, tmp_path / "missing.png", png(2)], batch=2)
    assert [match.id for match in scores] == ["0", str(good), str(tmp_path / "missing.png"), "3"]
    assert [match.error is None for match in scores] == [False, True, False, True]
    assert np.isnan(scores.matches[0].score) and scores.matches[1].score == 1
    assert [match.id for match in scores.best()][:2] == [str(good), "3"] and scores.model == MODEL


def test_match_tells_of_each_part_as_it_is_done(sluice: Sluice):
    done: list[list[str]] = []
    sluice.match(
        Query(png(1), rois=[ROI]),
        [png(i) for i in range(5)],
        batch=2,
        progress=lambda ms: done.append([m.id for m in ms]),
    )
    assert done == [["0", "1"], ["2", "3"], ["4"]]


def test_embed_answers_the_map_of_one_image(sluice: Sluice):
    answer = sluice.embed(png(1))
    assert answer.features.shape == (6, 8, 4) and answer.geometry.shape == (6,)


def test_frames_are_listed_page_after_page(sluice: Sluice, server: FakeServer):
    sluice.ingest(NewFrame(png(i), id=f"f{i}") for i in range(7))
    before = len(server.calls)
    assert [frame.id for frame in sluice.frames(page=3)] == [f"f{i}" for i in range(7)]
    assert len(server.calls) - before == 3


def test_a_frame_is_fetched_described_and_deleted(sluice: Sluice):
    sluice.add(png(1), id="f1")
    assert sluice.image("f1") == png(1)
    assert [frame.id for frame in sluice.get(["f1"])] == ["f1"]
    assert sluice.describe()["frames"] == 1
    assert sluice.delete(["f1", "f2"]) == ["f1"]
    with pytest.raises(NotFound):
        sluice.get(["f1"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Query(), "needs an image or the id of a frame; got neither"),
        (lambda: Query(b"x", id="f"), "got both"),
        (lambda: Query(id="", rois=[ROI]), "id of the query is empty"),
        (lambda: Query(b"x"), "at least one ROI; got none"),
        (lambda: Query(b"x", rois=[(5, 5, 5, 9)]), r"x0 < x1 and y0 < y1; got \(5.0, 5.0, 5.0, 9.0\)"),
        (lambda: Query(b"x", rois=[(9, 0, 5, 9)]), "x0 < x1"),
        (lambda: Query(b"x", rois=[(float("nan"), 0, 5, 9)]), "must be finite"),
        (lambda: Query(b"x", rois=[(0, 0, float("inf"), 9)]), "must be finite"),
        (lambda: Query(b"x", rois=[(1, 2, 3)]), "four numbers"),
        (lambda: Query(b"x", rois=[("a", 2, 3, 4)]), "four numbers"),
        (lambda: Query(b"x", rois=[7]), "four numbers"),
        (lambda: retrieve_verb.request([]), "At least one query"),
        (lambda: retrieve_verb.request([Query(b"x", rois=[ROI]), Query(id="f", rois=[ROI])]), "all images or all ids"),
        (lambda: retrieve_verb.request(Query(b"", rois=[ROI])), "zero bytes"),
        (lambda: retrieve_verb.request(Query("no/such.jpg", rois=[ROI])), "no/such.jpg cannot be read: No such file"),
        (lambda: retrieve_verb.request(Query(np.zeros(3), rois=[ROI])), "encoded bytes .* or a path; got ndarray"),
        (lambda: _options(k=0), "k must be a whole number of at least 1; got 0"),
        (lambda: _options(k=2.5), "k must be a whole number"),
        (lambda: _options(k=True), "k must be a whole number"),
        (lambda: _options(per_drive=0), "per_drive must be"),
        (lambda: _options(threshold=float("nan")), "threshold must be a finite number"),
        (lambda: _options(score="best"), "score must be one of roi, image, mean, area; got 'best'"),
        (lambda: _options(combine="min"), "combine must be one of max, mean, query"),
        (lambda: _options(after=2, before=1), "after must be earlier than before"),
        (lambda: _options(drives="A"), "drives must be a list of texts"),
        (lambda: _options(kk=3), "`retrieve` knows k, .*; got 'kk'"),
        (lambda: match_verb.request(Query(b"x", rois=[ROI]), []), "at least one image"),
        (lambda: cut_images("match", [], 3), "at least one image"),
        (lambda: cut_images("match", [b"x"], 0), "batch must be a whole number of at least 1; got 0"),
        (
            lambda: match_verb.request(Query(b"x", rois=[ROI]), [b"y"], combine="query"),
            "combine must be one of max, mean",
        ),
        (lambda: ingest_verb.request([], []), "at least one; got 0 images"),
        (lambda: NewFrame(b"x", id=""), "id of a frame is empty"),
        (lambda: NewFrame(b"x", time=float("inf")), "in seconds and finite"),
        (lambda: NewFrame(b"x", tags="night"), "list of words"),
        (lambda: gallery_verb.get_request([]), "ids must be a list of at least one id; got"),
        (lambda: gallery_verb.delete_request("f1"), "must be a list of ids"),
        (lambda: gallery_verb.list_request("", 0), r"page must be a whole number 1\.\.1000; got 0"),
        (lambda: gallery_verb.list_request("", 5, colour="red"), "`frames` knows drives, .*; got 'colour'"),
        (lambda: Sluice(timeout=0), "timeout must be > 0"),
        (lambda: address("localhost"), "host:port"),
        (lambda: address("http://localhost:8000"), "speaks gRPC"),
        (lambda: address("localhost:99999"), "host:port"),
    ],
)
def test_what_cannot_be_right_is_refused_here_with_what_was_expected_and_what_came(make, message):
    with pytest.raises(InvalidRequest, match=message) as refusal:
        make()
    assert refusal.value.status == "LOCAL" and isinstance(refusal.value, ValueError)


def _options(**options):
    return retrieve_verb.request(Query(b"x", rois=[ROI]), **options)


def test_nothing_is_sent_when_a_check_here_fails(sluice: Sluice, server: FakeServer):
    for ask in (
        lambda: sluice.retrieve(Query(png(1), rois=[ROI]), k=0),
        lambda: sluice.get([]),
        lambda: sluice.embed(b""),
    ):
        with pytest.raises(InvalidRequest):
            ask()
    assert server.calls == []


@pytest.mark.parametrize(("given", "want"), [("h:1", "h:1"), (" grpc://h:1/ ", "h:1"), ("[::1]:9", "[::1]:9")])
def test_addresses_are_taken_as_people_write_them(given, want):
    assert address(given) == want


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SCORES": None}, "should answer SCORES"),
        ({"SCORES": np.zeros((2, 2), np.float32)}, "SCORES of shape"),
        ({"FRAMES": strings(["{"])}, "should answer JSON"),
        ({"LOCATIONS": np.zeros((1, 1, 3), np.float32)}, r"LOCATIONS of shape \[1, 'any', 4\]; got \[1, 1, 3\]"),
    ],
)
def test_an_answer_of_another_form_is_named_and_not_guessed_at(server: FakeServer, change, message):
    server._store(png(1), NewFrame(png(1), id="a").as_json())
    tensors = {**server.retrieve(retrieve_verb.request(Query(png(1), rois=[ROI])).inputs), **change}
    with pytest.raises(UnexpectedAnswer, match=message):
        retrieve_verb.answer(tensors)


def test_receipts_must_be_as_many_as_frames():
    with pytest.raises(UnexpectedAnswer):
        ingest_verb.answer({"RECEIPTS": strings([])}, 1)
    with pytest.raises(UnexpectedAnswer, match="stored, known or refused; got 'eaten'"):
        ingest_verb.answer({"RECEIPTS": strings(['{"status": "eaten"}'])})


def test_embed_sends_one_image_with_a_batch_axis():
    assert embed_verb.request(b"x").inputs["ENCODED"].shape == (1, 1)


@given(st.lists(st.binary(max_size=20)))
def test_bytes_survive_the_tensor_even_with_zeros_at_their_end(values):
    assert strings(values).tolist() == values and strings(values).dtype == np.object_


texts = st.text(min_size=1, max_size=20)


@given(texts, texts, texts, st.none() | st.floats(allow_nan=False, allow_infinity=False), st.lists(texts, max_size=3))
def test_a_frame_survives_its_json(id, drive, camera, time, tags):
    frame = Frame(id, drive, camera, time, tuple(tags), 64, 48, "ab" * 32, {"model": "m"})
    assert Frame.from_json(json.loads(json.dumps(frame.as_json()))) == frame
