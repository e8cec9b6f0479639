"""Words that the server's network has not learned: refused, allowed and said, by both clients' answers, the commands,
the files and the pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import InvalidRequest, Query, Segmentation, Sluice, Words, cli
from sluice_client.answers.segment import Segmented
from sluice_client.files import saved_results
from sluice_client.pages import retrieve, segment
from sluice_client.transport.protocol import Function

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving

TEXTS = ["a giraffe", "road", "a park", "car near road"]
UNKNOWN = (("giraffe",), (), ("park",), ())


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sluice(server: FakeServer) -> Sluice:
    client = Sluice(transport=Function(server.answer))
    client.add(png(1), id="f1")
    client.compare(ids=["f1"], keep_embeddings=True)
    return client


@pytest.fixture
def command(server: FakeServer, sluice: Sluice, monkeypatch, tmp_path):
    with serving(server.answer) as address:
        monkeypatch.setenv("SLUICE_URL", address)
        monkeypatch.chdir(tmp_path)
        Path("photo.png").write_bytes(png(2))
        yield lambda *words: cli.main(list(words))


ASKED = {
    "segment": lambda s, **options: s.segment([png(1)], classes=TEXTS, **options),
    "compare": lambda s, **options: s.compare([png(1)], TEXTS, **options),
    "retrieve": lambda s, **options: s.retrieve(texts=TEXTS, **options),
    "both": lambda s, **options: s.retrieve(Query(png(1), rois=[(8, 8, 24, 24)]), texts=TEXTS, **options),
}


@pytest.mark.parametrize("verb", ASKED)
def test_what_is_not_known_is_refused_or_said(sluice: Sluice, verb: str):
    with pytest.raises(InvalidRequest, match="has not learned 'giraffe'"):
        ASKED[verb](sluice)
    words = ASKED[verb](sluice, allow_unknown=True).words
    assert words.texts == tuple(TEXTS) and words.unknown == UNKNOWN and words.ignored == ((), (), (), ("near",))
    assert words.same == ((0, 2),) and words.like(0) == ("a park",) and words
    assert words.said() == [
        "not learned by the network, which cannot tell them from any other such word: 'giraffe' in 'a giraffe', "
        "'park' in 'a park'",
        "not learned by the network, which skips them: 'near' in 'car near road'",
        "the same to the network: 'a giraffe' = 'a park'",
    ]


def test_where_all_is_known_nothing_is_said(sluice: Sluice):
    for words in (
        sluice.segment([png(1)], classes=["road"]).words,
        sluice.compare([png(1)], ["road"]).words,
        sluice.retrieve(Query(png(1), rois=[(8, 8, 24, 24)])).words,
    ):
        assert not words and words.said() == [] and words.as_json() == {}


def test_an_older_server_says_nothing():
    words = Words.of({"truncated": []}, ["a dog"])
    assert not words and words.unknown == ((),)


def test_the_option_is_sent_only_where_it_is_wanted(sluice: Sluice, server: FakeServer):
    for ask in ASKED.values():
        ask(sluice, allow_unknown=True)
        assert json.loads(server.calls[-1][0].inputs["OPTIONS"][0])["allow_unknown"] is True
        with pytest.raises(InvalidRequest):
            ask(sluice)
        assert "allow_unknown" not in json.loads(server.calls[-1][0].inputs["OPTIONS"][0])
    with pytest.raises(InvalidRequest, match="allow_unknown is for texts"):
        sluice.retrieve(Query(png(1), rois=[(8, 8, 24, 24)]), allow_unknown=True)


NAMES = st.lists(st.text("ab ", min_size=1, max_size=5), min_size=1, max_size=6, unique=True)


@given(NAMES, st.data())
def test_what_is_said_survives_json(names: list[str], data):
    lists = st.lists(st.text("xyz", min_size=1), max_size=2).map(tuple)
    unknown, ignored = (tuple(data.draw(lists) for _ in names) for _ in range(2))
    groups: dict[int, list[int]] = {}
    for place in range(len(names)):
        groups.setdefault(data.draw(st.integers(0, 3)), []).append(place)
    same = tuple(sorted(tuple(group) for group in groups.values() if len(group) > 1))
    words = Words(tuple(names), unknown, ignored, same)
    again = Words.from_json(json.loads(json.dumps(words.as_json())), names)
    assert again == words


def test_files_keep_it(sluice: Sluice):
    (one,) = sluice.segment([png(1)], classes=TEXTS, allow_unknown=True)
    again = Segmentation.from_json(json.loads(json.dumps(one.as_json())))
    assert again.words == one.words and Segmented.of([again]).words.unknown == UNKNOWN
    without = {name: value for name, value in one.as_json().items() if name != "words"}  # as an earlier client wrote
    assert not Segmentation.from_json(without).words
    found = sluice.retrieve(texts=TEXTS, allow_unknown=True)
    assert saved_results.loads(saved_results.dumps(b"", [], found, TEXTS)).found == found


def test_pages_mark_it(sluice: Sluice):
    found = sluice.segment([png(1)], classes=TEXTS, allow_unknown=True)
    made = segment.render(found, lambda id: png(1))
    assert made.count('<b class="doubt" title="not learned: giraffe; the same as a park">?</b>') == 2, "legend and card"
    assert "the same to the network: &#39;a giraffe&#39; = &#39;a park&#39;" in made
    known = segment.render(sluice.segment([png(1)], classes=["road"]), lambda id: png(1))
    assert '<b class="doubt"' not in known and "learned" not in known
    searched = sluice.retrieve(texts=TEXTS, allow_unknown=True)
    made = retrieve.render(None, [], searched, lambda id: png(1), texts=TEXTS)
    assert made.count("<dt>beware</dt>") == 3 and "&#39;giraffe&#39; in &#39;a giraffe&#39;" in made


COMMANDS = {
    "segment": ["segment", "photo.png", "--classes", "a giraffe,road"],
    "compare": ["compare", "photo.png", "--texts", "a giraffe", "road"],
    "retrieve": ["retrieve", "--text", "a giraffe", "--text", "road"],
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_commands_refuse_in_a_line_or_warn(command, verb: str, capsys):
    assert command(*COMMANDS[verb]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "has not learned 'giraffe'" in said.err
    assert command(*COMMANDS[verb], "--allow-unknown", "--json") == 0
    said = capsys.readouterr()
    assert "warning: not learned by the network" in said.err
    assert json.loads(said.out.splitlines()[0])["words"] == {"a giraffe": {"unknown": ["giraffe"]}}


def test_words_lists_and_checks(command, capsys):
    assert command("words") == 0
    said = capsys.readouterr()
    assert said.out == "car\nroad\n" and "text_encoder/1/0123456789ab has learned 2 words" in said.err
    assert command("words", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row == {"all": False, "tokens": 3, "words": ["car", "road"], "model": "text_encoder/1/0123456789ab"}
    assert command("words", "road", "car") == 0
    capsys.readouterr()
    Path("names.txt").write_text("road\n\n a park \n")
    assert command("words", "a giraffe", "--file", "names.txt", "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["known"], row["unknown"], row["same"]) for row in rows] == [
        ("a giraffe", False, ["giraffe"], ["a park"]),
        ("road", True, [], []),
        ("a park", False, ["park"], ["a giraffe"]),
    ]
    Path("names.txt").write_text("\n")
    assert command("words", "--file", "names.txt") == 2
    assert "There is no name in names.txt" in capsys.readouterr().err
