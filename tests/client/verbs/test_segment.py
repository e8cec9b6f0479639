"""`segment`, `compare` and `retrieve` by words: what is asked, what the answers hold, and what is refused at once."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from sluice_client import (
    InvalidRequest,
    NewFrame,
    NotFound,
    Query,
    Segmentation,
    Sluice,
    Unavailable,
    UnexpectedAnswer,
    errors,
)
from sluice_client.answers.segment import Share
from sluice_client.drawing import overlays, palette, run_lengths
from sluice_client.files import coco
from sluice_client.transport.protocol import Function
from sluice_client.verbs import compare as compare_verb
from sluice_client.verbs import segment as segment_verb
from sluice_client.verbs.retrieve import request as retrieve_request

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grouper import GROUPER, likeness

NAMES = ["road", "nowhere", "car"]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sluice(server: FakeServer) -> Sluice:
    return Sluice(transport=Function(server.answer))


def test_every_pixel_has_a_class_and_a_broken_image_fails_alone(sluice: Sluice):
    batches = []
    found = sluice.segment([png(1), b"junk", "no.png", png(2, (9, 5))], classes=NAMES, batch=2, progress=batches.append)
    assert [len(one) for one in batches] == [2, 2] and found.classes == tuple(NAMES) and found.model == GROUPER
    first, junk, missing, last = found
    assert first.mask.shape == (48, 64) and first.mask.dtype == np.uint8 and (first.width, first.height) == (64, 48)
    assert (first.mask[:, :32] == 0).all() and (first.mask[:, 32:] == 2).all() and first.of("car").mean() == 0.5
    assert last.mask.shape == (5, 9) and not first.of("nowhere").any()
    assert [one.name for one in first.shares()] == ["road", "car"] and found.shares()[0].area > 0.5
    assert "not an image" in str(junk.error) and "no.png" in str(missing.error) and np.isnan(missing.areas).all()
    with pytest.raises(InvalidRequest, match="has no mask"):
        _ = missing.mask
    with pytest.raises(InvalidRequest, match="road, nowhere, car"):
        first.of("dog")


def test_masks_cross_as_run_lengths_too_with_the_same_pixels(sluice: Sluice):
    (one,) = sluice.segment([png(1)], classes=NAMES)
    (same,) = sluice.segment([png(1)], classes=NAMES, format="rle", background=0.5)
    assert (same.width, same.height, same.background) == (64, 48, 255)
    assert set(np.unique(same.mask)) == {0, 2, 255} and sum(same.areas) == pytest.approx(2 / 3, abs=0.02)
    assert one.rle().keys() == same.rle().keys() == {0, 2}
    (empty,) = sluice.segment([png(1)], classes=["nowhere"], format="rle")
    assert empty.mask.shape == (48, 64) and (empty.mask == 255).all() and empty.shares() == []
    sluice.add(png(1), id="f")
    (stored,) = sluice.segment(ids=["f"], classes=["nowhere"], format="rle")
    assert stored.mask.shape == (48, 64) and (stored.mask == 255).all(), "no class tells the size; the notes do"
    with pytest.raises(InvalidRequest, match="size of x is not known"):
        _ = Segmentation("x", ("road",), data=b"[]").mask


def test_maps_and_options_are_sent_and_come_back(sluice: Sluice, server: FakeServer):
    asked = dict(templates="full", rule="plain", top=3, background=0.3, window="slide", format="png")
    found = sluice.segment([png(1)], classes=["x" * 120, "b"], groups=True, confidence=True, **asked)
    (one,) = found
    assert json.loads(server.calls[0][0].inputs["OPTIONS"][0]) == {**asked, "groups": True, "confidence": True}
    assert one.groups is not None and one.groups.shape == (48, 64) and (one.confidence == 200).all()
    assert one.grouping == {"windows": 1, "groups": 8, "classes": [0, -1], "scores": [0.5, 0.0]}
    assert found.truncated == ("x" * 120,) and found.notes["rule"] == "plain"


@pytest.mark.parametrize("count", [1, 254, 255, 600])
def test_the_file_holds_places_with_colours_and_names(sluice: Sluice, count: int):
    names = [f"class {i}" for i in range(count)]
    (one,) = sluice.segment([png(1, (700, 8))], classes=names)
    with Image.open(io.BytesIO(one.png())) as image:
        assert json.loads(image.text["classes"]) == names  # type: ignore[attr-defined]
        assert (np.asarray(image) == one.mask).all()
        assert image.mode == ("P" if count <= 254 else "I;16")
        if count <= 254:
            assert tuple(np.asarray(image.convert("RGB"))[0, 0]) == palette.colour(0)
    assert len({palette.colour(i) for i in range(254)}) == 254


def test_the_overlay_colours_the_picture_and_names_what_it_shows(sluice: Sluice):
    data = png(1, (300, 200))
    (one,) = sluice.segment([data], classes=NAMES)
    full = np.asarray(one.overlay(data, strength=1, legend=False))
    assert full.shape == (200, 300, 3) and tuple(full[10, 10]) == palette.colour(0)
    assert tuple(full[10, 290]) == palette.colour(2)
    none = np.asarray(one.overlay(data, strength=0, legend=False))
    assert (none == np.asarray(Image.open(io.BytesIO(data)))).all()
    whole = one.overlay(data)
    assert whole.width == 300 and whole.height > 230
    small = one.overlay.__func__(sluice.segment([png(1)], classes=NAMES).images[0], png(1))  # type: ignore[attr-defined]
    assert small.width == 240, "a legend that can be read beside a small picture"
    many = [f"a class with a long name {i}" * 3 for i in range(60)]
    (crowded,) = sluice.segment([data], classes=many)
    assert crowded.overlay(data).height < 1000
    with pytest.raises(InvalidRequest, match="300 x 200"):
        one.overlay(png(1))
    with pytest.raises(InvalidRequest, match="cannot be shown"):
        one.overlay(b"junk")
    with pytest.raises(InvalidRequest, match="strength"):
        one.overlay(data, strength=2)


@pytest.mark.parametrize("name", ["a car", "سيارة حمراء"])
def test_the_share_stands_behind_the_name_whichever_way_it_is_read(name: str):
    one, other = (np.asarray(overlays.key([Share(name, 0, area, 0.5)], 240)) for area in (0.111, 0.888))
    (columns,) = np.nonzero((one != other).any(axis=(0, 2)))
    assert columns[0] > 25 + overlays._font(13).getlength(name), "only what is right of the name changes"


def test_pycocotools_reads_the_masks(sluice: Sluice, tmp_path):
    found = sluice.segment([png(1), b"junk", png(2, (31, 17))], classes=NAMES, background=0.5)
    ids = coco.Ids.of(found.images, found.classes)
    (tmp_path / "images.json").write_text(json.dumps(coco.dataset(found.images, ids)))
    (tmp_path / "masks.json").write_text(json.dumps(coco.segments(found.images, ids), allow_nan=False))
    loaded = COCO(str(tmp_path / "images.json")).loadRes(str(tmp_path / "masks.json"))
    rows = loaded.loadAnns(loaded.getAnnIds())
    assert len(rows) == 4
    for row in rows:
        one = found.images[row["image_id"] - 1]
        mask = one.of(NAMES[row["category_id"] - 1])
        assert (loaded.annToMask(row).astype(bool) == mask).all() and row["area"] == mask.sum()


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (211, 130)])
def test_run_lengths_are_those_of_pycocotools(size, share):
    mask = np.random.default_rng(3).random(size) < share
    ours, theirs = run_lengths.encode(mask), coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours == {"size": list(size), "counts": theirs["counts"].decode()}
    assert (run_lengths.decode(ours["size"], ours["counts"]) == mask).all()


@pytest.mark.parametrize("counts", ["", "~", "1", "P", "\x01", "j"])
def test_broken_run_lengths_are_said_to_be_broken(counts):
    with pytest.raises(UnexpectedAnswer, match="runs of a mask"):
        run_lengths.decode([4, 4], counts)


def test_a_segmentation_comes_back_from_json(sluice: Sluice):
    for one in sluice.segment([png(1), b"junk"], classes=NAMES):
        text = json.dumps(one.as_json(), allow_nan=False)
        back = Segmentation.from_json(json.loads(text))
        assert json.dumps(back.as_json()) == text and back.error == one.error
        assert one.error or (back.mask == one.mask).all()
    for wrong in (
        {},
        {"id": "a", "classes": [{}], "segments": []},
        {"id": "a", "classes": [], "segments": [{"class": 0}]},
        {"id": "a", "classes": [], "segments": [], "width": None, "height": 3},
    ):
        with pytest.raises(InvalidRequest, match="no line of `sluice segment"):
            Segmentation.from_json(wrong)


# compare and retrieve by words ----------------------------------------------------------------------------------------


def test_every_image_is_compared_with_every_text(sluice: Sluice, server: FakeServer):
    pictures, said = [png(1), b"junk", png(2), png(3)], ["a road", "a dog here", "night"]
    found = sluice.compare(pictures, said, batch=2, embeddings=True, templates="simple")
    assert found.similarity.shape == found.probabilities.shape == (4, 3) and len(server.calls) == 2
    assert found.similarity[2, 1] == pytest.approx(likeness(png(2), said[1]))
    assert np.isnan(found.similarity[1]).all() and "not an image" in str(found.errors[1]) and found.ranking(1) == []
    assert np.nansum(found.probabilities) == pytest.approx(3)
    best = found.ranking(0)
    assert [one.similarity for one in best] == sorted((one.similarity for one in best), reverse=True) and len(best) == 3
    assert {one.id for one in found.best("night")} == {"0", "2", "3"} == {one.id for one in found.best(2)}
    assert found.image_embeddings is not None and found.image_embeddings.shape == (4, 4)
    assert found.text_embeddings is not None and found.text_embeddings.shape == (3, 4) and found.scale == 20
    assert json.dumps(found.as_json(), allow_nan=False)
    with pytest.raises(InvalidRequest, match="none of the 3 texts"):
        found.best("cat")
    assert sluice.compare(["no.png"], ["a"]).errors[0] is not None


def test_words_find_the_frames_that_the_gallery_has_embeddings_of(sluice: Sluice, server: FakeServer):
    sluice.ingest(NewFrame(png(i), id=f"f{i}") for i in range(4))
    assert list(sluice.unembedded()) == ["f0", "f1", "f2", "f3"]
    sluice.compare(ids=["f0", "f2", "f3"], keep_embeddings=True)
    assert list(sluice.unembedded()) == ["f1"]
    found = sluice.retrieve(texts=["a bicyclist at night", "rain"], templates="simple")
    assert {match.id for match in found} == {"f0", "f2", "f3"} and (found.lacking, found.remedy) == (1, "embed them")
    assert [len(match.text_scores) for match in found] == [2] * 3 and found.matches[0].boxes == ()
    assert found.matches[0].score == pytest.approx(sum(found.matches[0].text_scores) / 2)
    sent = server.calls[-1][0]
    assert sent.inputs.keys() == {"TEXTS", "OPTIONS"} and json.loads(sent.inputs["OPTIONS"][0])["templates"] == "simple"
    both = sluice.retrieve(Query(id="f2", rois=[(1, 1, 9, 9)]), texts=["rain"], fuse=0)
    assert both.matches[0].id == "f2" and both.matches[0].score == 1 and len(both.matches[0].roi_scores) == 1
    assert "text_scores" in both.matches[0].as_json()
    sluice.retrieve(Query(id="f2", rois=[(1, 1, 9, 9)]))
    assert "TEXT_SCORES" not in server.calls[-1][0].outputs, "which older servers do not have"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: segment_verb.request(classes=["a"]), "got neither"),
        (lambda: segment_verb.request([b"x"], ids=["f"], classes=["a"]), "got both"),
        (lambda: segment_verb.request([b"x"], classes="road"), "classes must be a list"),
        (lambda: segment_verb.request([b"x"], classes=[]), "at least one text"),
        (lambda: segment_verb.request([b"x"], classes=["a", " "]), "number 1 is ' '"),
        (lambda: segment_verb.request([b"x"], classes=["a"], rule="mine"), "official, plain, guided; got 'mine'"),
        (lambda: segment_verb.request([b"x"], classes=["a"], templates="all"), "templates must be one of"),
        (lambda: segment_verb.request([b"x"], classes=["a"], window="half"), "window must be"),
        (lambda: segment_verb.request([b"x"], classes=["a"], background=1.5), "background must lie"),
        (lambda: segment_verb.request([b"x"], classes=["a"], top=0), "top must be"),
        (lambda: segment_verb.request([b"x"], classes=["a"], k=3), "`segment` knows templates"),
        (lambda: segment_verb.works([b"x"], None, ["a"], 0), "batch must be a whole number of at least 1; got 0"),
        (lambda: compare_verb.request([b"x"]), "at least one text"),
        (lambda: compare_verb.request([b"x"], texts="road"), "texts must be a list"),
        (lambda: compare_verb.request([b"x"], texts=["a"], keep_embeddings=True), "give their ids"),
        (lambda: compare_verb.request([b"x"], texts=["a"], templates="all"), "templates must be None or"),
        (lambda: retrieve_request(), "a query, texts, or both"),
        (lambda: retrieve_request(texts="rain"), "texts must be a list"),
        (lambda: retrieve_request(texts=["rain"], fuse=0.5), "beside a query"),
        (lambda: retrieve_request(Query(id="f", rois=[(0, 0, 1, 1)]), fuse=0.5), "fuse is for texts"),
        (lambda: retrieve_request(Query(id="f", rois=[(0, 0, 1, 1)]), texts=["a"], fuse=2), "fuse must lie"),
    ],
)
def test_a_wrong_request_is_refused_before_it_is_sent(ask, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        ask()
    assert caught.value.status == "LOCAL"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AREAS": np.zeros((1, 2), np.float32)}, "AREAS of shape"),
        ({"MASKS": np.array([b""], object)}, "a mask or say why"),
        ({"NOTES": None}, "should answer NOTES"),
        ({"NOTES": np.array([b"{}"], object)}, "sizes of 1 masks"),
    ],
)
def test_an_answer_of_another_form_is_said_to_be_one(server: FakeServer, change, message):
    tensors = {**server.segment(segment_verb.request([png(1)], classes=NAMES).inputs), **change}
    with pytest.raises(UnexpectedAnswer, match=message):
        segment_verb.answer(tensors, NAMES)


def test_a_verb_that_the_server_does_not_have_is_named():
    error = errors.from_status("NOT_FOUND", "Request for unknown model: 'segment' is not found", "here:8001")
    assert isinstance(error, NotFound) and "has no verb `segment`" in str(error) and "sluice doctor" in str(error)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("NOT_FOUND", "Request for unknown model: 'segment' has no available versions"),
        ("UNAVAILABLE", "Server exiting"),
        ("UNAVAILABLE", "[request id: <id_unknown>] Server is stopping, scheduler for model has stopped accepting new"),
        ("INTERNAL", "Failed to process the request(s) for model instance 'segment_0_0', message: Stub process "
         "'segment_0_0' is not healthy."),
        ("INVALID_ARGUMENT", "Stub process 'segment_0_0' is not healthy."),  # of a stream, which brings no status
    ],
)  # fmt: skip
def test_a_server_that_starts_or_stops_is_tried_again(status, text):
    """Answer as Triton 2.51 does between SIGTERM and its end, and while a model is loaded again."""
    error = errors.from_status(status, text, "here:8001")
    assert isinstance(error, Unavailable) and error.status == "UNAVAILABLE" and "Try again" in str(error)
