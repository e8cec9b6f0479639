"""`sluice.options`: what a caller's JSON may hold, and how its values are checked."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.options import (
    check_options,
    choice,
    flag,
    json_object,
    names_of,
    number,
    of_json,
    one_text,
    option,
    parsed,
    split,
    text_list,
    whole,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
HUGE = 10**400  # a whole number beyond every float


@given(VALUES, st.booleans())
def test_every_json_value_comes_back_whole(value, escaped):
    text = json.dumps(value, ensure_ascii=escaped)
    assert parsed(text, "it") == parsed(text.encode(), "it") == json.loads(text)


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"a": ["\uDfff"]}', r'{"\ud83d": 1}', r'{"a": "\ude00\ud83d"}'])
def test_half_a_character_is_refused_by_its_place(text):
    with pytest.raises(InvalidArgument, match=r"OPTIONS.* has half a character, the surrogate \\ud"):
        parsed(text, "OPTIONS")


@pytest.mark.parametrize("text", [b"\xed\xa0\x80", "{", "[" * 100_000, "1" * 5_000, b'"\xff"'])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(InvalidArgument, match=r"not JSON|UTF-8"):
        parsed(text, "OPTIONS")


# ------------------------------------------------------------------------------------------------ kinds


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        (whole(1, 9), 1, 1),
        (whole(1, 9), np.int64(9), 9),
        (whole(0), HUGE, HUGE),
        (number(0, 1), 1, 1.0),
        (number(), np.float32(0.5), 0.5),
        (number(), -1e308, -1e308),
        (number(high=0), -3, -3.0),
        (flag, False, False),
        (choice(("a", "b")), "b", "b"),
        (choice((True, False, "all")), False, False),
        (one_text, "", ""),
        (text_list, ["a", "b"], ("a", "b")),
        (text_list, [], ()),
    ],
)
def test_a_value_of_its_kind_is_taken_in_its_own_type(kind, value, taken):
    assert kind("x", value) == taken and type(kind("x", value)) is type(taken)
    assert kind.or_null()("x", value) == taken and kind.or_null()("x", None) is None


@pytest.mark.parametrize(
    ("kind", "told", "values"),
    [
        (whole(1, 9), "a whole number from 1 to 9", [0, 10, True, 1.0, "1", math.nan, HUGE, [1], None]),
        (whole(2), "a whole number of 2 or more", [1, False, 2.5]),
        (number(0, 1), "a number from 0 to 1", [-0.1, 1.1, True, "0", math.nan, math.inf, HUGE, None]),
        (number(1), "a finite number of 1 or more", [0, math.inf, HUGE]),
        (number(high=1), "a finite number of 1 or less", [2, -math.inf, -HUGE]),
        (number(), "a finite number", [math.nan, -math.inf, HUGE, 1j]),
        (flag, "true or false", [0, 1, "yes", None]),
        (choice(("a", "b")), "one of a, b", ["c", ["a"], {}, None, 1]),
        (choice((True, False, "all")), "one of true, false, all", [1, 0, "some", None]),
        (one_text, "a text", [1, b"a", None]),
        (text_list, "a list of texts", ["ab", [1], [None], {"a": 1}, None]),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_was_expected_and_what_came(kind, told, values):
    for value in values:
        with pytest.raises(InvalidArgument) as error:
            kind("x", value)
        assert str(error.value) == f"x is {told}; got {value!r:.80}"
        if value is not None:
            with pytest.raises(InvalidArgument) as error:
                kind.or_null()("x", value)
            assert str(error.value) == f"x is {told}, or null; got {value!r:.80}"


# ------------------------------------------------------------------------------------------------ dataclasses


@dataclass(frozen=True)
class Options:
    steps: int = option(10, whole(1, 1000))
    least: float | None = option(None, number(0, 1))
    names: tuple[str, ...] = option((), text_list)
    plain: object = None

    def __post_init__(self):
        check_options(self)


def test_options_come_from_json_with_their_defaults():
    assert of_json(Options, "") == of_json(Options, b"{}") == of_json(Options, {}) == Options()
    assert of_json(Options, '{"steps": 3, "names": ["a"], "least": null}') == Options(3, None, ("a",))
    assert of_json(Options, {"least": 1}).least == 1.0 and names_of(Options) == ("steps", "least", "names", "plain")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": 0}, "steps is a whole number from 1 to 1000; got 0"),
        ({"steps": None}, "steps is a whole number from 1 to 1000; got None"),
        ({"least": 2}, "least is a number from 0 to 1, or null; got 2"),
        ({"step": 3, "a": 1}, "OPTIONS has 'a', 'step'; known are: steps, least, names, plain"),
        ({3: 3}, "OPTIONS has '3'; known are: steps, least, names, plain"),
        ("[]", "OPTIONS is a JSON object with some of steps, least, names, plain; got []"),
        ("{", "OPTIONS is not JSON: "),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(given, told):
    with pytest.raises(InvalidArgument) as error:
        of_json(Options, given)
    assert str(error.value).startswith(told)


def test_an_object_is_split_by_the_groups_that_its_names_belong_to():
    assert split('{"a": 1, "c": 3}', ("a", "b"), iter("cd")) == [{"a": 1}, {"c": 3}]
    with pytest.raises(InvalidArgument, match="COMMAND has 'e'; known are: a, b, c, d"):
        split({"e": 1}, "ab", "cd", what="COMMAND")


def test_the_members_of_an_object_are_the_callers_own():
    given = {"a": [1]}
    members = json_object(given)
    members.pop("a")
    assert given == {"a": [1]} and json_object(b"") == {}
    with pytest.raises(InvalidArgument, match="it is a JSON object; got 3"):
        json_object("3", "it")
