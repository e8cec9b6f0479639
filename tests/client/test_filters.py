"""Moments as callers write them, on both sides."""

import math

import pytest
from sluice_client import InvalidRequest
from sluice_client.filters import seconds
from sluice_client.terminal.filter_options import moment

from sluice.errors import InvalidArgument
from sluice.frames import Search

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
