"""The maths of template matching against a long-hand reference and against what must be true of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.images import Geometry, place, valid_cells
from sluice.methods import matching
from sluice.methods.matching import places, scoring

STRIDE = 8
SIZES = [(640, 480), (736, 416), (544, 544), (480, 640), (416, 736)]


def long_hand(features, template):
    """Loop over the frame's cells, the template's cells and the channels, with no NumPy in the arithmetic.

    Returns (mean over template cells of the best cosine, mean over frame cells of the best cosine), as the patent
    writes Mean(M_Q') and Mean(M_S), without the cells outside the region.
    """
    height, width, channels = features.shape
    best_of_row = [-math.inf] * len(template)
    best_of_cell = []
    for y in range(height):
        for x in range(width):
            best = -math.inf
            for t in range(len(template)):
                dot = length_cell = length_row = 0.0
                for c in range(channels):
                    dot += float(features[y, x, c]) * float(template[t, c])
                    length_cell += float(features[y, x, c]) ** 2
                    length_row += float(template[t, c]) ** 2
                cosine = dot / math.sqrt(length_cell * length_row) if length_cell * length_row else 0.0
                best = max(best, cosine)
                best_of_row[t] = max(best_of_row[t], cosine)
            best_of_cell.append(best)
    return sum(best_of_row) / len(template), sum(best_of_cell) / len(best_of_cell)


def frames(seed, h=3, w=4, channels=5):
    return matching.unit(np.random.default_rng(seed).standard_normal((h, w, channels)))


seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 5)


@settings(max_examples=40, deadline=None)
@given(seeds, sides, sides, st.integers(1, 7), st.integers(1, 6))
def test_the_three_forms_and_the_literal_one_are_what_five_nested_loops_give(seed, h, w, channels, rows):
    features, rows = frames(seed, h, w, channels), frames(seed + 1, 1, rows, channels)[0]
    templates = matching.stack([rows], cells=[12])
    roi, image = long_hand(features, rows)
    expected = {"roi": roi, "image": image, "mean": (roi + image) / 2, "area": roi / 12}
    for form, value in expected.items():
        assert matching.scores(features, templates, form) == pytest.approx(value, abs=1e-6), form


def test_the_literal_area_form_is_the_sum_of_the_regions_means_over_the_map():
    query, frame = frames(0, 4, 6), frames(1, 4, 6)
    regions = [matching.template(query, cells) for cells in ((0, 2, 0, 3), (1, 4, 2, 4))]
    templates = matching.stack(regions, cells=[24, 24])
    means = [long_hand(frame, rows)[0] for rows in regions]
    per_region = matching.scores(frame, templates, "area")
    assert matching.combine(per_region[None], "max", templates.query, "area")[0] == pytest.approx(sum(means) / 24)


@settings(max_examples=40, deadline=None)
@given(seeds, sides, sides)
def test_a_frame_matches_its_own_region_with_one(seed, h, w):
    features = frames(seed, h, w)
    templates = matching.stack([matching.template(features, (0, h, 0, w))])
    for form in ("roi", "image", "mean"):
        assert matching.scores(features, templates, form) == pytest.approx(1, abs=1e-6)


@settings(deadline=None)
@given(seeds)
def test_moving_the_cells_of_a_frame_changes_no_score(seed):
    features, templates = frames(seed), matching.stack([frames(seed + 1)[0], frames(seed + 2)[1]])
    order = np.random.default_rng(seed).permutation(12)
    moved = features.reshape(12, -1)[order].reshape(features.shape)
    for form in ("roi", "image", "mean"):
        # The order of a sum of 12 numbers is all that may differ.
        assert matching.scores(moved, templates, form) == pytest.approx(
            matching.scores(features, templates, form), abs=1e-6
        )


@settings(deadline=None)
@given(seeds, st.integers(1, 11))
def test_rows_add_so_a_template_may_be_cut_anywhere(seed, cut):
    features, rows = frames(seed), frames(seed + 1).reshape(12, -1)
    whole = matching.scores(features, matching.stack([rows]))[0]
    first, second = matching.scores(features, matching.stack([rows[:cut], rows[cut:]]))
    assert whole == pytest.approx((cut * first + (12 - cut) * second) / 12, abs=1e-6)


@settings(deadline=None)
@given(seeds, st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_a_heat_map_is_of_one_query_and_says_nothing_of_the_others(seed, owners):
    owners = np.unique(owners, return_inverse=True)[1]  # queries numbered without a gap, in any order of the regions
    features = frames(seed)
    regions = [frames(seed + 1 + r).reshape(12, -1)[: r + 1] for r in range(len(owners))]
    templates = matching.stack(regions, owners)
    for query in range(templates.queries):
        heat = matching.heat(features, templates, query)
        for (y, x), value in np.ndenumerate(heat):
            own = [row for region, owner in zip(regions, owners, strict=True) if owner == query for row in region]
            assert value == pytest.approx(max(float(features[y, x] @ row) for row in own), abs=1e-6)


@pytest.mark.parametrize("form", matching.FORMS)
def test_many_regions_are_scored_part_by_part(monkeypatch, form):
    """Score regions of 2, 6, 1, 1 and 3 rows, at most 4 rows at a time, but the region of 6 as a whole."""
    features = frames(3)
    sizes = (2, 6, 1, 1, 3)
    rows = [matching.unit(np.random.default_rng(size).standard_normal((size, 5))) for size in sizes]
    templates = matching.stack(rows, query=[0, 0, 1, 1, 1], cells=[12] * 5)
    scores, heat = matching.scores(features, templates, form), matching.heat(features, templates, 1)
    monkeypatch.setattr(scoring, "PART", 4)
    assert [len(part.rows) for part in matching.parts(templates)] == [2, 6, 2, 3]
    np.testing.assert_allclose(matching.scores(features, templates, form), scores, atol=1e-6)
    np.testing.assert_allclose(matching.heat(features, templates, 1), heat, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "form", "scored"),
    [("max", "roi", 1), ("mean", "roi", 0), ("query", "roi", 0), ("max", "area", 2), ("mean", "area", 2)],
)
def test_the_query_that_scored(how, form, scored):
    # Regions of query 0: 0.8; of 1: 0.9 and 0.1; of 2: 0.7, 0.6, 0.5. The best region is 1's, the best mean 0's, the
    # best sum, which the form 'area' takes, 2's.
    scores, query = np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.5], np.float32), np.array([1, 0, 1, 2, 2, 2])
    assert matching.scoring_query(scores, how, query, form) == scored


def test_of_queries_that_differ_in_their_last_bits_the_first_scored():
    scores = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1))], np.float32)
    assert [matching.scoring_query(scores, how, np.array([0, 1])) for how in ("max", "mean", "query")] == [0, 0, 0]


@settings(deadline=None)
@given(seeds, st.floats(1e-6, 1e6), st.integers(0, 11))
def test_a_planted_copy_of_a_template_cell_is_found_in_its_place_and_raises_the_score(seed, scale, at):
    features, rows = frames(seed), frames(seed + 1).reshape(12, -1)[:3]
    planted = features.copy().reshape(12, -1)
    planted[at] = rows[1] * scale
    planted = matching.unit(planted).reshape(features.shape)
    templates = matching.stack([rows])
    assert matching.heat(planted, templates).reshape(-1)[at] == pytest.approx(1, abs=1e-6)
    y, x = divmod(at, 4)
    one = matching.stack([rows[1:2]], shape=[(1, 1)])
    assert matching.best_windows(planted, one).tolist() == [[y, y + 1, x, x + 1]]
    removed = matching.unit(np.delete(features.reshape(12, -1), at, axis=0))[None]
    assert matching.scores(planted, templates)[0] > matching.scores(removed, templates)[0] - 1e-6


@settings(deadline=None)
@given(seeds, st.lists(st.floats(1e-3, 1e3), min_size=12, max_size=12))
def test_the_length_of_a_cell_does_not_matter(seed, lengths):
    features, templates = frames(seed), matching.stack([frames(seed + 1)[0]])
    longer = matching.unit(features * np.reshape(lengths, (3, 4, 1)))
    assert matching.scores(longer, templates) == pytest.approx(matching.scores(features, templates), abs=1e-6)


def test_unit_survives_vectors_whose_squares_leave_float32():
    for size in (1e-30, 1e30):
        assert np.linalg.norm(matching.unit(np.full(4, size, np.float32))) == pytest.approx(1)


def test_a_zero_cell_has_cosine_zero_and_divides_nothing():
    features = np.zeros((2, 2, 3), np.float32)
    features[0, 0] = (-1, 0, 0)
    templates = matching.stack([np.array([[1, 0, 0]], np.float32)])
    assert matching.scores(features, templates) == 0
    assert matching.scores(features, templates, "image") == pytest.approx(-1 / 4)
    zero = matching.stack([matching.template(features, (1, 2, 0, 2))])
    assert matching.scores(features, zero) == 0


def test_a_best_cosine_below_zero_stays_below_zero():
    features = np.array([[[-1, 0], [-0.6, -0.8]]], np.float32)
    templates = matching.stack([np.array([[1, 0], [0, 1]], np.float32)])
    # Row 0 finds -0.6 at best, row 1 finds 0; a map padded with zero cells would say 0 and 0.
    assert matching.scores(features, templates)[0] == pytest.approx(-0.3)
    assert matching.scores(features, templates, "image")[0] == pytest.approx((0 - 0.6) / 2)


@settings(deadline=None)
@given(seeds)
def test_the_least_squared_distance_is_two_minus_twice_the_best_cosine(seed):
    features, rows = frames(seed), frames(seed + 1)[0]
    best = matching.similarity(features, matching.stack([rows])).max(axis=0)
    apart = np.square(features.reshape(-1, 1, 5) - rows).sum(axis=-1).min(axis=0)
    assert apart == pytest.approx(2 - 2 * best, abs=1e-5)


def test_cells_on_the_padding_count_in_no_form():
    features, templates = frames(3), matching.stack([frames(4)[0]])
    valid = np.zeros((3, 4), bool)
    valid[1, 1:3] = True
    for form in ("roi", "image", "mean"):
        assert matching.scores(features, templates, form, valid) == pytest.approx(
            matching.scores(features[1:2, 1:3], templates, form), abs=1e-7
        )
    ((y0, y1, x0, x1),) = matching.best_windows(features, matching.stack([frames(4)[0, :1]], shape=[(1, 1)]), valid)
    assert valid[y0:y1, x0:x1].all()
    assert not matching.heat(features, templates, 0, valid)[~valid].any()
    with pytest.raises(ValueError, match="no valid cell"):
        matching.scores(features, templates, "roi", np.zeros((3, 4), bool))


def test_combine_takes_the_best_region_the_mean_or_one_score_a_query():
    scores = np.array([[0.1, 0.5, 0.9], [0.4, 0.2, 0.3]])
    query = np.array([0, 0, 1])
    assert matching.combine(scores, "max", query) == pytest.approx([0.9, 0.4])
    assert matching.combine(scores, "mean", query) == pytest.approx([0.5, 0.3])
    assert matching.combine(scores, "query", query) == pytest.approx(np.array([[0.3, 0.9], [0.3, 0.3]]))
    assert matching.combine(scores, "max", query, "area") == pytest.approx([0.9, 0.6])
    with pytest.raises(InvalidArgument, match="max, mean, query"):
        matching.combine(scores, "best", query)


def test_duplicates_tie_and_the_lower_id_comes_first():
    scores = np.array([0.5, 0.9, 0.5, 0.9, 0.1], np.float32)
    assert matching.top(scores, 3, rank=np.array([4, 3, 2, 1, 0])).tolist() == [3, 1, 2]
    assert matching.top(scores, 3).tolist() == [1, 3, 0]
    assert matching.top(scores, 9, threshold=0.5).tolist() == [1, 3, 0, 2]


def test_half_precision_ranks_like_double():
    templates = matching.stack([frames(0, 4, 4, 32).reshape(16, -1)])
    gallery = [frames(i, 4, 4, 32) for i in range(1, 60)]
    half = [matching.scores(f.astype(np.float16), templates)[0] for f in gallery]
    double = [long_hand(f, templates.rows)[0] for f in gallery]
    assert half == pytest.approx(double, abs=5e-4)
    assert len(set(matching.top(half, 10)) & set(matching.top(double, 10))) >= 9


# ------------------------------------------------------------------------------------------------ boxes to cells


def letterboxed(width, height):
    canvas, geometry = place(width, height, SIZES)
    return geometry, (canvas[1] // STRIDE, canvas[0] // STRIDE)


@pytest.mark.parametrize("stride", [4, 8, 14, 16, 32])
def test_boxes_and_windows_follow_the_stride_of_the_map(stride):
    grid, view = (6, 8), Geometry(2 * 8 * stride, 2 * 6 * stride, 0.5, 0.5, 0, 0)  # fills its canvas of 8 x 6 cells
    box = [4 * stride, 2 * stride, 10 * stride, 8 * stride]  # pixels of the image
    assert matching.stride_of(view, grid) == stride
    cells = matching.roi_cells(box, view, grid)
    assert cells == (1, 4, 2, 5)
    np.testing.assert_array_equal(matching.window_boxes(np.array([cells]), view, grid)[0], box)


@pytest.mark.parametrize("size", [(640, 480), (960, 720), (1920, 1080), (333, 777), (901, 17), (641, 479)])
def test_the_stride_follows_from_geometry_and_grid(size):
    assert matching.stride_of(*letterboxed(*size)) == STRIDE


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ((8, 16, 24, 32), (2, 4, 1, 3)),  # exactly on the borders: nothing more
        ((9, 17, 23, 31), (2, 4, 1, 3)),  # inside them: the same cells
        ((7.9, 15.9, 24.1, 32.1), (1, 5, 0, 4)),  # just across: one more on each side
        ((11, 12, 11.5, 12.5), (1, 2, 1, 2)),  # less than a cell: that cell
        ((-50, -50, 4, 4), (0, 1, 0, 1)),  # reaches out: clipped
        ((0, 0, 640, 480), (0, 60, 0, 80)),
        ((639, 479, 700, 700), (59, 60, 79, 80)),
    ],
)
def test_a_box_takes_every_cell_it_touches(box, cells):
    geometry = Geometry(640, 480, 1.0, 1.0, 0, 0)
    assert matching.roi_cells(box, geometry, (60, 80)) == cells


def test_a_box_of_an_image_sent_larger_takes_the_same_cells():
    geometry = Geometry(1280, 960, 0.5, 0.5, 0, 0)
    assert matching.roi_cells((16, 32, 48, 64), geometry, (60, 80)) == (2, 4, 1, 3)


def test_a_box_at_the_edge_of_a_letterboxed_image_takes_a_cell_of_the_image_and_none_of_the_padding():
    # 544 x 272 on 544 x 544: the picture covers the rows 136 to 408, cells 17 to 51.
    geometry = Geometry(544, 272, 1.0, 1.0, 0, 136)
    assert matching.roi_cells((0, 0, 544, 1), geometry, (68, 68)) == (17, 18, 0, 68)
    assert matching.roi_cells((0, 271, 5, 272), geometry, (68, 68)) == (50, 51, 0, 1)
    # Shifted by 5 pixels the first cell's centre falls on the padding, so the next one stands in.
    geometry = Geometry(544, 272, 1.0, 1.0, 0, 133)
    assert matching.roi_cells((0, 0, 8, 1), geometry, (68, 68), STRIDE)[:2] == (17, 18)


@settings(max_examples=200, deadline=None)
@given(st.integers(20, 3000), st.integers(20, 3000), st.tuples(*[st.floats(0, 0.999)] * 4), st.integers(2, 2000))
def test_every_box_on_every_image_gives_cells_of_the_picture_that_cover_it(width, height, corners, size):
    if max(width, height) > 100 * min(width, height):
        return
    geometry, grid = letterboxed(width, height)
    x0, x1 = sorted((corners[0] * width, corners[1] * width))
    y0, y1 = sorted((corners[2] * height, corners[3] * height))
    box = np.array([x0, y0, x1 + width / size, y1 + height / size])
    r0, r1, c0, c1 = matching.roi_cells(box, geometry, grid)
    valid = valid_cells(geometry, grid, STRIDE)
    assert r1 > r0 and c1 > c0 and valid[r0:r1, c0:c1].all()
    (bx0, by0), (bx1, by1) = geometry.to_canvas(np.clip(box.reshape(2, 2), 0, (width, height))) / STRIDE
    # A cell of the picture that the box overlaps by more than a sliver is never left out.
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    touched_rows = [r for r in rows if by0 < r + 1 - 2e-3 and by1 > r + 2e-3]
    touched_columns = [c for c in columns if bx0 < c + 1 - 2e-3 and bx1 > c + 2e-3]
    assert set(touched_rows) <= set(range(r0, r1)) and set(touched_columns) <= set(range(c0, c1))
    assert r1 - r0 <= max(1, len(touched_rows) + 2) and c1 - c0 <= max(1, len(touched_columns) + 2)


@settings(deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(0, 5), st.integers(0, 6))
def test_a_region_is_found_where_it_was_put(seed, height, width, y, x):
    region, frame = frames(seed, height, width, 16), frames(seed + 1, 9, 11, 16)
    frame[y : y + height, x : x + width] = region
    templates = matching.stack([region.reshape(-1, 16)], shape=[(height, width)])
    assert matching.best_windows(frame, templates).tolist() == [[y, y + height, x, x + width]]


def test_a_region_that_stands_smaller_in_the_frame_is_found_inside_its_window():
    frame = frames(1, 12, 16, 32)
    frame[:] = frame[0, 0]  # everything alike, as a road is
    thing = frames(2, 2, 2, 32)
    frame[7:9, 3:5] = thing
    templates = matching.stack([np.repeat(np.repeat(thing, 2, 0), 2, 1).reshape(-1, 32)], shape=[(4, 4)])
    ((y0, y1, x0, x1),) = matching.best_windows(frame, templates)
    assert y0 <= 7 and y1 >= 9 and x0 <= 3 and x1 >= 5


def test_a_region_larger_than_the_frame_has_the_frame_as_its_window():
    templates = matching.stack([frames(0, 10, 30).reshape(-1, 5)], shape=[(10, 30)])
    assert matching.best_windows(frames(1, 4, 6), templates).tolist() == [[0, 4, 0, 6]]


@settings(deadline=None)
@given(seeds, st.integers(1, 9))
def test_sliding_maxima_are_those_of_every_neighbourhood(seed, width):
    values = np.random.default_rng(seed).standard_normal((3, 9, 4))
    expected = np.stack([values[:, i : i + width].max(axis=1) for i in range(9 - width + 1)], axis=1)
    assert np.array_equal(places._slide(values, width, 1), expected)


def test_the_box_of_a_window_leads_back_to_that_window():
    geometry, grid = letterboxed(1920, 1080)
    windows = np.array([[5, 6, 7, 8], [30, 40, 50, 61]])
    for window, box in zip(windows, matching.window_boxes(windows, geometry, grid), strict=True):
        assert matching.roi_cells(box, geometry, grid) == tuple(window)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((math.nan, 0, 1, 1), "four finite numbers"),
        ((0, 0, math.inf, 1), "four finite numbers"),
        ((5, 5, 5, 9), "x0 < x1"),
        ((9, 5, 5, 9), "upper left corner"),
        ((700, 0, 800, 10), "outside the image of 640 x 480"),
        ((0, -10, 10, 0), "outside the image"),
        ((0, 0, 1), "four finite numbers"),
    ],
)
def test_a_box_that_means_nothing_is_refused_with_its_remedy(box, words):
    with pytest.raises(InvalidArgument, match=words):
        matching.roi_cells(box, Geometry(640, 480, 1.0, 1.0, 0, 0), (60, 80))


def test_templates_that_mean_nothing_are_refused():
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="at least one region"):
        matching.stack([])
    with pytest.raises(ValueError, match="same channels"):
        matching.stack([rows, np.eye(2, dtype=np.float32)])
    with pytest.raises(ValueError, match="without a gap"):
        matching.stack([rows], query=[1])
    with pytest.raises(ValueError, match="finite"):
        matching.stack([rows * np.nan])
    with pytest.raises(ValueError, match="same version"):
        matching.scores(np.zeros((2, 2, 4)), matching.stack([rows]))
    with pytest.raises(ValueError, match="cells of each query"):
        matching.scores(np.zeros((2, 2, 3)), matching.stack([rows]), "area")
    with pytest.raises(InvalidArgument, match="roi, image, mean, area"):
        matching.scores(np.zeros((2, 2, 3)), matching.stack([rows]), "best")
