"""`calls.parsed`: what a caller's JSON may hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.options import parsed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


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
