"""Bilinear upsampling against torch's own, and the strongest of several maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sluice.methods.grouping.upsampling import Upsampling, bands, reach, strongest, taps, upsample

sides = st.integers(1, 70)


def by_torch(maps, size):
    return functional.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear", align_corners=False)[0].numpy()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), sides, sides, st.integers(1, 300), st.integers(1, 300))
def test_as_torch_interpolates(seed, h, w, height, width):
    maps = np.random.default_rng(seed).random((3, h, w), np.float32)
    found = upsample(maps, (height, width))
    assert found.dtype == np.float32 and np.abs(found - by_torch(maps, (height, width))).max() <= 1e-6


@pytest.mark.parametrize(
    ("small", "large"),
    [((28, 28), (448, 448)), ((448, 796), (1080, 1920)), ((448, 2048), (1500, 6000)), ((448, 597), (99, 7))],
)
def test_as_torch_interpolates_at_real_sizes(small, large):
    maps = np.random.default_rng(0).random((2, *small), np.float32)
    assert np.abs(upsample(maps, large) - by_torch(maps, large)).max() <= 1e-6


def test_the_same_size_is_the_same():
    maps = np.random.default_rng(0).random((2, 5, 7), np.float32)
    assert (upsample(maps, (5, 7)) == maps).all()


@given(st.integers(1, 500), st.integers(1, 500))
def test_taps_stay_inside(source, result):
    low, high, weight = taps(source, result)
    assert len(low) == result and low.min() >= 0 and high.max() < source
    assert (high - low <= 1).all() and weight.min() >= 0 and weight.max() <= 1


def test_bands_are_the_whole():
    maps = np.random.default_rng(0).random((2, 9, 11), np.float32)
    one = Upsampling(maps, (150, 30))
    parts = [one.rows(start, stop) for start, stop in bands(150)]
    assert len(parts) == 3 and (np.concatenate(parts, axis=1) == upsample(maps, (150, 30))).all()


@settings(max_examples=100, deadline=None)
@given(st.data(), sides, sides, st.integers(1, 300), st.integers(1, 300))
def test_a_box_of_the_source_reaches_its_places_alone(data, h, w, height, width):
    first = data.draw(st.integers(0, w - 1))
    last = data.draw(st.integers(first, w - 1))
    columns = reach(first, last, w, width)
    maps = np.random.default_rng(0).random((h, w), np.float32) + 1
    part = Upsampling(maps, (height, width), columns).rows(0, height)
    assert (part == upsample(maps, (height, width))[:, columns]).all()
    low, high, _ = taps(w, width)
    assert np.flatnonzero((low <= last) & (high >= first)).tolist() == list(range(columns.start, columns.stop))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), sides, sides)
def test_the_strongest_is_the_argmax(seed, groups, h, w):
    maps = np.random.default_rng(seed).random((groups, h, w), np.float32)
    size = (2 * h + 3, 3 * w + 1)
    assert (strongest(maps, size) == upsample(maps, size).argmax(axis=0)).all()


def test_ties_go_to_the_first():
    assert (strongest(np.ones((4, 2, 2)), (5, 5)) == 0).all()
