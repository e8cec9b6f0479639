"""`retrieve` by words through the real server: alone, fused with regions, of frames that got their embedding late."""

import hashlib

import numpy as np
import pytest
import tritonclient.grpc as triton
from sluice_client import InvalidRequest, NewFrame, Query, Sluice

from sluice.gallery.frames import Frame
from sluice.gallery.store import Gallery
from sluice.images import Geometry

from .test_segment import calls, jpeg

DRIVE = "words"
ROI = [200.0, 180.0, 290.0, 250.0]
TEXTS = ["a street with cars", "the sky above trees"]
HALF = 2e-3  # what float16 costs a cosine of stored vectors


@pytest.fixture(scope="module")
def client(server):
    with Sluice(server.grpc, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def stored(client):
    """Five scenes in the gallery: their ids and bytes."""
    pictures = {f"scene {i}": jpeg(700 + i) for i in range(5)}
    receipts = client.ingest(NewFrame(data, id=id_, drive=DRIVE) for id_, data in pictures.items())
    assert [(one.status, one.embedded, one.unembedded) for one in receipts] == [("stored", True, None)] * 5
    yield pictures
    client.delete(list(pictures))


@pytest.fixture(scope="module")
def cosines(client, stored):
    """By id, the cosine with each of TEXTS, by `compare` of the pictures themselves."""
    found = client.compare(list(stored.values()), TEXTS)
    return dict(zip(stored, found.similarity, strict=True))


@pytest.mark.parametrize(("combine", "of"), [("max", np.max), ("mean", np.mean)])
def test_words_rank_frames_by_the_cosines_that_compare_tells(client, cosines, combine, of):
    found = client.retrieve(texts=TEXTS, drives=[DRIVE], combine=combine)
    assert {match.id for match in found} == set(cosines) and found.lacking == 0 and found.remedy == ""
    scores = [match.score for match in found]
    assert scores == sorted(scores, reverse=True)
    for match in found:
        np.testing.assert_allclose(match.text_scores, cosines[match.id], atol=HALF)
        assert match.score == pytest.approx(of(match.text_scores), abs=1e-6)
        assert match.boxes == () and match.heatmap is None and match.frame.drive == DRIVE
    best = client.retrieve(texts=TEXTS, drives=[DRIVE], combine=combine, k=2)
    assert [match.id for match in best] == [match.id for match in found][:2]


def test_words_and_regions_fused(client, stored, cosines):
    query = Query(stored["scene 3"], rois=[ROI])
    by_region = {match.id: match.score for match in client.retrieve(query, drives=[DRIVE])}
    assert max(by_region, key=by_region.get) == "scene 3"
    for fuse in (0.0, 0.3, 1.0):
        found = client.retrieve(query, texts=TEXTS, fuse=fuse, drives=[DRIVE])
        assert len(found) == 5
        for match in found:
            expected = (1 - fuse) * by_region[match.id] + fuse * cosines[match.id].max()
            assert match.score == pytest.approx(expected, abs=2 * HALF)
            assert len(match.boxes) == 1 and len(match.text_scores) == 2
    assert client.retrieve(query, texts=TEXTS, fuse=0, drives=[DRIVE], k=1).matches[0].id == "scene 3"


def test_frames_without_an_embedding_are_told_and_get_one_from_compare(client, server, stored):
    picture, late = jpeg(790), "stored before"
    view = client.embed(picture)
    model = client.describe()["model"]
    features = np.asarray(view.features)
    with Gallery(server.gallery, model, features.shape[-1], threads=1) as beside:  # as a server without embeddings adds
        geometry = Geometry.from_array(np.asarray(view.geometry))
        (receipt,) = beside.add([Frame(id=late, drive=DRIVE)], [picture], [features], [geometry])
        assert receipt.status == "stored"
    try:
        found = client.retrieve(texts=TEXTS, drives=[DRIVE])
        assert late not in [match.id for match in found]
        assert found.lacking == 1 and "keep_embeddings" in found.remedy
        assert late in list(client.unembedded())
        told = client.compare(ids=[late, "nobody"], texts=TEXTS, keep_embeddings=True)
        assert told.errors[0] is None and "nobody" in told.errors[1]
        assert late not in list(client.unembedded())
        found = client.retrieve(texts=TEXTS, drives=[DRIVE])
        (match,) = [match for match in found if match.id == late]
        assert found.lacking == 0
        np.testing.assert_allclose(match.text_scores, told.similarity[0], atol=HALF)
    finally:
        client.delete([late])
    assert late not in [match.id for match in client.retrieve(texts=TEXTS, drives=[DRIVE])]


def test_the_same_words_run_the_text_encoder_once_whichever_verb_asks(client, server, stored):
    counting = triton.InferenceServerClient(server.grpc)
    said = [f"a lantern numbered {hashlib.sha256(server.prefix.encode()).hexdigest()[:8]}"]
    before = calls(counting, "text_encoder")
    first = client.retrieve(texts=said, drives=[DRIVE])
    assert calls(counting, "text_encoder") == before + 1
    again = client.retrieve(texts=said, drives=[DRIVE])
    client.compare([stored["scene 0"]], said)
    assert calls(counting, "text_encoder") == before + 1
    assert [match.score for match in again] == [match.score for match in first]


def test_any_text_is_answered_or_refused_by_name(client, stored):
    said = ["🚲🌧️", "دراجة في الليل", "自転車", "A CAR", "a car", "word " * 1000]
    found = client.retrieve(texts=said, drives=[DRIVE])
    assert len(found) == 5 and found.truncated == (5,)
    assert all(np.isfinite(match.text_scores).all() for match in found)
    assert all(match.text_scores[3] == match.text_scores[4] for match in found), "case means nothing"
    for texts, sentence in (
        (["a car", "x" * 5001], "text 1 has 5,001 characters"),
        (["a car"] * 17, "1 to 16 texts"),
        (["\u200b \n"], "text 0 is empty"),
    ):
        with pytest.raises(InvalidRequest, match=sentence):
            client.retrieve(texts=texts, drives=[DRIVE])
    for options, sentence in (({"combine": "query"}, "'max' or 'mean'"), ({"drives": [3]}, "drives")):
        with pytest.raises(InvalidRequest, match=sentence):
            client.retrieve(texts=TEXTS, **options)
