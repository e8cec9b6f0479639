"""Regions of a query: shares, slivers and boxes beside the picture are refused, doubtful ones are noted."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice import images
from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods import matching
from sluice.methods.matching import regions

GEOMETRY, GRID = Geometry(640, 480, 1.25, 1.25, 0, 20), (80, 100)  # on a canvas of 800 x 640; a cell is 6.4 pixels


@pytest.mark.parametrize("roi", [(0.1, 0.2, 0.3, 0.4), (0, 0, 1, 1), (0.5, 0, 1, 0.001), (-1, -1, 1, 1)])
def test_shares_of_the_picture_are_refused_with_the_remedy(roi):
    with pytest.raises(InvalidArgument, match=r"shares of the picture.*multiply x by 640 and y by 480.*10%,20%"):
        regions.checked(roi, GEOMETRY, GRID)


@pytest.mark.parametrize("roi", [(10, 10, 11.9, 60), (10, 10, 60, 11), (638.5, 10, 900, 60), (10, -90, 60, 1.5)])
def test_less_than_two_pixels_of_the_picture_are_refused(roi):
    with pytest.raises(InvalidArgument, match="needs 2 x 2 at least"):
        regions.checked(roi, GEOMETRY, GRID)


@pytest.mark.parametrize(
    ("roi", "note"),
    [
        ((-10, 10, 60, 60), r"was clipped to \[0, 10, 60, 60\]"),
        ((600, 400, 700, 500), r"was clipped to \[600, 400, 640, 480\]"),
        ((10, 10, 14, 60), r"smaller than one cell .* 6\.4 x 6\.4 pixels"),
    ],
)
def test_doubtful_regions_are_noted(roi, note):
    (said,) = regions.checked(roi, GEOMETRY, GRID)
    assert re.search(note, said)


@given(st.integers(64, 2000), st.integers(64, 2000), st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.3, 0.4))
def test_a_region_inside_the_picture_of_a_cell_or_more_is_answered_without_a_word(width, height, x, y, side):
    canvas, geometry = images.place(width, height, images.Config().sizes)
    grid = canvas[1] // 8, canvas[0] // 8
    roi = np.array([x * width, y * height, (x + side) * width, (y + side) * height])
    assert (
        regions.checked(roi, geometry, grid) == []
        or side * min(width * geometry.scale_x, height * geometry.scale_y) < 8
    )
    assert matching.roi_cells(roi, geometry, grid)
