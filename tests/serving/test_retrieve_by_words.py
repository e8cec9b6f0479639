"""`retrieve` by words through the real server: alone, fused with regions, of frames that got their embedding late."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from sluice_client import AsyncSluice, InvalidRequest, NewFrame, Query, Sluice, cli

from sluice.frames import Frame
from sluice.gallery.store import Gallery
from sluice.images import Geometry
from tests.made.encoded_pictures import jpeg
from tests.made.served import calls

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
    """Add five scenes to the gallery and return their ids and bytes."""
    pictures = {f"scene {i}": jpeg(700 + i) for i in range(5)}
    receipts = client.ingest(NewFrame(data, id=id_, drive=DRIVE) for id_, data in pictures.items())
    assert [(one.status, one.embedded, one.unembedded) for one in receipts] == [("stored", True, None)] * 5
    yield pictures
    client.delete(list(pictures))


@pytest.fixture(scope="module")
def cosines(client, stored):
    """Return by id the cosine with each of TEXTS, from `compare` of the pictures themselves."""
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
            expected = (1 - fuse) * by_region[match.id] + fuse * cosines[match.id].mean()
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
    said = ["eleven bushes past the lorry and the footpath"]
    before = calls(counting, "text_encoder")
    first = client.retrieve(texts=said, drives=[DRIVE])
    assert calls(counting, "text_encoder") == before + 1
    again = client.retrieve(texts=said, drives=[DRIVE])
    client.compare([stored["scene 0"]], said)
    assert calls(counting, "text_encoder") == before + 1
    assert [match.score for match in again] == [match.score for match in first]


def test_any_text_is_answered_or_refused_by_name(client, stored):
    said = ["🚲🌧️", "دراجة في الليل", "自転車", "A CAR", "a car", "word " * 1000]
    found = client.retrieve(texts=said, drives=[DRIVE], allow_unknown=True)
    assert len(found) == 5 and found.truncated == (5,)
    assert [bool(words) for words in found.words.unknown] == [True, True, True, False, False, True]
    assert (3, 4) in found.words.same, "case means nothing"
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


# ------------------------------------------------------------------------------------------------ words nobody knows

UNKNOWN = ["a giraffe", "car park", "a car"]


def asked(client, verb, pictures, texts, **options):
    """Call one of the verbs that take words."""
    if verb == "segment":
        return client.segment(pictures, classes=texts, **options)
    return client.compare(pictures, texts, **options) if verb == "compare" else client.retrieve(texts=texts, **options)


@pytest.mark.parametrize("verb", ["segment", "compare", "retrieve"])
def test_an_unknown_word_is_refused_by_name_with_the_remedy(client, stored, verb):
    with pytest.raises(InvalidRequest) as caught:
        asked(client, verb, list(stored.values())[:1], UNKNOWN)
    assert caught.value.status == "INVALID_ARGUMENT"
    for part in ("'giraffe' in 'a giraffe', 'park' in 'car park': ", "`sluice words`", "allow_unknown"):
        assert part in str(caught.value)


@pytest.mark.parametrize("verb", ["segment", "compare", "retrieve"])
def test_an_unknown_word_that_is_allowed_is_said_and_so_are_texts_that_are_one(client, stored, verb):
    texts = ["a dog", *UNKNOWN, "a car near trees", "a car on trees"]
    found = asked(client, verb, list(stored.values())[:1], texts, allow_unknown=True)
    assert found.words.unknown == (("dog",), ("giraffe",), ("park",), (), (), ())
    assert found.words.ignored == ((), (), (), (), ("near",), ("on",))
    assert found.words.same == ((0, 1), (4, 5)) and len(found.words.said()) == 3
    rows = found.images[0].as_json() if verb == "segment" else found.as_json()[0] if verb == "compare" else None
    if rows is not None:
        assert rows["words"]["a dog"] == {"unknown": ["dog"], "same": ["a giraffe"]} and "a car" not in rows["words"]


def test_texts_that_are_one_have_one_vector(client, stored):
    texts = ["a dog", "a car", "a giraffe", "A  CAR"]
    found = client.compare([stored["scene 0"]], texts, embeddings=True, allow_unknown=True)
    vectors = found.text_embeddings
    assert (vectors[0] == vectors[2]).all() and (vectors[1] == vectors[3]).all()
    assert found.words.same == ((0, 2), (1, 3)) and not (vectors[0] == vectors[1]).all()


def test_names_are_checked_and_listed_by_both_clients_and_the_command(client, server, monkeypatch, capsys):
    known = client.words()
    assert not known.every and known.tokens == 116 and {"bicyclist", "road"} <= set(known.known)
    assert known.model.startswith("text_encoder/1/") and not known.words

    async def ask():
        async with AsyncSluice(server.grpc, timeout=300) as sluice:
            return await sluice.words(UNKNOWN, templates="subset")

    told = asyncio.run(ask())
    assert told == client.words(UNKNOWN, templates="subset") and told.words.unknown == (("giraffe",), ("park",), ())
    many = [f"name {i}" for i in range(2_500)]  # more than a call takes
    assert client.words([*many, "a road"]).words.unknown[-2:] == (("name", "2", "4", "9"), ())

    monkeypatch.setenv("SLUICE_URL", server.grpc)
    assert cli.main(["words"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == list(known.known) and f"has learned {len(known.known)} words" in said.err
    assert cli.main(["words", "a road", "a dog", "a cat"]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["a", "road", "yes"] and rows[2] == ["a", "dog", "no", "dog", "a", "cat"]


def test_the_command_refuses_warns_and_marks(client, stored, server, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(stored["scene 0"])
    commands = {
        "segment": ["segment", "photo.jpg", "--classes", "dog,cat,car", "--page", "page.html"],
        "retrieve": [
            "retrieve",
            "--text",
            "dog",
            "--text",
            "cat",
            "--text",
            "car",
            "--drive",
            DRIVE,
            "--page",
            "page.html",
        ],
        "compare": ["compare", "photo.jpg", "--texts", "dog", "cat", "car"],
    }
    for verb, words in commands.items():
        assert cli.main([*words, "--json"]) == 2, verb
        said = capsys.readouterr()
        assert said.out == "" and "'dog', 'cat': " in said.err and said.err.count("\n") == 1
        assert cli.main([*words, "--json", "--allow-unknown"]) == 0, verb
        said = capsys.readouterr()
        assert "warning: not learned" in said.err and "the same to the network: 'dog' = 'cat'" in said.err
        (row, *_) = map(json.loads, said.out.splitlines())
        assert row["words"] == {
            "dog": {"unknown": ["dog"], "same": ["cat"]},
            "cat": {"unknown": ["cat"], "same": ["dog"]},
        }
        if "--page" in words:
            page = Path("page.html").read_text()
            assert "not learned by the network" in page and ('class="doubt"' in page or verb == "retrieve")
