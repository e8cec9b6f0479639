"""The fast search against brute force, and its bound against the truth, on data that is kind and data that is not."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluice.errors import Cancelled, InvalidArgument
from sluice.methods import matching
from sluice.methods.scan import engine as scan
from sluice.methods.scan import products, rescore
from sluice.methods.scan.certify import certify
from sluice.methods.scan.codes import LONGEST, ZERO, TemplateCodes, quantise
from sluice.methods.scan.products import Product, template_limit
from tests.made.scan_data import (
    CHANNELS,
    KINDS,
    block,
    clustered_frames,
    equal_frames,
    gallery,
    plain,
    random_frames,
    same,
    some_templates,
)

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.sampled_from(KINDS),
    st.sampled_from(matching.FORMS),
    st.sampled_from(matching.COMBINATIONS),
    st.integers(1, 70),
    st.sampled_from([None, "reached", "beyond"]),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
)
@example(1, equal_frames, "mean", "mean", 29, "reached", None, False)
def test_the_search_finds_what_brute_force_finds(seed, kind, form, combine, k, threshold, limit, filtered):
    rng = np.random.default_rng(seed)
    blocks, templates = gallery(rng, kind), some_templates(rng, kind)
    rows = [rng.choice(23, 9, replace=False), None, np.arange(3, 40)] if filtered else None
    rank = [rng.permutation(64)[: len(own.codes)] + 100 * b for b, own in enumerate(blocks)]
    groups = [rng.integers(0, 5, len(own.codes)) for own in blocks]
    places, scores, by_region = plain(blocks, rows, templates, form, combine)
    level = {None: None, "reached": float(np.median(scores)), "beyond": float(scores.max()) + 0.1}[threshold]
    while level is not None and (np.abs(scores - level) < 4e-6).any():
        level -= 1e-5  # not on a score, whose last bits depend on the way of summing
    options = dict(k=k, threshold=level, form=form, combine=combine, groups=groups, limit=limit, rank=rank, threads=2)
    found = scan.search(blocks, rows, templates, **options)
    same(found, scan.brute_force(blocks, rows, templates, **options))
    assert found.searched == len(places) and found.rescored <= len(places)
    # And brute force is right: the lists hold the best by the plain definition, but for the last bits of float32.
    for query in np.unique(found.query):
        own = found.query == query
        column = scores[:, max(query, 0)]
        at = [places.index((int(b), int(r))) for b, r in zip(found.block[own], found.row[own], strict=True)]
        assert len(set(at)) == len(at) <= k
        np.testing.assert_allclose(found.scores[own], column[at], atol=2e-6)
        np.testing.assert_allclose(found.roi_scores[own], by_region[at], atol=2e-6)
        drive = np.array([groups[b][r] for b, r in places])
        expected = long_hand_list(column, k, level, drive, limit)
        np.testing.assert_allclose(found.scores[own], expected, atol=2e-6)


def long_hand_list(scores, k, threshold, group, limit):
    taken, counts = [], {}
    for i in np.argsort(-scores, kind="stable"):
        if len(taken) == k or (threshold is not None and scores[i] < threshold):
            break
        counts[group[i]] = counts.get(group[i], 0) + 1
        if limit is None or counts[group[i]] <= limit:
            taken.append(scores[i])
    return np.array(taken)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(KINDS), st.sampled_from(matching.FORMS), st.sampled_from([1, 3, 24, 70]))
def test_no_score_from_codes_is_further_off_than_its_bound(seed, kind, form, channels):
    rng = np.random.default_rng(seed)
    blocks = gallery(rng, kind, channels=channels)
    templates = some_templates(rng, kind, channels=channels)
    scores, slack = scan.scan(scan.Scope(blocks, None), templates, form, threads=1)
    truth = []
    for own in blocks:
        for features, valid in zip(own.exact, own.valid, strict=True):
            cosines = features.astype(np.float64) @ templates.rows.astype(np.float64).T
            cosines = cosines[valid]
            best = np.maximum.reduceat(cosines, templates.starts, axis=1).mean(axis=0)
            truth.append(matching.form_scores(cosines.max(axis=0), best, templates, form))
    assert (np.abs(scores - np.array(truth)) <= slack).all()
    assert (slack <= 0.2).all(), "a bound that says nothing would pass every other test"


@settings(max_examples=50, deadline=None)
@given(seeds, st.sampled_from(KINDS))
def test_codes_are_as_near_as_their_error_says(seed, kind):
    features = kind(np.random.default_rng(seed), 5, 7, CHANNELS)
    codes = quantise(features)
    assert codes.codes.dtype == np.uint8 and codes.codes.min() >= ZERO - 127
    near = (codes.codes.astype(np.float64) - ZERO) * codes.scale.astype(np.float64)[:, None, None]
    distance = np.linalg.norm(features.astype(np.float64) - near, axis=2).max(axis=1)
    assert (distance <= codes.error).all()
    # Rounding to the nearest of 255 steps: half a step in every channel at the worst.
    assert (codes.error <= codes.scale * np.sqrt(CHANNELS) / 2 + 1e-6).all()


def test_features_that_are_not_unit_or_not_finite_are_refused():
    with pytest.raises(ValueError, match="normalise"):
        quantise(np.ones((1, 2, 4), np.float16))
    with pytest.raises(ValueError, match="finite"):
        quantise(np.full((1, 2, 4), np.nan, np.float16))
    with pytest.raises(ValueError, match=r"\[n, P, C\]"):
        quantise(np.ones((2, 4), np.float16))
    assert quantise(np.zeros((1, 2, 4), np.float16)).error[0] < 1e-30


def test_rounding_to_half_precision_stays_within_the_longest_cell():
    rng = np.random.default_rng(0)
    for channels in (1, 2, 64, 512):
        lengths = np.linalg.norm(random_frames(rng, 50, 20, channels).astype(np.float64), axis=2)
        assert lengths.max() <= LONGEST


def test_the_integer_product_is_exact_at_its_extremes():
    limit = template_limit()
    codes = np.where(np.arange(2 * 3 * 512).reshape(2, 3, 512) % 2, 255, 1).astype(np.uint8)
    columns = np.where(np.arange(512 * 5).reshape(512, 5) % 3, limit, -limit).astype(np.int8)
    rows, cells = np.empty((2, 5), np.int32), np.empty((2, 3), np.int32)
    Product(columns, exact=False)(codes, rows, cells)
    expected = (codes.astype(np.int64) - ZERO) @ columns.astype(np.int64)
    np.testing.assert_array_equal(rows, expected.max(axis=1))
    np.testing.assert_array_equal(cells, expected.max(axis=2))


@pytest.mark.parametrize("columns", [1, 32, 33, 100, 700, 1300])
@pytest.mark.parametrize("cells", [1, 7, 300, 4800])
def test_maxima_are_right_for_every_shape_of_product(monkeypatch, cells, columns):
    monkeypatch.setattr(products, "COSINES", 40_000)
    rng = np.random.default_rng(cells + columns)
    left = rng.integers(0, 256, (2, cells, 8), np.uint8)
    right = rng.integers(-63, 64, (8, columns), np.int8)
    rows = np.empty((2, columns), np.int32)
    Product(right, exact=False)(left, rows)
    expected = ((left.astype(np.float64) - ZERO) @ right.astype(np.float64)).max(axis=1)
    np.testing.assert_array_equal(rows, expected)


def test_coarser_template_codes_for_cpus_that_saturate_stay_within_their_bound():
    rng = np.random.default_rng(1)
    templates = some_templates(rng, random_frames)
    coarse, fine = (TemplateCodes.of(templates, limit=limit) for limit in (63, 127))
    assert np.abs(coarse.codes.astype(int)).max() == 63
    assert (coarse.error > fine.error).all()


def test_equal_frames_come_in_the_order_of_their_rank():
    rng = np.random.default_rng(2)
    features = np.repeat(random_frames(rng, 1, 6), 30, axis=0)
    rank = rng.permutation(30)
    found = scan.search([block(features)], None, matching.stack([matching.unit(features[0, :2])]), k=7, rank=[rank])
    assert rank[found.row].tolist() == list(range(7))
    assert np.unique(found.scores).size == 1


def test_a_score_depends_neither_on_neighbours_nor_threads_nor_other_queries():
    rng = np.random.default_rng(3)
    features = clustered_frames(rng, 50, 30)
    templates = some_templates(rng, clustered_frames)
    whole = scan.search([block(features)], None, templates, k=50, combine="query", threads=2)
    for query in (0, 1):
        own = templates.query == query
        alone = matching.stack(
            [templates.rows[templates.roi == r] for r in np.flatnonzero(own)], cells=templates.cells[own]
        )
        single = scan.search([block(features)], [np.arange(10, 40)], alone, k=50, combine="query", threads=1)
        lookup = dict(zip(whole.row[whole.query == query], whole.scores[whole.query == query], strict=True))
        assert [lookup[row] for row in single.row] == single.scores.tolist()


def test_templates_larger_than_one_product_are_cut_and_give_the_same():
    rng = np.random.default_rng(4)
    blocks = gallery(rng, clustered_frames)
    templates = some_templates(rng, clustered_frames, sizes=(scan.COLUMNS + 88, 40, 3))
    options = dict(k=9, combine="query")
    same(scan.search(blocks, None, templates, **options), scan.brute_force(blocks, None, templates, **options))


@pytest.mark.parametrize("form", matching.FORMS)
def test_exact_scores_of_many_rows_are_made_part_by_part(monkeypatch, form):
    """Score regions of 5, 1 and 7 rows by products of 3: parts within a region, and a region of one part."""
    rng = np.random.default_rng(4)
    blocks, templates = gallery(rng, random_frames), some_templates(rng, random_frames)
    whole = scan.search(blocks, None, templates, k=70, form=form)
    monkeypatch.setattr(rescore, "COLUMNS", 3)
    monkeypatch.setattr(scan, "MAXIMA", 1)  # and a thread takes a frame at a time
    parts = scan.search(blocks, None, templates, k=70, form=form)
    np.testing.assert_array_equal(parts.row, whole.row)
    np.testing.assert_allclose(parts.roi_scores, whole.roi_scores, atol=1e-6)
    _, _, scores = plain(blocks, None, templates, form, "max")
    np.testing.assert_allclose(np.sort(parts.roi_scores, axis=0), np.sort(scores, axis=0), atol=1e-6)


@pytest.mark.parametrize("after", [0, 2])
def test_a_search_that_is_given_up_ends_whichever_thread_notices(after):
    rng, asked = np.random.default_rng(4), []

    def check():
        asked.append(1)
        if len(asked) > after:
            raise Cancelled("the request was cancelled")

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched, pytest.raises(Cancelled):
        patched.setattr(scan, "Watch", lambda check: check)  # asks each time
        scan.search(gallery(rng, random_frames), None, some_templates(rng, random_frames), k=3, check=check)
    assert after < len(asked) < after + 4  # each of the two threads, at most once more


def test_on_structured_data_few_frames_are_scored_twice():
    rng = np.random.default_rng(5)
    features = clustered_frames(rng, 1500, 40, 64)
    templates = matching.stack([matching.unit(features[7, :12])])
    found = scan.search([block(features)], None, templates, k=10)
    assert found.row[0] == 7 and found.scores[0] == pytest.approx(1, abs=1e-3)
    assert found.rescored < 0.05 * 1500


def test_filters_that_nobody_matches_give_an_empty_list():
    rng = np.random.default_rng(6)
    blocks, templates = gallery(rng, random_frames), some_templates(rng, random_frames)
    for combine in matching.COMBINATIONS:
        found = scan.search(blocks, [np.empty(0, int)] * 3, templates, k=5, combine=combine)
        assert len(found.scores) == len(found.row) == 0 and found.roi_scores.shape == (0, 3)
        assert found.searched == found.rescored == 0
        assert len(scan.search([], None, templates, k=5, combine=combine).scores) == 0


def test_requests_that_mean_nothing_are_refused():
    rng = np.random.default_rng(7)
    blocks, templates = gallery(rng, random_frames), some_templates(rng, random_frames)
    with pytest.raises(InvalidArgument, match="k and the limit"):
        scan.search(blocks, None, templates, k=0)
    with pytest.raises(InvalidArgument, match="score is one of"):
        scan.search(blocks, None, templates, k=1, form="best")
    with pytest.raises(InvalidArgument, match="combine is one of"):
        scan.search(blocks, None, templates, k=1, combine="best")
    with pytest.raises(ValueError, match="same version"):
        scan.search(blocks, None, some_templates(rng, random_frames, channels=7), k=1)


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(1, 60), st.floats(0, 0.5), st.integers(1, 8), st.sampled_from([None, 1, 2, 5]))
def test_certify_is_right_for_any_bounds_that_hold(seed, n, width, k, limit):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 12, n).astype(np.float32) / 8  # with many ties
    lower = (truth - width * rng.random(n)).astype(np.float32) - np.float32(1e-6)
    upper = (truth + width * rng.random(n)).astype(np.float32) + np.float32(1e-6)
    rank, group = rng.permutation(n), rng.integers(0, 4, n)
    asked = []

    def exact(positions):
        asked.extend(positions.tolist())
        return truth[positions]

    positions, scores = certify(lower, upper, exact, k, 0.25, rank, group, limit)
    counts, expected = {}, []
    for i in np.lexsort((rank, -truth)):
        counts[group[i]] = counts.get(group[i], 0) + 1
        if truth[i] >= 0.25 and (limit is None or counts[group[i]] <= limit):
            expected.append(i)
    assert positions.tolist() == expected[:k]
    np.testing.assert_array_equal(scores, truth[positions])
    assert len(set(asked)) == len(asked)


def test_a_failure_in_a_thread_reaches_the_caller():
    rng = np.random.default_rng(8)
    broken = block(random_frames(rng, 100, 300))
    object.__setattr__(broken, "scale", broken.scale[:40])  # a shape that the checks of these tests refuse when made
    with pytest.raises(ValueError, match="broadcast"):
        scan.search([broken], None, some_templates(rng, random_frames), k=3, threads=2)
