"""The number of items that a request may hold."""

import pytest

from sluice.errors import InvalidArgument
from sluice.wire import calls


def test_a_request_holds_at_least_one_item_and_at_most_the_limit():
    calls.check_count("images", 1, 64)
    calls.check_count("images", 64, 64)
    for count in (0, 65):
        with pytest.raises(InvalidArgument, match=f"a request holds 1 to 64 images, got {count}; split it"):
            calls.check_count("images", count, 64)
    with pytest.raises(InvalidArgument, match="1 to 1,000 texts, got 2,000; split it"):
        calls.check_count("texts", 2000, 1000)
