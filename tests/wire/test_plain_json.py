"""Answers in plain JSON over HTTP: bytes as base64, halves as float32, a number for NaN."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice import contracts
from sluice.errors import InvalidArgument
from sluice.wire import plain_json
from sluice.wire.calls import json_strings, strings

BINARY = frozenset({"IMAGES", "MASKS"})


def request(**tensors):
    return {name: strings(value) if isinstance(value, list) else value for name, value in tensors.items()}


@given(st.lists(st.binary(max_size=64), min_size=1, max_size=5))
def test_bytes_come_and_go_as_base64(batch):
    inputs = request(IMAGES=[base64.b64encode(one) for one in batch], OPTIONS=['{"encoding": "base64", "top": 3}'])
    form = plain_json.read(inputs, BINARY, halves=False)
    assert list(inputs["IMAGES"]) == batch
    assert json.loads(inputs["OPTIONS"][0]) == {"top": 3}, "the verb's own options stay, the glue's are taken out"
    back = plain_json.written("MASKS", strings(batch), np.object_, form, BINARY)
    assert [base64.b64decode(one) for one in back] == batch


def test_what_is_no_base64_is_left_to_whoever_reads_it():
    inputs = request(IMAGES=[base64.b64encode(b"good"), "bad!"], OPTIONS=['{"encoding": "base64"}'])
    plain_json.read(inputs, BINARY, halves=False)
    assert list(inputs["IMAGES"]) == [b"good", b"bad!"]


def test_text_stays_text():
    form = plain_json.Form(base64=True)
    assert list(plain_json.written("NOTES", strings(["{}"]), np.object_, form, BINARY)) == [b"{}"]


def test_a_request_without_these_options_is_not_touched():
    raw = b'{"labels":  ["nan"]}'  # white space that a second writing would change
    inputs = request(IMAGES=[b"aGVsbG8="], OPTIONS=[raw])
    assert plain_json.read(inputs, BINARY, halves=False) is plain_json.RAW or inputs["OPTIONS"][0] != raw
    assert list(inputs["IMAGES"]) == [b"aGVsbG8="]
    assert json.loads(inputs["OPTIONS"][0]) == json.loads(raw)


def test_halves_are_answered_as_float32_where_that_is_asked_for():
    form = plain_json.read(request(OPTIONS=['{"dtype": "fp32"}']), frozenset(), halves=True)
    array = np.array([0.1, 2.5], np.float16)
    wide = plain_json.written("FEATURES", array, np.float16, form, frozenset())
    assert wide.dtype == np.float32 and (wide == array).all()
    same = plain_json.written("FEATURES", array, np.float16, plain_json.RAW, frozenset())
    assert same.dtype == np.float16 and (same == array).all()


def test_a_number_stands_for_nan_where_that_is_asked_for():
    form = plain_json.read(request(OPTIONS=['{"nan": -1}']), BINARY, halves=False)
    array = np.array([0.5, np.nan], np.float32)
    assert plain_json.written("SCORES", array, np.float32, form, BINARY).tolist() == [0.5, -1]
    assert np.isnan(plain_json.written("SCORES", array, np.float32, plain_json.RAW, BINARY)[1])


@pytest.mark.parametrize(
    "options",
    [{"encoding": "hex"}, {"encoding": None}, {"dtype": "fp64"}, {"nan": "0"}, {"nan": 10**400}, {"nan": True}],
)
def test_a_wrong_value_is_refused_by_name(options):
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        plain_json.read(request(OPTIONS=[json.dumps(options)]), BINARY, halves=True)


def test_rows_of_one_request_ask_for_one_form():
    with pytest.raises(InvalidArgument, match="equal"):
        plain_json.read(request(OPTIONS=['{"encoding": "base64"}', "{}"]), BINARY, halves=True)


def test_the_dtype_of_a_verb_without_halves_is_left_for_it_to_refuse():
    inputs = {"OPTIONS": json_strings([{"dtype": "fp32", "nan": 0}])}
    plain_json.read(inputs, BINARY, halves=False)
    assert json.loads(inputs["OPTIONS"][0]) == {"dtype": "fp32"}


def test_every_tensor_named_as_binary_is_a_string_of_its_config():
    for name, config in contracts.models().items():
        named = (
            config.parameters[contracts.BINARY].string_value.split() if contracts.BINARY in config.parameters else []
        )
        declared = {**contracts.tensors(config.input), **contracts.tensors(config.output)}
        assert all(declared.get(tensor, ("",))[0] == "STRING" for tensor in named), name


@pytest.mark.parametrize("verb", sorted(path.parent.name for path in contracts.ROOT.glob("ensembles/*/config.pbtxt")))
def test_every_verb_takes_the_options(verb):
    config = contracts.models()[verb]
    assert config.backend == "python" and "OPTIONS" in contracts.tensors(config.input)
    bytes_ = {"ENCODED", "IMAGES", "QUERY_IMAGES", "PACKETS", "IMAGE", "MASKS", "GROUPS", "CONFIDENCE", "HEATMAPS"}
    bytes_ |= {"QUERY_HEATMAPS"}
    kinds = {**contracts.tensors(config.output), **contracts.tensors(config.input)}
    named = (
        set(config.parameters[contracts.BINARY].string_value.split())
        if contracts.BINARY in config.parameters
        else set()
    )
    # `detect` has an output IMAGE that is a number, `enhance` one that is a picture.
    assert named == {name for name in bytes_ & set(kinds) if kinds[name][0] == "STRING"}
