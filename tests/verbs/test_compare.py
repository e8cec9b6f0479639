"""The verb `compare` on networks in closed form: cosines, rankings, vectors, and what is refused."""

import asyncio
import json

import numpy as np
import pytest

from sluice.errors import Cancelled, InvalidArgument
from sluice.models import image_grouper
from sluice.verbs import compare
from sluice.wire.compare import Config
from tests.made.words_server import CHANNELS, ENCODER, GROUPER, SCALE, Request, Server, grouper, picture, words

TEXTS = ["a red wall", "the green one", "nothing of it"]


def ask(server=None, config=None, options=None, **inputs):
    server = server or Server()
    return asyncio.run(compare.compare(server.call, Request(options, **inputs), config or Config()))


def test_every_picture_is_compared_with_every_text():
    answer = ask(IMAGES=[picture("red"), picture("green"), picture("red", "green")], TEXTS=TEXTS)
    cosine = answer["SIMILARITY"]
    assert cosine.shape == (3, 3) and cosine.dtype == np.float32
    assert cosine[0, 0] > 0.95 and cosine[1, 1] > 0.95 and cosine[0, 1] < 0.1 and np.abs(cosine[:, 2]).max() < 0.1
    assert 0.6 < cosine[2, 0] < 0.8 and 0.6 < cosine[2, 1] < 0.8
    weights = np.exp(SCALE * cosine.astype(np.float64))
    np.testing.assert_allclose(answer["PROBABILITIES"], weights / weights.sum(axis=1, keepdims=True), rtol=1e-5)
    assert answer["IMAGE_EMBEDDINGS"].shape == answer["TEXT_EMBEDDINGS"].shape == (0, CHANNELS)
    assert words(answer["ERRORS"]) == [""] * 3 and words(answer["MODEL"]) == [GROUPER]
    notes = json.loads(answer["NOTES"][0])
    assert notes == {
        "templates": None, "scale": SCALE, "truncated": [], "unknown": [[], [], []], "ignored": [[], [], []],
        "same": [], "text_encoder": ENCODER,
    }  # fmt: skip


def test_vectors_come_on_request_and_make_the_cosines():
    answer = ask(IMAGES=[picture("red"), b"none", picture("blue")], TEXTS=TEXTS, options={"embeddings": True})
    pictures, texts = answer["IMAGE_EMBEDDINGS"], answer["TEXT_EMBEDDINGS"]
    assert pictures.shape == texts.shape == (3, CHANNELS)
    assert np.isnan(pictures[1]).all() and np.isnan(answer["SIMILARITY"][1]).all()
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(pictures @ texts.T, answer["SIMILARITY"], atol=1e-6)


def test_templates_make_class_names_of_texts():
    names = ["red", "green"]
    plain, full = (ask(IMAGES=[picture("red")], TEXTS=names, options={"templates": t}) for t in (None, "full"))
    assert not np.allclose(plain["SIMILARITY"], full["SIMILARITY"], atol=1e-4)
    assert json.loads(full["NOTES"][0])["templates"] == "full"
    assert full["PROBABILITIES"][0, 0] > 0.99


def test_the_second_request_with_the_same_texts_runs_no_text_encoder():
    server = Server()
    ask(server, IMAGES=[picture("red")], TEXTS=TEXTS)
    calls = server.count("text_encoder")
    ask(server, IMAGES=[picture("blue")], TEXTS=TEXTS[::-1])
    assert calls > 0 and server.count("text_encoder") == calls


def test_equal_texts_share_their_picture():
    answer = ask(IMAGES=[picture("red")], TEXTS=["a red wall", "a red wall", "A RED WALL"])
    np.testing.assert_allclose(answer["PROBABILITIES"], 1 / 3, atol=1e-5)


def test_a_text_too_long_is_answered_and_told():
    answer = ask(IMAGES=[picture("red")], TEXTS=["red", "a red wall and " + "a tree " * 700])
    assert json.loads(answer["NOTES"][0])["truncated"] == [1] and answer["SIMILARITY"][0, 1] > 0.5


def test_any_script_is_a_text():
    answer = ask(IMAGES=[picture("red")], TEXTS=["🚲🚦", "دراجة على الطريق", "a red wall"])
    assert answer["PROBABILITIES"].argmax() == 2 and np.isfinite(answer["SIMILARITY"]).all()


def test_without_texts_there_are_the_pictures_vectors_alone():
    answer = ask(IMAGES=[picture("red"), b""], options={"embeddings": True})
    assert answer["SIMILARITY"].shape == answer["PROBABILITIES"].shape == (2, 0)
    assert answer["IMAGE_EMBEDDINGS"].shape == (2, CHANNELS) and len(answer["TEXT_EMBEDDINGS"]) == 0
    assert answer["IMAGE_EMBEDDINGS"][0, 0] > 0.99 and words(answer["MODEL"]) == [GROUPER]


