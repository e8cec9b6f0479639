"""Working sizes and windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.methods.grouping.windows import plan


@pytest.mark.parametrize(
    ("size", "working", "tops", "lefts"),
    [
        ((448, 448), (448, 448), (0,), (0,)),
        ((480, 640), (448, 597), (0,), (0, 149)),
        ((1080, 1920), (448, 796), (0,), (0, 224, 348)),
        ((1920, 1080), (796, 448), (0, 224, 348), (0,)),
        ((1, 1), (448, 448), (0,), (0,)),
        ((100, 448), (448, 2007), (0,), (0, 224, 448, 672, 896, 1120, 1344, 1559)),
        # Beyond 2048 : 448 the long side decides, and the short one is rounded to whole patches.
        ((100, 1000), (208, 2048), (0,), (0, 224, 448, 672, 896, 1120, 1344, 1568, 1600)),
        ((10, 1000), (16, 2048), (0,), (0, 224, 448, 672, 896, 1120, 1344, 1568, 1600)),
    ],
)
def test_the_published_windows(size, working, tops, lefts):
    found = plan(*size)
    assert (found.working, found.tops, found.lefts) == (working, tops, lefts)
    assert found.window == (min(448, working[0]), min(448, working[1]))


def test_the_whole_picture():
    found = plan(1080, 1920, "whole")
    assert found.working == found.window == (448, 800) and found.corners == [(0, 0)]
    assert plan(1, 5000, "whole").working == (16, 2048)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(["windows", "whole"]), st.integers(16, 900),
    st.integers(1, 40).map(lambda n: 16 * n), st.integers(1, 640),
)  # fmt: skip
def test_every_pixel_is_seen(height, width, view, short, window, stride):
    stride = min(stride, window)
    try:
        found = plan(height, width, view, short, 2048, window, stride)
    except InvalidArgument as error:
        assert "more than the limit of 64" in str(error)
        return
    counts = found.counts()
    assert counts.shape == found.working and counts.min() >= 1
    expected = np.zeros(found.working)
    for top, left in found.corners:
        expected[top : top + found.window[0], left : left + found.window[1]] += 1
    assert (counts == expected).all()
    assert not found.window[0] % 16 and not found.window[1] % 16 and len(found) == len(found.corners)
    row, column = found.nearest()
    for part, starts, side in ((row, found.tops, found.window[0]), (column, found.lefts, found.window[1])):
        inside = np.arange(len(part)) - np.array(starts)[part]
        assert (inside >= 0).all() and (inside < side).all()


def test_crops_are_the_picture():
    found = plan(480, 640)
    image = np.random.default_rng(0).integers(0, 256, (*found.working, 3), np.uint8)
    crops = found.crops(image)
    assert crops.shape == (2, 448, 448, 3) and crops.dtype == np.uint8
    assert (crops[0] == image[:, :448]).all() and (crops[1] == image[:, 149:]).all()
    with pytest.raises(ValueError, match="working size"):
        found.crops(image[:-1])


def test_what_is_refused():
    with pytest.raises(InvalidArgument, match="view is one of windows, whole; got"):
        plan(10, 10, "slide")
    with pytest.raises(InvalidArgument, match="more than the limit of 64; make short smaller"):
        plan(100, 100, short=2048)
