"""The filters of frames: `Filter.passes` judges one frame, `gallery.table` judges all rows at once, and they agree."""

import json
import sqlite3
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.frames import Filter, Frame, Search
from sluice.gallery.catalogue import INSERT, SCHEMA, SCHEMA_4
from sluice.gallery.table import Table
from sluice.methods.selection import no_effect

NAMES = ("a", "b", "c")
TIMES = (None, -1.0, 0.0, 0.5, 1.0, 1e9)

frames = st.lists(
    st.builds(
        Frame,
        id=st.sampled_from([f"f{i}" for i in range(8)]),
        drive=st.sampled_from(("", *NAMES)),
        camera=st.sampled_from(("", *NAMES)),
        time=st.sampled_from(TIMES),
        tags=st.lists(st.sampled_from(NAMES), max_size=3),
    ),
    max_size=8,
    unique_by=lambda frame: frame.id,
)


def some(names):
    return st.none() | st.lists(st.sampled_from(names), max_size=3)


filters = st.builds(
    Filter,
    drives=some(("", *NAMES, "nowhere")),
    cameras=some(("", *NAMES, "nowhere")),
    after=st.sampled_from(TIMES),
    before=st.sampled_from(TIMES),
    tags=some((*NAMES, "fog")),
    exclude=some((*(f"f{i}" for i in range(8)), "unknown")),
)


