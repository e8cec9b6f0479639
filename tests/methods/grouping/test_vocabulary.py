"""The words that a text encoder has learned: the rule, what a graph says of it, and what the shipped one knows."""

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice import contracts
from sluice.errors import InvalidArgument
from sluice.methods.grouping import prompts, tokens
from sluice.methods.grouping.pairs import VOCABULARY
from sluice.methods.grouping.vocabulary import EVERY, MARK, Reading, Vocabulary, parsed, written
from sluice.models import text_embedder
from sluice.verbs import compare as compare_verb
from sluice.verbs import segment as segment_verb
from sluice.wire.calls import strings
from tests.made.words_server import Request, Server, picture

# What a small network may have learned. "bicyclist" is three tokens, and two of them stand in no word of this list.
SAID = "a red green car wall light traffic bicyclist of the one with photo two ."
TOKENS = sorted({number for _, numbers in tokens.tokenizer().words(SAID) for number in numbers})
LEARNED = np.isin(np.arange(VOCABULARY), [*TOKENS, tokens.START, tokens.END])
SMALL = Vocabulary(LEARNED)
GRAPH = contracts.ROOT / "model_repository" / "text_encoder" / "1" / "model.onnx"


# ------------------------------------------------------------------------------------------------ the rule


@pytest.mark.parametrize(
    ("text", "unknown", "ignored"),
    [
        ("car", (), ()),
        ("a red car", (), ()),
        ("bicyclist", (), ()),
        ("giraffe", ("giraffe",), ()),
        ("a giraffe", ("giraffe",), ()),  # the article was learned, and does not count
        ("car park", ("park",), ()),  # to the network it is "car"
        ("red giraffe and red dog", ("giraffe", "and", "dog"), ()),
        ("bicyclists", ("bicyclists",), ()),  # two of its three tokens were learned
        ("cars", ("cars",), ()),
        ("car on a wall", (), ("on",)),  # a preposition that was not learned: read over, and said
        ("traffic-light", (), ("-",)),
        ("red car!", (), ("!",)),
        ("2 cars", ("2", "cars"), ()),
        ("car 🚲", ("🚲",), ()),  # no word, and no punctuation either
        ("on", ("on",), ()),  # nothing else in it: then they count
        ("of the", (), ()),
        ("!?", ("!?",), ()),
        ("автомобиль", ("автомобиль",), ()),
        ("car car dog dog", ("dog",), ()),
    ],
)
def test_each_word_counts_articles_and_prepositions_apart(text, unknown, ignored):
    assert SMALL.reading(tokens.clean(text)) == Reading(unknown, ignored)
    assert EVERY.reading(tokens.clean(text)) == Reading((), ())


@given(st.text(min_size=1, max_size=40).map(tokens.clean).filter(bool))
def test_a_text_reads_as_its_tokens_say(text):
    reading = SMALL.reading(text)
    assert bool(reading.unknown or reading.ignored) == (not LEARNED[tokens.tokenizer().encode(text)].all())
    assert not set(reading.unknown) & set(reading.ignored)


def test_unlearned_tokens_are_one():
    ids = tokens.tokenizer()(["a dog", "a cat", "a car", "a red car"]).ids
    dog, cat, car, more = SMALL.seen(ids)
    assert (dog == cat).all() and not (dog == car).all() and not (car == more).all()
    assert (EVERY.seen(ids) == ids).all()


# ------------------------------------------------------------------------------------------------ what a graph says


@given(st.sets(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30))
def test_what_was_learned_is_written_and_read(numbers):
    learned = np.isin(np.arange(VOCABULARY), list(numbers))
    assert (parsed(written(learned)) == learned).all()


def test_runs_are_short_and_everything_is_a_word():
    learned = np.zeros(VOCABULARY, bool)
    learned[[3, 7, 8, 9, 49_407]] = True
    assert written(learned) == "3,7-9,49407"
    assert written(~np.zeros_like(learned)) == "all" and parsed("all") is None
    with pytest.raises(ValueError, match="no token at all"):
        written(np.zeros_like(learned))


