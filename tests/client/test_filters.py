"""The filters of stored frames: one list of them, for every verb and every command that has them."""

import json
import math
from dataclasses import fields

import pytest
from sluice_client import InvalidRequest, cli
from sluice_client.filters import Filter, FilterKeywords, seconds
from sluice_client.terminal.filter_options import moment
from sluice_client.verbs import gallery, retrieve, select

from sluice.errors import InvalidArgument
from sluice.frames import Search
from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving

WORDS = {
    "drives": ["--drive", "A", "--drive", "B"],
    "cameras": ["--camera", "front"],
    "after": ["--after", "1.5"],
    "before": ["--before", "2026-03-01T12:00Z"],
    "tags": ["--tag", "night", "--tag", "rain"],
    "exclude": ["--exclude", "a"],
}
SENT = {
    "drives": ["A", "B"],
    "cameras": ["front"],
    "after": 1.5,
    "before": 1772366400.0,
    "tags": ["night", "rain"],
    "exclude": ["a"],
}


@pytest.fixture
def server(monkeypatch):
    fake = FakeServer()
    with serving(fake.answer) as where:
        monkeypatch.setenv("SLUICE_URL", where)
        yield fake


def test_every_filter_is_named_here():
    assert {field.name for field in fields(Filter)} == set(FilterKeywords.__annotations__) == set(WORDS) == set(SENT)


@pytest.mark.parametrize("kind", [Filter, retrieve.Options, select.Options])
def test_every_verb_sends_every_filter(kind):
    sent = json.loads(json.dumps(kind.of(**SENT).as_json()))
    assert {name: sent[name] for name in SENT} == SENT
    assert not kind.of().as_json().keys() & SENT.keys()
    assert kind.names()[-len(SENT) :] == list(SENT)


@pytest.mark.parametrize("command", ["retrieve bike.png --roi 0,0,8,8", "select -n 1", "list"])
def test_every_command_has_an_option_for_every_filter(server, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bike.png").write_bytes(png(0))
    name, *words = command.split()
    assert cli.main([name, *words, *(word for given in WORDS.values() for word in given)]) == 0
    ((call, _),) = server.calls
    sent = json.loads(call.inputs["COMMAND" if name == "list" else "OPTIONS"][0])
    assert {name: sent[name] for name in SENT} == SENT


def test_a_page_of_the_list_goes_on_by_its_cursor_and_filters_by_time():
    command = json.loads(gallery.list_request("42", 5, after=1.5, before=2.0).inputs["COMMAND"][0])
    assert command == {"op": "list", "cursor": "42", "limit": 5, "after": 1.5, "before": 2.0}


def test_a_filter_that_cannot_be_is_refused_by_its_name():
    with pytest.raises(InvalidRequest, match="after must be earlier than before"):
        Filter(after=2, before=1)
    with pytest.raises(InvalidRequest, match="drives must be a list of texts"):
        Filter(drives="A")
    with pytest.raises(InvalidRequest, match=r"`frames` knows drives, .*; got 'drive'\. Did you mean 'drives'"):
        Filter.of(drive=["A"])


def test_an_option_whose_place_has_changed_must_be_named():
    assert retrieve.Options(10, 0.5, "roi", "max").threshold == 0.5
    with pytest.raises(TypeError):
        retrieve.Options(10, 0.5, "roi", "max", ["drive1"])  # these were the drives
    with pytest.raises(TypeError):
        select.Options(1, None, None, None, None, None, None, None, None, ["drive1"])


# ------------------------------------------------------------------------- moments as callers write them, on both sides


MOMENTS = [
    (12, 12.0),
    (1.5, 1.5),
    ("1970-01-01T00:00Z", 0.0),
    ("2026-03-01T12:00:00.25+01:00", 1772362800.25),
    ("2026-03-01 11:00:00Z", 1772362800.0),
]
WRONG = ["2026-03-01", "2026-03-01T12:00", "noon", "", math.nan, math.inf, 10**400, True]


@pytest.mark.parametrize(("given", "meant"), MOMENTS)
def test_client_and_server_read_a_moment_alike(given, meant):
    assert seconds("after", given) == meant == Search(after=given).after == Search(before=given).before


@pytest.mark.parametrize("given", WRONG)
def test_what_is_no_moment_is_refused_by_name(given):
    with pytest.raises(InvalidRequest, match="after"):
        seconds("after", given)
    with pytest.raises(InvalidArgument, match="after"):
        Search(after=given)


def test_an_argument_is_a_number_where_it_is_one():
    assert moment("12.5") == 12.5 and moment("2026-03-01T12:00Z") == "2026-03-01T12:00Z"