def test_a_picture_that_cannot_be_read_fails_alone():
    answer = ask(IMAGES=[b"x", picture("red"), b""], TEXTS=TEXTS)
    errors = words(answer["ERRORS"])
    assert "not an image" in errors[0] and errors[1] == "" and "0 bytes" in errors[2]
    assert np.isnan(answer["SIMILARITY"][[0, 2]]).all() and np.isnan(answer["PROBABILITIES"][[0, 2]]).all()
    assert answer["SIMILARITY"][1, 0] > 0.95
    assert np.isnan(ask(IMAGES=[b"x"], TEXTS=TEXTS)["SIMILARITY"]).all()


def test_numbers_that_are_none_fail_their_picture_alone():
    def see(image):
        answer = grouper(image)
        if image[0, 0, 0, 0] < 100:
            answer["EMBEDDING"] = answer["EMBEDDING"] * np.nan
        return answer

    errors = words(ask(Server(see=see), IMAGES=[picture("red"), picture("blue")], TEXTS=TEXTS)["ERRORS"])
    assert errors[0] == "" and "EMBEDDING holds NaN" in errors[1]


def test_stored_frames_are_fetched_and_their_vectors_kept():
    server = Server(stored={"a": picture("red"), "b": b"damaged", "c": picture("blue")})
    answer = ask(server, IDS=["a", "b", "nobody", "c"], TEXTS=TEXTS)
    assert [bool(error) for error in answer["ERRORS"]] == [False, True, True, False] and not server.kept
    answer = ask(server, IDS=["a", "b", "nobody", "c"], options={"keep_embeddings": True, "embeddings": True})
    ((command, vectors),) = server.kept
    assert command["op"] == "embed" and command["ids"] == ["a", "c"]
    np.testing.assert_allclose(vectors, answer["IMAGE_EMBEDDINGS"][[0, 3]], atol=1e-3)
    ask(server, IDS=["nobody"], options={"keep_embeddings": True})
    assert len(server.kept) == 1


def test_one_picture_by_itself_has_the_same_vector():
    server = Server()
    one = asyncio.run(image_grouper.embed(server.call, picture("red", "green")))
    many = ask(server, IMAGES=[picture("red", "green")] * 2, options={"embeddings": True})["IMAGE_EMBEDDINGS"]
    np.testing.assert_array_equal(many, [one, one])
    with pytest.raises(InvalidArgument, match="not an image"):
        asyncio.run(image_grouper.embed(server.call, b"none"))


def test_the_picture_is_seen_whole():
    server = Server()
    ask(server, Config(size=96), IMAGES=[picture("red", width=400, height=200)], TEXTS=TEXTS)
    assert (1, 96, 192, 3) in server.shapes


@pytest.mark.parametrize(
    "inputs, options, sentence",
    [
        ({"TEXTS": TEXTS}, {}, "neither"),
        ({"IMAGES": [b"x"], "IDS": ["a"], "TEXTS": TEXTS}, {}, "IMAGES and IDS"),
        ({"IMAGES": [], "TEXTS": TEXTS}, {}, "1 to 256"),
        ({"IMAGES": [b"x"] * 257, "TEXTS": TEXTS}, {}, "257"),
        ({"IMAGES": [b"x"]}, {}, "give TEXTS"),
        ({"IMAGES": [b"x"], "TEXTS": []}, {}, "give TEXTS"),
        ({"IMAGES": [b"x"], "TEXTS": ["a"] * 10_000}, {}, "10,000"),
        ({"IMAGES": [b"x"], "TEXTS": ["a", " "]}, {}, "text 1 is empty"),
        ({"IMAGES": [b"x"], "TEXTS": ["x" * 5001]}, {}, "text 0 has 5,001 characters"),
        ({"IMAGES": [b"x"], "TEXTS": [b"\xff"]}, {}, "UTF-8"),
        (
            {"IMAGES": [b"x"], "TEXTS": TEXTS},
            {"templates": "many"},
            "templates is one of identity, simple",
        ),
        (
            {"IMAGES": [b"x"], "TEXTS": TEXTS},
            {"templates": []},
            "templates is one of identity, simple",
        ),
        ({"IMAGES": [b"x"], "TEXTS": TEXTS}, {"embeddings": 1}, "embeddings is true or false"),
        ({"IMAGES": [b"x"], "TEXTS": TEXTS}, {"softmax": 1}, "softmax"),
        ({"IMAGES": [b"x"], "TEXTS": TEXTS}, {"keep_embeddings": True}, "ingest"),
        ({"IDS": ["a"], "TEXTS": TEXTS}, {"keep_embeddings": "yes"}, "true or false"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_asked(inputs, options, sentence):
    server = Server()
    with pytest.raises(InvalidArgument, match=sentence):
        ask(server, options=options, **inputs)
    assert not server.asked


def test_a_cancelled_request_asks_for_no_more_pictures():
    server = Server()

    class Gone(Request):
        def check_cancelled(self):
            if server.count("image_grouper") >= 4:
                raise Cancelled("gone")

    request = Gone(IMAGES=[picture("red")] * 60, TEXTS=TEXTS)
    with pytest.raises(Cancelled):
        asyncio.run(compare.compare(server.call, request, Config(in_flight=2)))
    assert server.count("image_grouper") < 8
