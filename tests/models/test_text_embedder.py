"""Texts become vectors once: the mean of raw sentences, what is remembered, what is asked, what is refused."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice import contracts
from sluice.errors import Cancelled, InvalidArgument
from sluice.methods.grouping import prompts, tokens
from sluice.methods.grouping.pairs import LENGTH
from sluice.models import text_embedder
from sluice.models.text_embedder import Config, TextEmbeddings, embed
from sluice.wire.calls import strings
from tests.made.words_server import CHANNELS, ENCODER, GROUPER, SCALE, Server, encoder, words

NAMES = ["red", "green car", "Blue", "a man on a bicycle"]


@pytest.fixture
def server():
    return Server()


def known(server, **arguments):
    return TextEmbeddings(server.call, **arguments)


def expected(name, set_):
    """Return the vector of a name by its definition: normalised once, after the mean."""
    sentences = [template.replace("{}", name) for template in prompts.templates(set_)]
    mean = encoder(tokens.tokenizer()(sentences).ids)["EMBEDDING"].astype(np.float64).mean(axis=0)
    return mean / np.linalg.norm(mean)


async def vectors(asked, names, templates=text_embedder.PLAIN):
    """Return the vectors of texts as the caller wrote them."""
    return (await asked.embedded(tokens.cleaned(names), templates)).vectors


# ------------------------------------------------------------------------------------------------ vectors


@pytest.mark.parametrize("set_", ["identity", "simple", "subset", "full"])
def test_a_class_is_the_mean_of_its_raw_sentences(server, set_):
    found = asyncio.run(vectors(known(server), NAMES, set_))
    assert found.dtype == np.float32 and found.shape == (4, CHANNELS)
    np.testing.assert_allclose(found, [expected(name, set_) for name in NAMES], atol=1e-6)


def test_a_text_is_taken_as_it_is(server):
    found = asyncio.run(vectors(known(server), ["a red car", "nothing"]))
    np.testing.assert_allclose(found, [expected("a red car", "identity"), expected("nothing", "identity")], atol=1e-6)


def test_braces_in_a_name_mean_nothing(server):
    found = asyncio.run(known(server).embedded(["{} {0}"], "simple"))
    np.testing.assert_allclose(found.vectors[0], expected("{} {0}", "simple"), atol=1e-6)


def test_sentences_go_in_batches_of_like_length_cut_behind_their_end(server):
    asyncio.run(vectors(known(server, batch=16, in_flight=2), NAMES, "full"))
    assert sum(rows for rows, _ in server.shapes) == 320 and len(server.shapes) == 20
    assert max(rows for rows, _ in server.shapes) == 16 and server.most == 2
    assert max(length for _, length in server.shapes) < 20 and len({length for _, length in server.shapes}) > 3


def test_the_scale_is_the_networks(server):
    asked = known(server)
    assert asyncio.run(asked.scale()) == SCALE and asyncio.run(asked.scale()) == SCALE
    assert server.count("text_encoder") == 1


def test_what_was_cut_is_said(server):
    long = " ".join(["tree"] * 70)
    found = asyncio.run(known(server).embedded(["red", long, "green"], "simple"))
    assert found.truncated.tolist() == [False, False, False]
    found = asyncio.run(known(server).embedded(["red", long, "green"], "full"))  # one sentence of it does not fit
    assert found.truncated.tolist() == [False, True, False]
    assert asyncio.run(known(server).embedded([long + " tree" * 9])).truncated.tolist() == [True]


# ------------------------------------------------------------------------------------------------ remembering


def test_the_second_time_the_network_is_not_asked(server):
    asked = known(server)
    first = asyncio.run(asked.embedded(tokens.cleaned(NAMES), "subset"))
    calls = server.count("text_encoder")
    second = asyncio.run(asked.embedded(tokens.cleaned([*NAMES[::-1], "red"]), "subset"))
    assert server.count("text_encoder") == calls
    np.testing.assert_array_equal(second.vectors, first.vectors[[3, 2, 1, 0, 0]])
    asyncio.run(asked.embedded(tokens.cleaned(NAMES), "simple"))
    assert server.count("text_encoder") > calls


def test_only_what_is_new_is_asked(server):
    asked = known(server)
    asyncio.run(vectors(asked, ["red", "green"], "subset"))
    server.shapes.clear()
    asyncio.run(vectors(asked, ["red", "blue", "green", "blue"], "subset"))
    assert sum(rows for rows, _ in server.shapes) == 7


def test_one_name_twice_is_one(server):
    found = asyncio.run(vectors(known(server), ["red", "red"], "simple"))
    assert server.shapes[0][0] == 1 and (found[0] == found[1]).all()


def test_who_asks_the_same_at_the_same_time_waits_for_the_first(server):
    asked = known(server, batch=4)

    async def many():
        return await asyncio.gather(*(vectors(asked, NAMES, "subset") for _ in range(8)))

    answers = asyncio.run(many())
    assert server.count("text_encoder") == 7
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])


def test_so_many_are_kept_the_last_used_ones(server):
    asked = known(server, bound=3)
    for name in ("red", "green", "blue", "red", "yellow"):  # green goes
        asyncio.run(vectors(asked, [name]))
    server.asked.clear()
    asyncio.run(vectors(asked, ["red", "yellow", "blue"]))
    assert not server.asked
    asyncio.run(vectors(asked, ["green"]))
    assert server.asked


def test_more_names_than_are_kept_are_answered_all_the_same(server):
    asked = known(server, bound=2)
    found = asyncio.run(vectors(asked, NAMES, "simple"))
    np.testing.assert_allclose(found, [expected(name, "simple") for name in NAMES], atol=1e-6)
    assert len(asked._known) == 2


def test_a_failure_leaves_nothing_behind(server):
    asked = known(server)

    def broken(ids):
        raise RuntimeError("broken")

    server.read = broken
    with pytest.raises(RuntimeError):
        asyncio.run(vectors(asked, NAMES, "simple"))
    server.read = encoder
    np.testing.assert_allclose(asyncio.run(vectors(asked, ["red"]))[0], expected("red", "identity"), atol=1e-6)


def test_a_network_that_answers_with_no_numbers_is_told(server):
    server.read = lambda ids: {"EMBEDDING": np.full((len(ids), 4), np.nan), "SCALE": np.ones((len(ids), 1))}
    with pytest.raises(InvalidArgument, match="network is broken"):
        asyncio.run(vectors(known(server), ["red"]))


# ------------------------------------------------------------------------------------------------ text_embedder


def asked(server, names, **options):
    inputs = {"TEXTS": strings(names), "OPTIONS": strings([json.dumps(options)])}
    return asyncio.run(server.embedder.run(inputs))


def test_the_model_says_whose_vectors_these_are(server):
    answer = asked(server, NAMES, templates="simple")
    np.testing.assert_allclose(answer["EMBEDDINGS"], [expected(name, "simple") for name in NAMES], atol=1e-6)
    assert words(answer["MODEL"]) == [GROUPER, ENCODER] and answer["SCALE"].tolist() == [SCALE]
    assert answer["TRUNCATED"].dtype == bool and not answer["TRUNCATED"].any()
    np.testing.assert_allclose(asked(server, ["red"])["EMBEDDINGS"][0], expected("red", "identity"), atol=1e-6)


def test_without_texts_it_says_scale_and_versions(server):
    answer = asyncio.run(server.embedder.run({}))
    assert len(answer["EMBEDDINGS"]) == len(answer["TRUNCATED"]) == 0
    assert answer["SCALE"].tolist() == [SCALE] and words(answer["MODEL"]) == [GROUPER, ENCODER]
    found = asyncio.run(embed(server.call, []))
    assert found.grouper == GROUPER and len(found.vectors) == 0


def test_what_costs_too_much_at_once_is_had_in_parts():
    server = Server(config=Config(sentences=20, batch=16))
    names = [f"thing {i}" for i in range(9)]
    assert len(asked(server, names, templates="subset")["EMBEDDINGS"]) == 2  # 14 of 20 sentences
    assert len(asked(server, names[:1], templates="full")["EMBEDDINGS"]) == 1  # one at least
    found = asyncio.run(embed(server.call, [*names, *names], "subset"))
    np.testing.assert_allclose(found.vectors, [expected(name, "subset") for name in [*names, *names]], atol=1e-6)
    assert server.count("text_embedder") == 4
    asyncio.run(embed(server.call, names, "subset"))
    assert server.count("text_embedder") == 5


def test_a_thousand_names_work(server):
    names = [f"thing {i}" for i in range(1000)]
    found = asyncio.run(embed(server.call, names, "subset"))
    assert found.vectors.shape == (1000, CHANNELS) and found.scale == SCALE
    calls = server.count("text_encoder")
    asyncio.run(embed(server.call, names, "subset"))
    assert server.count("text_encoder") == calls


def test_a_caller_who_has_gone_costs_no_more():
    server = Server(config=Config(sentences=7))

    def gone():
        if server.count("text_embedder") == 3:
            raise Cancelled("gone")

    with pytest.raises(Cancelled):
        asyncio.run(embed(server.call, [f"thing {i}" for i in range(100)], "subset", gone))
    assert server.count("text_encoder") <= 4


SCRIPTS = [
    "🚲 🚦", "سيارة حمراء", "מכונית", "自転車", "e\u0301cole", "ſtop", "naïve café", "\u202ered\u202c", "a" * 256,
    "\U0001f1e9\U0001f1ea",
]  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_any_script_has_a_vector(server, name):
    found = asyncio.run(embed(server.call, [name], "full"))
    np.testing.assert_allclose(found.vectors[0], expected(name, "full"), atol=1e-6)


@pytest.mark.parametrize(
    "names, options, sentence",
    [
        (["red", ""], {}, "text 1 is empty"),
        (["  \t"], {}, "empty"),
        (["x" * 5001], {}, "5,001"),
        (["x"] * 2001, {}, "2,001"),
        ([b"\xff"], {}, "UTF-8"),
        (["red"], {"templates": "many"}, "templates is one of"),
        (["red"], {"templates": ["simple"]}, "templates is one of"),
        (["red"], {"temp": 1}, "temp"),
    ],
)
def test_what_is_wrong_is_named(server, names, options, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        asked(server, names, **options)
    assert not server.asked


def test_the_wrong_one_of_many_is_named_by_its_place_in_the_request():
    server = Server(config=Config(sentences=1))
    with pytest.raises(InvalidArgument, match="class name 2 is empty"):
        asyncio.run(embed(server.call, ["a", "b", " ", "d"], what="class name"))


@pytest.mark.parametrize(("length", "pieces"), [(None, 75), (20, 18)])
def test_a_text_that_is_much_too_long_is_told_how_much_this_network_reads(length, pieces):
    server = Server()
    server.embedder.known = known(server, length=length)
    said = rf"5,001 characters, more than the limit of 5,000 \(the network reads {pieces} pieces of words\)"
    with pytest.raises(InvalidArgument, match="class name 1 has 5,001 characters, more than the limit of 5,000; it"):
        asyncio.run(embed(server.call, ["car", "x" * 5001], what="class name"))
    with pytest.raises(InvalidArgument, match=f"text 0 has {said}"):
        asked(server, ["x" * 5001])


# ------------------------------------------------------------------------------------------------ one training


def graph(tmp_path, name, content):
    (tmp_path / name / "1").mkdir(parents=True, exist_ok=True)
    (tmp_path / name / "1" / "model.onnx").write_bytes(content)


def test_networks_of_two_trainings_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")

    def mark(digest):
        model = onnx.ModelProto(doc_string="a graph")
        onnx.helper.set_model_props(model, {"sluice.network": "n", "sluice.weights_sha256": digest})
        return model.SerializeToString()

    versions = ["text_encoder/1/0123456789ab", "image_grouper/1/0123456789ab"]
    graph(tmp_path, "text_encoder", mark("a" * 64))
    graph(tmp_path, "image_grouper", mark("a" * 64))
    text_embedder.check_weights(tmp_path, versions)
    graph(tmp_path, "image_grouper", mark("b" * 64))
    with pytest.raises(ValueError, match="text_encoder and image_grouper were exported from different weights"):
        text_embedder.check_weights(tmp_path, versions)
    theirs = onnx.ModelProto(doc_string="made by somebody else: nothing is known")
    graph(tmp_path, "image_grouper", theirs.SerializeToString())
    text_embedder.check_weights(tmp_path, versions)


def test_a_text_that_is_said_to_be_clean_and_is_not_is_refused():
    server = Server()
    for wrong in ("Car", " car", "car  red", "", "\u200b", "x" * 20_001):
        request = {"TEXTS": strings(["car", wrong]), "OPTIONS": strings(['{"cleaned": true}'])}
        with pytest.raises(InvalidArgument, match=r"text 1, .* is not cleaned"):
            asyncio.run(server.call("text_embedder", request, ["EMBEDDINGS"]))


@given(st.text(max_size=40) | st.sampled_from(["\ufb03" * 5_000, "\u0130" * 5_000, "\u03a3 &amp;amp; A\u03a3"]))
def test_every_cleaned_text_counts_as_clean(text):
    try:
        clean = tokens.cleaned([text])
    except InvalidArgument:
        return
    text_embedder._refuse_unclean(clean)


# ------------------------------------------------------------------------------------------------ one length


@pytest.mark.parametrize("length", [20, 77, 96])
def test_an_encoder_of_one_length_gets_padding_and_says_the_same(server, length):
    asked: list[int] = []

    async def call(model, inputs, outputs):
        asked.append(inputs["TOKENS"].shape[1])
        assert not inputs["TOKENS"][:, LENGTH:].any()
        return await server.call(model, {"TOKENS": inputs["TOKENS"][:, :LENGTH]}, outputs)

    found = asyncio.run(vectors(TextEmbeddings(call, length=length), NAMES, "simple"))
    np.testing.assert_array_equal(found, asyncio.run(vectors(known(server), NAMES, "simple")))
    assert set(asked) == {length}


def test_a_text_that_is_longer_than_the_one_length_loses_its_end_and_is_marked(server):
    texts = ["a red car", "a red car " * 9]
    found = asyncio.run(known(server, length=10).embedded(tokens.cleaned(texts)))
    assert found.truncated.tolist() == [False, True]
    short = asyncio.run(known(server).embedded(tokens.cleaned(["a red car " * 2 + "a red"])))
    np.testing.assert_array_equal(found.vectors[1], short.vectors[0])  # 8 words between start and end


def test_our_text_encoder_answers_the_same_with_padding():
    graph = contracts.ROOT / "model_repository/text_encoder/1/model.onnx"
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    async def call(model, inputs, outputs):
        return dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))

    names = ["car", "a person on a bicycle", "traffic light"]
    free, fixed = (asyncio.run(vectors(TextEmbeddings(call, length=each), names, "simple")) for each in (None, 77))
    np.testing.assert_allclose(fixed, free, atol=2e-6)  # equal but for the order of sums


def test_the_length_is_that_of_the_config_which_the_server_serves(tmp_path):
    repository = contracts.ROOT / "model_repository"
    lengths = [text_embedder.length_of(contracts.served(repository, "text_encoder", n)) for n in (None, "none")]
    assert lengths == [None, None]
    for name in ("tensorrt", "rtx"):
        assert text_embedder.length_of(contracts.served(repository, "text_encoder", name)) == 77
    assert text_embedder.length_of(contracts.served(tmp_path, "text_encoder", None)) is None
    with pytest.raises(ValueError, match=r"image_grouper must have an input TOKENS of dims \[ -1 \] or \[ 77 \]"):
        text_embedder.length_of(contracts.served(repository, "image_grouper", None))


@pytest.mark.parametrize("words", [["--model-config-name=rtx"], ["--model-config-name", "rtx"], []])
def test_the_name_of_the_config_is_read_from_the_server_that_started_the_process(words):
    asks = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    says = "from sluice import contracts; print(contracts.config_name())"
    parent = [sys.executable, "-c", asks, says, *words]
    said = subprocess.run(parent, cwd=contracts.ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ("rtx" if words else "None")
