"""For the tests of `sluice.methods`: all of them run with shapes and dtypes checked."""

import pytest

from tests.methods import shapes


@pytest.fixture(scope="package", autouse=True)
def shapes_checked():
    with shapes.checking():
        yield
