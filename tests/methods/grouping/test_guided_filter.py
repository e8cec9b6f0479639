"""Tests the guided filter against a fit in long hand, and what must be true of it."""

import numpy as np
import pytest
from PIL import Image

from sluice.methods.grouping.guided_filter import DEVIATION, FINE, GuidedFilter, around, inverses
from sluice.methods.grouping.upsampling import upsample


def noise(rng, *shape):
    return rng.integers(0, 256, (*shape, 3), np.uint8)


def fit(colours, values):
    """Return slopes [3] and offset of the ridge regression of values [n] on colours [n, 3] (equations 11 to 15)."""
    count = len(values)
    rows = np.concatenate([colours - colours.mean(axis=0), DEVIATION * np.sqrt(count) * np.eye(3)])
    slopes = np.linalg.lstsq(rows, np.concatenate([values - values.mean(), np.zeros(3)]), rcond=None)[0]
    return slopes, values.mean() - slopes @ colours.mean(axis=0)


def long_hand(window, values):
    """Filter one map by a fit for each neighbourhood: uint8 [H, W, 3], [h, w] -> [h * FINE, w * FINE]."""
    height, width = values.shape
    cells = np.asarray(Image.fromarray(window).resize((width * FINE, height * FINE), Image.Resampling.BOX)) / 255
    patches = cells.reshape(height, FINE, width, FINE, 3).mean(axis=(1, 3))
    colours, wide = np.pad(patches, ((1, 1), (1, 1), (0, 0)), "edge"), np.pad(values, 1, "edge")
    fitted = np.empty((4, height, width))
    for y in range(height):
        for x in range(width):
            near = slice(y, y + 3), slice(x, x + 3)
            fitted[:3, y, x], fitted[3, y, x] = fit(colours[near].reshape(9, 3), wide[near].ravel())
    padded = np.pad(fitted, ((0, 0), (1, 1), (1, 1)), "edge")
    means = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    fine = upsample(np.mean(means, axis=0), cells.shape[:2])
    return (fine[:3] * np.moveaxis(cells, -1, 0)).sum(axis=0) + fine[3]


@pytest.mark.parametrize(("patch", "height", "width"), [(16, 5, 7), (16, 1, 4), (8, 3, 1), (6, 4, 4)])
def test_each_neighbourhood_is_fitted_by_its_colours(patch, height, width):
    rng = np.random.default_rng(height)
    windows = noise(rng, 2, height * patch, width * patch)
    maps = rng.random((2, height, width), np.float32)
    found = GuidedFilter(windows, (height, width)).apply(maps)
    assert found.shape == (2, height * FINE, width * FINE) and found.dtype == np.float32
    for window, values, one in zip(windows, maps, found, strict=True):
        np.testing.assert_allclose(one, long_hand(window, values), atol=1e-4)


def test_maps_that_sum_to_one_still_do_and_an_even_map_stays():
    rng = np.random.default_rng(0)
    filtering = GuidedFilter(noise(rng, 1, 64, 96), (4, 6))
    shares = rng.dirichlet(np.ones(5), (1, 4, 6)).astype(np.float32)
    total = sum(filtering.apply(shares[..., k]) for k in range(5))
    np.testing.assert_allclose(total, 1, atol=1e-5)
    np.testing.assert_allclose(filtering.apply(np.full((1, 4, 6), 0.3, np.float32)), 0.3, atol=1e-5)


def test_a_map_follows_the_border_of_two_surfaces_within_a_patch():
    window = np.zeros((1, 96, 96, 3), np.uint8)
    window[:, :, 40:] = 200  # the third patch, columns 32 to 47, shows both surfaces
    maps = np.zeros((1, 6, 6), np.float32)
    maps[:, :, 2:] = 1
    maps[:, :, 2] = 0.5
    found = GuidedFilter(window, (6, 6)).apply(maps)[0]
    assert found[:, :10].max() < 0.2 and found[:, 10:].min() > 0.8  # cells of 4 pixels: the border is at the tenth
    in_the_dark = GuidedFilter(np.zeros_like(window), (6, 6)).apply(maps)[0]
    assert in_the_dark[0, 9] == pytest.approx(in_the_dark[0, 10], abs=0.1)


def test_one_odd_patch_of_an_even_surface_is_smoothed_away():
    maps = np.zeros((1, 7, 7), np.float32)
    maps[0, 3, 3] = 1
    even = GuidedFilter(np.full((1, 112, 112, 3), 90, np.uint8), (7, 7)).apply(maps)[0]
    assert even.max() < 1 / 8
    window = np.full((1, 112, 112, 3), 90, np.uint8)
    window[0, 48:64, 48:64] = (200, 30, 30)
    own = GuidedFilter(window, (7, 7)).apply(maps)[0]
    assert own[12:16, 12:16].min() > 0.5  # a patch of a colour of its own keeps its value


def test_a_window_does_not_depend_on_the_others():
    rng = np.random.default_rng(1)
    windows, maps = noise(rng, 3, 48, 64), rng.random((3, 3, 4), np.float32)
    together = GuidedFilter(windows, (3, 4)).apply(maps)
    for i in range(3):
        alone = GuidedFilter(windows[i : i + 1], (3, 4)).apply(maps[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


def test_means_and_inverses():
    rng = np.random.default_rng(2)
    maps = rng.random((2, 4, 5))
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), "edge")
    expected = np.mean([padded[:, y : y + 4, x : x + 5] for y in range(3) for x in range(3)], axis=0)
    np.testing.assert_allclose(around(maps), expected, rtol=1e-6)
    rows = rng.normal(size=(2, 3, 3))
    matrices = np.moveaxis(rows @ rows.transpose(0, 2, 1) + 0.1 * np.eye(3), 0, -1)
    np.testing.assert_allclose(np.einsum("ijn,jkn->nik", matrices, inverses(matrices)), [np.eye(3)] * 2, atol=1e-9)
