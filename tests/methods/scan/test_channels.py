"""The fast search over maps of every number of channels that a gallery may hold."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluice.methods import matching
from sluice.methods.scan import codes, engine
from tests.made.scan_data import (
    KINDS,
    block,
    equal_frames,
    gallery,
    plain,
    positive_frames,
    same,
    some_templates,
)

CHANNELS = [16, 48, 64, 80, 384, 768, 1024]
channels_ = st.sampled_from(CHANNELS)
seeds = st.integers(0, 2**32 - 1)
kinds, forms = st.sampled_from(KINDS), st.sampled_from(matching.FORMS)


@settings(max_examples=20, deadline=None)
@given(seeds, kinds, forms, st.sampled_from(matching.COMBINATIONS), channels_)
@example(1, equal_frames, "mean", "mean", 1024)
@example(2, positive_frames, "roi", "query", 80)
def test_the_list_is_that_of_brute_force(seed, kind, form, combine, channels):
    rng = np.random.default_rng(seed)
    blocks, templates = (make(rng, kind, channels=channels) for make in (gallery, some_templates))
    options = dict(k=9, form=form, combine=combine, threads=2)
    found = engine.search(blocks, None, templates, **options)
    same(found, engine.brute_force(blocks, None, templates, **options))
    places, scores, by_region = plain(blocks, None, templates, form, combine)
    for query in np.unique(found.query):
        own = found.query == query
        column = scores[:, max(query, 0)]
        at = [places.index((int(b), int(r))) for b, r in zip(found.block[own], found.row[own], strict=True)]
        np.testing.assert_allclose(found.scores[own], column[at], atol=2e-6)
        np.testing.assert_allclose(found.scores[own], np.sort(column)[::-1][: len(at)], atol=2e-6)
        np.testing.assert_allclose(found.roi_scores[own], by_region[at], atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(seeds, kinds, forms, channels_)
def test_no_score_from_codes_is_further_off_than_its_bound(seed, kind, form, channels):
    rng = np.random.default_rng(seed)
    blocks, templates = (make(rng, kind, channels=channels) for make in (gallery, some_templates))
    scores, slack = engine.scan(engine.Scope(blocks, None), templates, form, threads=1)
    rows = templates.rows.astype(np.float64).T
    cosines = [
        (features.astype(np.float64) @ rows)[valid]
        for own in blocks
        for features, valid in zip(own.exact, own.valid, strict=True)
    ]
    best = [np.maximum.reduceat(one, templates.starts, axis=1).mean(axis=0) for one in cosines]
    truth = matching.form_scores(np.stack([one.max(axis=0) for one in cosines]), np.stack(best), templates, form)
    assert (np.abs(scores - truth) <= slack).all() and (slack <= 0.2).all()


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_greatest_products_do_not_overflow(channels):
    """Cells and templates of equal numbers have codes of 127 in every channel, and cosines of 1, -1 and 0."""
    flat = np.full(channels, channels**-0.5)
    half = np.repeat([1, -1], channels // 2) * flat
    cells = np.stack([np.stack([sign * flat] * 3) for sign in (1, -1)] + [np.stack([half] * 3)]).astype(np.float16)
    coded = block(cells)
    assert set(np.unique(coded.codes)) <= {codes.ZERO - codes.LIMIT, codes.ZERO + codes.LIMIT}
    templates = matching.stack([matching.unit(flat[None])])
    scores, slack = engine.scan(engine.Scope([coded], None), templates, "roi", threads=1)
    assert (np.abs(scores[:, 0] - [1, -1, 0]) <= slack[:, 0] + 2**-11).all() and slack.max() < 0.01
    found = engine.search([coded], None, templates, k=3)
    assert found.row.tolist() == [0, 2, 1]
    np.testing.assert_allclose(found.scores, [1, 0, -1], atol=1e-3)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_cell_that_was_scaled_and_rounded_is_within_the_longest_length(channels):
    """Also where many components are too small for float16's full precision, which then rounds by fixed steps."""
    rng = np.random.default_rng(channels)
    vectors = rng.standard_normal((2000, channels)) * 10.0 ** rng.uniform(-7, 0, (2000, channels))
    lengths = np.linalg.norm(matching.unit(vectors).astype(np.float16).astype(np.float64), axis=1)
    assert lengths.max() < codes.LONGEST


@pytest.mark.parametrize("shared", [False, True])
def test_templates_of_more_rows_than_are_coded_at_a_time_are_coded_alike(monkeypatch, shared):
    templates = some_templates(np.random.default_rng(3), positive_frames, sizes=(50, 1, 77), channels=1024)
    whole = codes.TemplateCodes.of(templates, shared)
    monkeypatch.setattr(codes, "ROWS", 16)
    parts = codes.TemplateCodes.of(templates, shared)
    for field in ("codes", "scale", "length", "error"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(parts, field), err_msg=field)