@pytest.mark.parametrize("said", ["", "x", "5-", "9-3", "49408", "-1", "1,,2"])
def test_what_cannot_be_is_refused(said):
    with pytest.raises(ValueError):
        parsed(said)


@pytest.fixture
def write(tmp_path):
    onnx = pytest.importorskip("onnx")

    def write(**marks):
        model = onnx.ModelProto(doc_string=f"{MARK} is not here")
        onnx.helper.set_model_props(model, {"sluice." + name: value for name, value in marks.items()})
        path = tmp_path / "text_encoder" / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return Vocabulary.of(tmp_path, "text_encoder")

    return write


@pytest.mark.parametrize("length", [1, 60, 2_000, 20_000])  # a length of one byte, of two, of three
def test_a_graph_says_what_was_learned(write, length):
    learned = np.zeros(VOCABULARY, bool)
    learned[np.arange(length) * 2 + 1] = True
    found = write(network="text_encoder", learned_tokens=written(learned), words="sky red")
    assert (found.learned == learned).all() and found.words() == ["red", "sky"]


def test_an_imported_network_knows_all_and_a_foreign_one_is_trusted(write):
    assert write(network="text_encoder", learned_tokens="all", words="").learned is None
    assert write().learned is None


def test_a_graph_of_an_earlier_export_is_refused_with_the_remedy(write):
    with pytest.raises(ValueError, match="text_encoder does not say which words it has learned; run: sluice export"):
        write(network="text_encoder", weights_sha256="a" * 64)


def test_words_to_choose_from_without_a_list_are_the_tokens_that_are_whole_words():
    pieces = [word for word in SAID.split() if len(tokens.tokenizer().encode(word)) > 1]
    assert pieces == ["bicyclist"]
    assert set(SMALL.words()) - {"st"} == set(SAID.split()) - {"bicyclist"}  # "st" ends it, and is a word, too
    assert EVERY.words() == []


# ------------------------------------------------------------------------------------------------ the shipped one


@pytest.fixture(scope="module")
def shipped():
    if not GRAPH.is_file():
        pytest.fail("text_encoder/1/model.onnx is missing; run: make export")
    return Vocabulary.of(contracts.ROOT / "model_repository", "text_encoder")


def test_the_shipped_encoder_has_learned_116_tokens_and_its_words_are_known(shipped):
    assert shipped.learned.sum() == 116 and shipped.listed
    assert {"bicyclist", "road", "traffic", "light", "pavement", "sky"} <= set(shipped.words())
    assert not {"st", "sts", "vements", "dog", "bus"} & set(shipped.words())
    for word in shipped.words():
        assert shipped.reading(word) == Reading((), ()), word


def test_what_we_offer_ourselves_is_known(shipped):
    from sluice_client import commands

    import demo.__main__
    from bench.class_names import CAMVID

    examples = ["road,car,tree", "traffic light,sky", "road,car", "a road", "a fence", "a car", "trees"]
    examples += ["a traffic light", "tree"]
    said = "\n".join(module.__doc__ for module in commands.COMMANDS.values())
    said += (contracts.ROOT / "README.md").read_text()
    assert all(example in said for example in examples)
    for name in {*demo.__main__.WORDS, *CAMVID, *(one for example in examples for one in example.split(","))}:
        assert shipped.reading(tokens.clean(name)) == Reading((), ()), name


# ------------------------------------------------------------------------------------------------ the verbs


def segment(server, options=None, **inputs):
    request = Request(options, IMAGES=[picture("red", "green")], **inputs)
    return asyncio.run(segment_verb.segment(server.call, request, segment_verb.Config(short=64, crop=64, stride=32)))