def catalogue_of(stored):
    """Return a catalogue in memory with these frames, rows in their order."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA + SCHEMA_4 + "PRAGMA user_version = 4;")
    connection.execute("INSERT INTO models(version) VALUES('extractor/1/0')")
    connection.execute("INSERT INTO shards(name, model, h, w, channels) VALUES('one', 1, 1, 1, 4)")
    geometry, extent = np.zeros(6, "<f4").tobytes(), np.zeros(4, "<i2").tobytes()
    for slot, frame in enumerate(stored):
        said = (frame.id, slot.to_bytes(32, "little"), frame.drive, frame.camera, frame.time, json.dumps(frame.tags))
        connection.execute(INSERT, (*said, 0.0, 1, 1, slot, 0, 1, geometry, extent, 1.0, 0.0, 0))
    return connection


@settings(max_examples=300, deadline=None)
@given(frames, filters, st.data())
def test_the_table_judges_frames_as_a_filter_does(stored, asked, data):
    connection, table = catalogue_of(stored), Table()
    table.refresh(connection)
    gone = data.draw(st.lists(st.sampled_from(stored), unique_by=lambda frame: frame.id)) if stored else []
    for frame in gone:
        (seq,) = connection.execute("SELECT seq FROM frames WHERE id = ?", (frame.id,)).fetchone()
        connection.execute("DELETE FROM frames WHERE seq = ?", (seq,))
        connection.execute("INSERT INTO changes(seq) VALUES(?)", (seq,))
    table.version = None  # one connection does not tell its own commits
    table.refresh(connection)
    left = [frame for frame in stored if frame not in gone]
    assert [table.ids[row] for row in table.select(asked)] == [frame.id for frame in left if asked.passes(frame)]
    for kind, values in (("drive", {one.drive for one in left}), ("camera", {one.camera for one in left})):
        assert table.missing(kind, NAMES) == [name for name in NAMES if name not in values]
    assert table.missing("tag", NAMES) == [name for name in NAMES if not any(name in one.tags for one in left)]
    assert table.missing("id", ["f0", "x"]) == [id_ for id_ in ("f0", "x") if id_ not in {one.id for one in left}]
    assert table.lacking("time") == sum(frame.time is None for frame in left)


@given(frames, filters)
def test_a_frame_passes_where_every_filter_by_itself_lets_it_pass(stored, asked):
    alone = [Filter(**{one.name: getattr(asked, one.name)}) for one in fields(Filter)]
    for frame in stored:
        assert asked.passes(frame) == all(one.passes(frame) for one in alone)
        assert Filter().passes(frame) and Search().passes(frame)


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        ({"drives": ["north"]}, True),
        ({"drives": [""]}, False),
        ({"drives": []}, False),
        ({"cameras": ["rear", "front"]}, True),
        ({"cameras": ["rear"]}, False),
        ({"after": 5}, True),
        ({"after": 5.01}, False),
        ({"before": 5.01}, True),
        ({"before": 5}, False),
        ({"tags": []}, True),
        ({"tags": ["rain", "day"]}, True),
        ({"tags": ["rain", "night"]}, False),
        ({"exclude": []}, True),
        ({"exclude": ["f"]}, False),
        ({"exclude": ["g"]}, True),
    ],
)
def test_each_filter_by_hand(asked, passes):
    frame = Frame("f", drive="north", camera="front", time=5, tags=("day", "rain"))
    assert Filter.from_json(asked).passes(frame) is passes


@pytest.mark.parametrize("asked", [{"after": -1e9}, {"before": 1e9}])
def test_a_frame_without_a_time_passes_no_filter_by_time(asked):
    assert not Filter(**asked).passes(Frame("f"))


def test_every_filter_is_told_of_where_it_has_no_effect():
    """Require of each field that it says what it names or needs, so that a new filter cannot be forgotten."""
    for one in fields(Filter):
        assert {"names", "needs"} & set(one.metadata), f"{one.name} says neither what it names nor what it needs"

    class Nothing:
        what = "frame"

        def missing(self, kind, names):
            return list(names)

        def lacking(self, field):
            return 2

    asked = Filter(drives=("x",), cameras=("x",), after=1, before=2, tags=("x",), exclude=("x",))
    told = no_effect.filters(Nothing(), asked)
    assert sorted(entry["option"] for entry in told) == sorted(one.name for one in fields(Filter))
    assert told[-1]["why"] == "2 frames have no time and cannot pass"
    assert not no_effect.filters(Nothing(), Filter())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"drives": "north"}, "drives is a list of texts, or null; got 'north'"),
        ({"tags": [3]}, "tags is a list of texts, or null; got [3]"),
        ({"after": "monday"}, "after is seconds, or a time with its zone such as 2026-03-01T12:00Z, or null; got 'mon"),
        ({"before": "2026-03-01T12:00"}, "before is seconds, or a time with its zone"),
        ({"after": True}, "after is seconds, or a time with its zone"),
        ({"drive": ["north"]}, "a filter has 'drive'; known are: drives, cameras, after, before, tags, exclude"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(given, told):
    with pytest.raises(InvalidArgument) as error:
        Filter.from_json(given)
    assert str(error.value).startswith(told)


def test_a_time_with_its_zone_becomes_seconds():
    assert Filter(after="1970-01-01T01:00+01:00", before="1970-01-01T00:01Z") == Filter(after=0.0, before=60.0)


# ------------------------------------------------------------------------------------------------ a search


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"k": 0}', "k is a whole number from 1 to 10000; got 0"),
        ('{"k": 10001}', "from 1 to 10000; got 10001"),
        ('{"k": 2.5}', "k is"),
        ('{"k": true}', "k is"),
        ('{"kk": 3}', "'kk'; known are: drives, cameras, .*, k, threshold"),
        ('{"per_drive": 0}', "per_drive"),
        ('{"score": "best"}', "roi, image, mean, area"),
        ('{"combine": "min"}', "max, mean, query"),
        ('{"drives": "north"}', "drives is a list"),
        ('{"exclude": [3]}', "exclude is a list"),
        ('{"after": "monday"}', "after is seconds, or a time with its zone such as"),
        ('{"threshold": NaN}', "threshold is a finite number"),
        ('{"heatmaps": 1}', "one of true, false, all; got 1"),
        ('{"heatmaps": "each"}', "one of true, false, all; got 'each'"),
        ("[]", "JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_search_described_wrongly_says_what_is_expected(text, words):
    with pytest.raises(InvalidArgument, match=words):
        Search.from_json(text)


def test_a_search_reads_json_and_has_defaults():
    assert Search.from_json("") == Search.from_json({}) == Search()
    assert Search.from_json('{"k": 3, "drives": ["a"], "exclude": null}') == Search(k=3, drives=("a",))
