"""Equal inputs have equal answers where equality of numbers decides: at any place, in any company, by any kernel.

A matrix product does not keep that: BLAS sums rows and columns at the ends of its blocks in another order than those
in the middle. `make test-kernels` runs these under several kernels; each test here failed, or could have, under one.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.gallery import scores
from sluice.images import Geometry
from sluice.methods import grouping, matching, mixtures
from sluice.methods.grouping.masks import Grouped, Options, plan_of, segment
from sluice.methods.grouping.rules import cosines
from sluice.methods.mixtures import objects
from sluice.methods.scan import engine as scan
from sluice.methods.scan.codes import quantise
from sluice.methods.selection.choice import k_centre
from tests.made.planted_heads import random_heads

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def moved(array, offset):
    """Return the same numbers elsewhere in memory: `offset` elements behind a multiple of 64 bytes."""
    raw = np.empty(array.nbytes + 64 + offset * array.itemsize, np.uint8)
    start = -raw.ctypes.data % 64 + offset * array.itemsize
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(1, 300), st.integers(0, 15), seeds)
def test_a_cosine_depends_on_its_two_vectors_alone(rows, classes, channels, offset, seed):
    rng = np.random.default_rng(seed)
    vectors, named = unit(rng, rows, channels), unit(rng, classes, channels)
    whole = cosines(moved(vectors, offset), named)
    i, k = rng.integers(rows), rng.integers(classes)
    assert whole[i, k] == cosines(vectors[i].copy(), named[k : k + 1].copy())[0]
    shuffled, order = rng.permutation(rows), rng.permutation(classes)
    np.testing.assert_array_equal(cosines(vectors[shuffled], named[order]), whole[shuffled][:, order])


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["official", "plain", "guided"]), st.integers(1, 24), st.integers(2, 70), seeds)
def test_of_equal_classes_the_first_is_painted(rule, kinds, channels, seed):
    rng = np.random.default_rng(seed)
    options = Options(rule=rule, short=32, window=32, stride=16)
    plan = plan_of(32, 40, options)
    kind = rng.integers(0, kinds, 2 * kinds + 1)  # most kinds stand in the list twice or more
    first = np.unique(kind, return_index=True)[1]
    windows = len(plan.corners)
    shares = rng.random((windows, 8, 4, 4), np.float32)
    grouped = Grouped(
        unit(rng, windows, 8, channels),
        unit(rng, windows, channels),
        shares / shares.sum(1)[:, None],
        rng.integers(0, 256, (windows, 32, 32, 3), np.uint8),
    )
    found = segment(grouped, unit(rng, kinds, channels)[kind], 14.3, plan, options)
    assert set(np.unique(found.labels)) <= {0, *(first + 1)}
    assert set(np.unique(found.group_labels)) <= {0, *(first + 1)}
    alike = [int(np.flatnonzero(kind == one)[0]) for one in kind]
    for part in (found.presence, found.similarity):
        np.testing.assert_array_equal(part, part[alike])


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(1, 300), seeds)
def test_equal_pictures_agree_equally_with_a_text_in_any_request(pictures, texts, channels, seed):
    rng = np.random.default_rng(seed)
    images, words = unit(rng, pictures, channels), unit(rng, texts, channels)
    images[-1] = images[0]
    found = grouping.similarity(images, words)
    np.testing.assert_array_equal(found[0], found[-1])
    np.testing.assert_array_equal(grouping.similarity(images[:1], words[:1])[0, 0], found[0, 0])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6), st.integers(1, 160), seeds)
def test_of_equal_windows_the_first_is_found(height, width, down, across, channels, seed):
    """Place the object many times, cell by cell the same, so that only its place tells the windows apart."""
    rng = np.random.default_rng(seed)
    thing = unit(rng, height, width, channels)
    # Frames of any size, also of those that no block of a product divides; between two of them a line of nothing.
    frame = np.zeros(
        (down * (height + 1) + rng.integers(4), across * (width + 1) + rng.integers(4), channels), np.float32
    )
    for y in range(down):
        for x in range(across):
            frame[y * (height + 1) :, x * (width + 1) :][:height, :width] = thing
    asked = matching.stack([thing.reshape(-1, channels)], shape=[(height, width)])
    assert matching.best_windows(frame, asked).tolist() == [[0, height, 0, width]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 90), st.integers(0, 15), seeds)
def test_equal_frames_match_equally_wherever_they_lie(side, rows, channels, offset, seed):
    rng = np.random.default_rng(seed)
    frame = unit(rng, side, side, channels)
    asked = matching.stack([unit(rng, rows, channels)])
    for form in ("roi", "image", "mean"):
        assert matching.scores(moved(frame, offset), asked, form) == matching.scores(frame.copy(), asked, form)
    assert scores.descriptor(moved(frame, offset)).tolist() == scores.descriptor(frame.copy()).tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(1, 90), st.integers(1, 3), seeds)
def test_equal_frames_of_a_gallery_come_in_the_order_of_their_rank(frames, cells, channels, threads, seed):
    rng = np.random.default_rng(seed)
    kinds = unit(rng, 3, cells, channels).astype(np.float16)
    kind, rank = rng.integers(0, 3, frames), rng.permutation(frames)
    stored = kinds[kind]
    codes = quantise(stored)
    block = scan.Block(codes.codes, codes.scale, codes.error, stored, None)
    asked = matching.stack([unit(rng, 5, channels), unit(rng, 2, channels)], query=[0, 1])
    for combine in ("max", "query"):
        found = scan.search([block], None, asked, k=frames, combine=combine, rank=[rank], threads=threads)
        for query in np.unique(found.query):
            row, value = found.row[found.query == query], found.scores[found.query == query]
            assert len(np.unique(value)) <= 3
            for one in np.unique(value):
                assert (np.diff(rank[row[value == one]]) > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 700), seeds)
def test_of_vectors_that_are_equally_far_k_centre_takes_the_most_wanted(count, channels, seed):
    """Repeat each kind of vector in the list: the first of each kind are picked, then the rest in order.

    A list without the copies gives the same picks at the same distances.
    """
    rng = np.random.default_rng(seed)
    kinds = unit(rng, count, channels)
    kind = np.r_[np.arange(count), rng.integers(0, count, count)]
    chosen, apart = k_centre(kinds[kind], 2 * count)
    alone, distance = k_centre(kinds, count)
    distinct = len(np.unique(kinds, axis=0))
    np.testing.assert_array_equal(chosen[:distinct], alone[:distinct])
    np.testing.assert_array_equal(apart[:distinct], distance[:distinct])
    assert (np.diff(chosen[distinct:]) > 0).all() and (apart[distinct:] == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(1, 9), st.integers(2, 30), seeds)
def test_equal_priors_have_equal_scores_and_offsets_and_the_first_comes_first(priors, components, classes, seed):
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 3, (1, components, classes)).astype(np.float32).repeat(priors, 0)
    weight = rng.normal(0, 1, (1, components)).astype(np.float32).repeat(priors, 0)
    confidence = objects._confidence(mean, weight)
    assert (confidence == confidence[:, :1]).all()
    offsets = objects._offsets(mean[..., :1].repeat(4, 2), weight[..., None].repeat(4, 2))
    assert (offsets == offsets[:1]).all()
    assert objects._best(confidence[1], 0.0, np.float32(0), 5).tolist() == list(range(min(priors, 5)))


def test_an_image_is_detected_alike_at_every_place_of_a_batch():
    heads = random_heads(4, n=300)
    geometry = Geometry(300, 300, 1, 1, 0, 0)
    many = mixtures.Heads(
        **{
            name: None if value is None else np.concatenate([value] * 5)
            for name, value in ((field, getattr(heads, field)) for field in heads.__dataclass_fields__)
        }
    )
    found = mixtures.detections(many, [geometry] * 5, mixtures.Options(min_score=0.05))
    assert len(found[0]) and all(one.as_array().tobytes() == found[0].as_array().tobytes() for one in found)