def compare(server, options=None, **inputs):
    request = Request(options, IMAGES=[picture("red", "green")], **inputs)
    return asyncio.run(compare_verb.compare(server.call, request, compare_verb.Config()))


@pytest.fixture
def server():
    return Server(known=SMALL)


@pytest.mark.parametrize("verb", ["segment", "compare"])
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["car", "dog"], "has not learned 'dog': "),
        (["a giraffe", "car park"], "has not learned 'giraffe' in 'a giraffe', 'park' in 'car park': "),
        ([f"car {i}{j}" for i in range(5) for j in range(4)], "and 12 more names"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_is_asked(server, verb, names, sentence):
    given = {"CLASSES": names} if verb == "segment" else {"TEXTS": names}
    with pytest.raises(InvalidArgument, match=sentence) as caught:
        globals()[verb](server, **given)
    assert "`sluice words`" in str(caught.value) and "allow_unknown" in str(caught.value)
    assert server.asked == ["text_embedder"]


@pytest.mark.parametrize("verb", ["segment", "compare"])
def test_an_unknown_name_that_is_allowed_is_said_and_names_that_are_one_are_too(server, verb):
    names = ["dog", "red", "a car", "cat", "car on a wall", "car by a wall"]
    given = {"CLASSES": names} if verb == "segment" else {"TEXTS": names}
    notes = json.loads(globals()[verb](server, {"allow_unknown": True}, **given)["NOTES"][0])
    assert notes["unknown"] == [["dog"], [], [], ["cat"], [], []]
    assert notes["ignored"] == [[], [], [], [], ["on"], ["by"]]
    assert notes["same"] == [[0, 3], [4, 5]]


@pytest.mark.parametrize("verb", ["segment", "compare"])
def test_the_option_is_true_or_false(server, verb):
    given = {"CLASSES": ["car"]} if verb == "segment" else {"TEXTS": ["car"]}
    with pytest.raises(InvalidArgument, match="allow_unknown is true or false; got 1"):
        globals()[verb](server, {"allow_unknown": 1}, **given)


def test_names_that_are_one_share_one_vector_and_ask_once(server):
    found = asyncio.run(text_embedder.embed(server.call, ["dog", "red", "cat"], "subset", allow_unknown=True))
    assert (found.vectors[0] == found.vectors[2]).all() and not (found.vectors[0] == found.vectors[1]).all()
    assert sum(rows for rows, _ in server.shapes) == 14  # two meanings in seven sentences
    calls = server.count("text_encoder")
    asyncio.run(text_embedder.embed(server.call, ["giraffe"], "subset", allow_unknown=True))
    assert server.count("text_encoder") == calls


def test_the_default_templates_read_over_what_was_not_learned(server):
    """Read over words of templates, which are not the caller's: they make no name unknown."""
    for set_ in prompts.TEMPLATES:
        found = asyncio.run(text_embedder.embed(server.call, ["red", "car"], set_))
        assert found.notes()["unknown"] == [[], []] and found.notes()["same"] == []


def test_the_model_checks_and_lists_without_asking_the_network(server):
    options = {"vectors": False, "vocabulary": True}
    inputs = {"TEXTS": strings(["dog", "a car", "cat"]), "OPTIONS": strings([json.dumps(options)])}
    asyncio.run(server.embedder.known.scale())
    server.asked.clear()
    answer = asyncio.run(server.embedder.run(inputs))
    assert not server.asked and len(answer["EMBEDDINGS"]) == 0 and answer["TRUNCATED"].tolist() == [False] * 3
    dog, car, cat = map(json.loads, answer["WORDS"])
    assert dog["unknown"] == ["dog"] and car["unknown"] == [] and dog["key"] == cat["key"] != car["key"]
    told = json.loads(answer["VOCABULARY"][0])
    assert told == {"all": False, "tokens": int(LEARNED.sum()), "words": SMALL.words()}
    assert len(asyncio.run(server.embedder.run({}))["VOCABULARY"]) == 0
