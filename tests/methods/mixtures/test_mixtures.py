"""The maths of mixture-density detection against a long-hand reference and against what must be true of it."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods import mixtures
from sluice.methods.mixtures import objects
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.options import REDUCTIONS, SIGMOIDS, Options
from tests.made.planted_heads import planted, random_heads, tensors

LABELS = ["Car", "Pedestrian", "Bicyclist", "SignSymbol"]
CANVAS = Geometry(640, 480, 0.8, 0.8, 0, 0)  # an image of 640 x 480 that fills a canvas of 512 x 384
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 6)


def change(heads, **arrays):
    return Heads(**{**{name: getattr(heads, name) for name in heads.__dataclass_fields__}, **arrays})


# ------------------------------------------------------------------------------------------------ long hand


def soft(logits):
    top = max(logits)
    powers = [math.exp(x - top) for x in logits]
    return [power / sum(powers) for power in powers]


def logistic(x):
    return 1 / (1 + math.exp(-x))


def split(weights, means, variances):
    """Return (mean, aleatoric, epistemic) of one mixture of numbers."""
    mean = sum(w * m for w, m in zip(weights, means, strict=True))
    aleatoric = sum(w * v for w, v in zip(weights, variances, strict=True))
    return mean, aleatoric, sum(w * (m - mean) ** 2 for w, m in zip(weights, means, strict=True))


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def long_hand(heads, b, options, geometry=None):
    """Return the objects of one image, prior by prior, with no NumPy in the arithmetic, best first.

    A row is (class, score, box 4, aleatoric 4, epistemic 4, class aleatoric, class epistemic).
    """
    _, n, k, c = heads.class_mean.shape
    rows = []
    for i in range(n):
        location = []
        for d in range(4):
            column = [[float(x[b, i, j, d]) for j in range(k)]
                      for x in (heads.location_weight, heads.location_mean, heads.location_variance)]  # fmt: skip
            location.append(split(soft(column[0]), column[1], [logistic(x) for x in column[2]]))
        weights = soft([float(heads.class_weight[b, i, j]) for j in range(k)])
        components = [soft([float(x) for x in heads.class_mean[b, i, j]]) for j in range(k)]
        classes = [
            split(weights, [component[x] for component in components],
                  [logistic(float(heads.class_variance[b, i, j, x])) for j in range(k)])
            for x in range(c)
        ]  # fmt: skip
        cx, cy, w, h = (float(x) for x in heads.priors[b, i])
        cx, cy = cx + location[0][0] * 0.1 * w, cy + location[1][0] * 0.1 * h
        w, h = w * math.exp(location[2][0] * 0.2), h * math.exp(location[3][0] * 0.2)
        rows.append((classes, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), location))
    found = []
    for x in range(1, c):
        entering = sorted((row for row in rows if row[0][x][0] > options.confidence), key=lambda row: -row[0][x][0])
        survivors = []
        for row in entering[: options.candidates]:
            if all(iou(row[1], other[1]) <= options.iou for other in survivors):
                survivors.append(row)
        for classes, box, location in survivors[: options.keep]:
            if classes[x][0] < options.min_score:
                continue
            if geometry is not None:
                xs = [min(max((v - geometry.left) / geometry.scale_x, 0), geometry.width) for v in box[::2]]
                ys = [min(max((v - geometry.top) / geometry.scale_y, 0), geometry.height) for v in box[1::2]]
                box = (xs[0], ys[0], xs[1], ys[1])
            aleatoric, epistemic = classes[x][1:]
            if options.class_reduce == "max":
                aleatoric, epistemic = (max(entry[part] for entry in classes) for part in (1, 2))
            row = [x - 1, classes[x][0], *box, *(d[1] for d in location), *(d[2] for d in location)]
            found.append([*row, aleatoric, epistemic])
    return sorted(found, key=lambda row: -row[1])


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(min_score=0.01),
        Options(min_score=0, confidence=0),
        Options(min_score=0.05, candidates=7, keep=4, iou=0.2, class_reduce="max"),
    ],
)
@pytest.mark.parametrize("geometry", [None, CANVAS, Geometry(1000, 500, 0.512, 0.512, 0, 64)])
def test_the_whole_way_is_what_a_loop_over_priors_gives(options, geometry):
    heads = random_heads(5, b=2)
    found = mixtures.detections(heads, geometry and [geometry] * 2, options)
    for b in range(2):
        expected = [row for row in long_hand(heads, b, options, geometry) if row[4] > row[2] and row[5] > row[3]]
        assert len(found[b]) == len(expected) > 0
        np.testing.assert_allclose(found[b].as_array(), expected, rtol=1e-5, atol=2e-5 if geometry is None else 1e-4)


# ------------------------------------------------------------------------------------------------ mixtures


def mixture(seed, k, d=4):
    random = np.random.default_rng(seed)
    return (random.standard_normal((5, k, d)) for _ in range(3))


@settings(deadline=None)
@given(seeds, counts)
def test_the_two_parts_add_up_to_the_variance_of_the_mixture(seed, k):
    mean, raw, weight = mixture(seed, k)
    found = mixtures.mix_location(mean, raw, weight)
    pi = np.exp(weight) / np.exp(weight).sum(1, keepdims=True)
    second = (pi * (1 / (1 + np.exp(-raw)) + mean**2)).sum(1)  # E[x²] of the mixture
    np.testing.assert_allclose(found.aleatoric + found.epistemic, second - (pi * mean).sum(1) ** 2, atol=1e-12)


@pytest.mark.parametrize("sigmoid, deviation", [("variance", np.sqrt), ("deviation", np.abs)])
def test_the_variance_is_that_of_draws_from_the_mixture(sigmoid, deviation):
    mean, raw, weight = (np.array(x)[None, :, None] for x in ([0.3, -0.8, 1.1], [-0.5, 0.2, -1.0], [0.1, 0.7, -0.4]))
    found = mixtures.mix_location(mean, raw, weight, sigmoid)
    random = np.random.default_rng(1)
    pi = np.exp(weight[0, :, 0]) / np.exp(weight).sum()
    component = random.choice(3, 1_000_000, p=pi)
    draws = random.normal(mean[0, component, 0], deviation(1 / (1 + np.exp(-raw[0, component, 0]))))
    assert draws.var() == pytest.approx(float(found.aleatoric[0, 0] + found.epistemic[0, 0]), rel=0.005)
    assert draws.mean() == pytest.approx(float(found.mean[0, 0]), abs=0.005)


def test_a_deviation_is_squared_before_it_is_mixed():
    """Mix -3, -2, -1 and 0 of four equal components: 0.085, where the mean of the deviations is 0.234."""
    raw = np.array([-3.0, -2, -1, 0]).reshape(1, 4, 1)
    found = {how: mixtures.mix_location(0 * raw, raw, 0 * raw, how).aleatoric.item() for how in SIGMOIDS}
    assert found["deviation"] == pytest.approx(0.0847, abs=5e-5)
    assert found["variance"] == pytest.approx(0.2339, abs=5e-5)
    assert found["deviation"] == pytest.approx(np.mean([1 / (1 + math.exp(-x)) ** 2 for x in raw.flat]))


def test_two_boxes_change_places_between_the_form_of_variances_and_that_of_the_authors():
    """Compare one wide and one narrow component with two middling ones: more variance, less mean deviation."""
    heads = planted([[0, 0, 50, 50], [100, 0, 150, 50]], [0.9, 0.8])
    raw = np.zeros_like(heads.location_variance)
    raw[0, 0, :, :] = -6
    raw[0, 0, 0, :] = 0.8
    raw[0, 1] = -0.3
    of = {}
    for how in SIGMOIDS:
        (found,) = mixtures.detections(change(heads, location_variance=raw), None, Options(location_sigmoid=how))
        assert found.scores.tolist() == pytest.approx([0.9, 0.8])
        of[how] = found.types()[:, 0]
    assert of["deviation"][0] > of["deviation"][1] and of["variance"][0] < of["variance"][1]
    k = raw.shape[2]
    wide, narrow, middle = (1 / (1 + math.exp(-x)) for x in (0.8, -6, -0.3))
    assert of["deviation"] == pytest.approx([(wide**2 + (k - 1) * narrow**2) / k, middle**2], rel=1e-5)
    assert of["variance"] == pytest.approx([(wide + (k - 1) * narrow) / k, middle], rel=1e-5)


@settings(deadline=None)
@given(seeds, counts)
def test_equal_means_have_no_epistemic_part(seed, k):
    mean, raw, weight = mixture(seed, k)
    assert np.abs(mixtures.mix_location(np.repeat(mean[:, :1], k, axis=1), raw, weight).epistemic).max() < 1e-28


@settings(deadline=None)
@given(seeds, counts)
def test_all_weight_on_one_component_gives_its_own_variance(seed, k):
    mean, raw, _ = mixture(seed, k)
    weight = np.zeros((5, k, 4))
    weight[:, k // 2] = 800
    found = mixtures.mix_location(mean, raw, weight)
    np.testing.assert_allclose(found.aleatoric, 1 / (1 + np.exp(-raw[:, k // 2])), rtol=1e-12)
    np.testing.assert_array_equal(found.mean, mean[:, k // 2])
    assert not found.epistemic.any()


@pytest.mark.parametrize("d", [0.0, 1e-3, 2.5])
def test_two_components_d_to_each_side_have_an_epistemic_part_of_d_squared(d):
    mean = np.array([[[7 + d], [7 - d]]])
    found = mixtures.mix_location(mean, np.zeros((1, 2, 1)), np.zeros((1, 2, 1)))
    assert float(found.epistemic[0, 0]) == pytest.approx(d**2, abs=1e-12)
    assert (float(found.mean[0, 0]), float(found.aleatoric[0, 0])) == (pytest.approx(7), 0.5)


@settings(deadline=None)
@given(seeds, counts)
def test_bounds_hold(seed, k):
    mean, raw, weight = mixture(seed, k)
    found = mixtures.mix_location(mean, raw, weight)
    assert (found.epistemic <= np.ptp(mean, axis=1) ** 2 / 4 + 1e-12).all()
    assert (found.aleatoric > 0).all() and (found.aleatoric < 1).all()
    classes = mixtures.mix_class(mean * 30, raw, weight[..., 0])
    assert (classes.epistemic <= 0.25 + 1e-12).all() and (classes.epistemic >= 0).all()
    np.testing.assert_allclose(classes.mean.sum(-1), 1, rtol=1e-12)


def test_the_bound_of_the_class_is_reached_by_two_certain_components_that_disagree():
    mean = np.array([[[0.0, 500], [500, 0]]])
    assert mixtures.mix_class(mean, mean, np.zeros((1, 2))).epistemic == pytest.approx(0.25)


@settings(deadline=None)
@given(seeds, st.integers(2, 6), st.floats(-50, 50))
def test_neither_the_order_of_components_nor_a_constant_in_the_logits_matters(seed, k, constant):
    mean, raw, weight = mixture(seed, k)
    order = np.random.default_rng(seed).permutation(k)
    location = mixtures.mix_location(mean, raw, weight)
    classes = mixtures.mix_class(mean, raw, weight[..., 0])
    for other in (
        mixtures.mix_location(mean[:, order], raw[:, order], weight[:, order]),
        mixtures.mix_location(mean, raw, weight + constant),
    ):
        np.testing.assert_allclose(other, location, atol=1e-12)
    shifted = mean.copy()
    shifted[:, k - 1] += constant  # all class logits of one component
    for other in (
        mixtures.mix_class(mean[:, order], raw[:, order], weight[:, order, 0]),
        mixtures.mix_class(mean, raw, weight[..., 0] + constant),
        mixtures.mix_class(shifted, raw, weight[..., 0]),
    ):
        np.testing.assert_allclose(other, classes, atol=1e-12)


@settings(deadline=None)
@given(seeds)
def test_one_component_knows_no_epistemic_part(seed):
    mean, raw, weight = mixture(seed, 1)
    assert not mixtures.mix_location(mean, raw, weight).epistemic.any()
    assert not mixtures.mix_class(mean, raw, weight[..., 0]).epistemic.any()


# ------------------------------------------------------------------------------------------------ boxes


def test_no_offset_is_the_prior_and_the_offsets_are_in_its_size():
    prior = np.array([[100, 50, 40, 20]])
    assert mixtures.decode(prior, np.zeros((1, 4))).tolist() == [[80, 40, 120, 60]]
    # 10 * 0.1 of the width to the right, twice as high
    moved = mixtures.decode(prior, np.array([[10, 0, 0, math.log(2) / 0.2]]))
    assert moved[0].tolist() == pytest.approx([120, 30, 160, 70])
    other = mixtures.decode(prior, np.array([[1, 0, 0, math.log(2)]]), Options(centre_variance=1, size_variance=1))
    assert other[0].tolist() == pytest.approx([120, 30, 160, 70])


def test_an_offset_beyond_all_measure_gives_a_finite_box():
    assert np.isfinite(mixtures.decode(np.ones((1, 4)), np.full((1, 4), 1e9))).all()


def test_an_overlap_of_exactly_the_limit_survives():
    # 9 of 20 squares are shared: 0.45 exactly. Then a hair more.
    exactly = np.array([[0, 0, 29, 1], [11, 0, 40, 1]]) / 2
    assert mixtures.overlaps(exactly)[0, 1] == 18 / 40 == 0.45
    assert mixtures.nms(exactly, 0.45).tolist() == [0, 1]
    assert mixtures.nms(exactly, np.nextafter(0.45, 0)).tolist() == [0]
    assert mixtures.nms(exactly - [[0, 0, 0, 0], [0.01, 0, 0.01, 0]], 0.45).tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.45, 1.0]))
def test_suppression_is_the_greedy_loop(seed, m, limit):
    random = np.random.default_rng(seed)
    low = random.integers(0, 12, (m, 2))
    boxes = np.concatenate([low, low + random.integers(0, 9, (m, 2))], axis=1).astype(float)
    survivors = []
    for i in range(m):
        if all(iou(boxes[i], boxes[j]) <= limit for j in survivors):
            survivors.append(i)
    assert mixtures.nms(boxes, limit).tolist() == survivors
    assert mixtures.nms(boxes, limit, keep=3).tolist() == survivors[:3]


def test_of_250_disjoint_boxes_200_are_kept_and_the_201st_never_enters():
    corners = np.stack([np.arange(250) * 10, np.zeros(250), np.arange(250) * 10 + 8, np.full(250, 8)], axis=1)
    scores = 0.99 - np.arange(250) / 1000
    (found,) = mixtures.detections(planted(corners, scores))
    assert len(found) == 200
    np.testing.assert_allclose(found.boxes, corners[:200])
    # Two identical boxes: both enter, one survives, and the 201st does not take the place.
    corners[1] = corners[0]
    (found,) = mixtures.detections(planted(corners, scores))
    assert len(found) == 199 and found.boxes[-1, 0] == 1990
    (found,) = mixtures.detections(planted(corners, scores), None, Options(candidates=250, keep=220))
    assert len(found) == 220


def test_background_is_no_class_and_classes_do_not_suppress_each_other():
    box = [10, 10, 50, 50]
    heads = planted([box, box, box], [0.9, 0.8, 0.7], [1, 2, 2])
    heads.class_mean[0, 2, :, :] = [60, -50, -50, -50, -50]  # surely background
    (found,) = mixtures.detections(heads)
    assert found.classes.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])


def test_ties_are_broken_by_class_then_prior():
    boxes = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]
    (found,) = mixtures.detections(planted(boxes, [0.75] * 3, [3, 1, 3]))
    assert found.classes.tolist() == [0, 2, 2]
    assert found.boxes[:, 0].tolist() == [20, 0, 40]
    (one,) = mixtures.detections(planted(boxes, [0.75] * 3), None, Options(candidates=2))
    assert one.boxes[:, 0].tolist() == [0, 20]


# ------------------------------------------------------------------------------------------------ the whole way


def test_leaving_out_low_scores_before_suppression_changes_nothing():
    heads = random_heads(8, n=800)
    (few,) = mixtures.detections(heads)
    (all_,) = mixtures.detections(heads, None, Options(min_score=0))
    assert 20 < len(few) < len(all_)
    np.testing.assert_array_equal(few.as_array(), all_.above(0.5).as_array())


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(2, 9), st.floats(0, 1))
def test_the_screening_loses_no_box(seed, k, c, least):
    mean = np.random.default_rng(seed).standard_normal((300, k, c)).astype(np.float32) * 4
    weight = np.random.default_rng(seed + 1).standard_normal((300, k)).astype(np.float32) * 4
    reached = mixtures.mix_class(mean, None, weight).mean[:, 1:].max(axis=1) >= least
    assert set(np.flatnonzero(reached)) <= set(objects._screen(mean, least))


def test_a_probability_of_one_is_not_screened_out():
    # A probability of 1 - 4e-8 is 1 in float32, though its logit is far from infinite.
    (found,) = mixtures.detections(planted([[0, 0, 9, 9]], [1 - 4e-8]), None, Options(min_score=1, object_score=1))
    assert found.scores.tolist() == [1]


def test_no_score_is_above_one():
    boxes = np.arange(400)[:, None] * 10 + [0, 0, 8, 8]
    heads = planted(boxes, [1 - 1e-9] * 400, k=7)
    weight = np.random.default_rng(0).standard_normal(heads.class_weight.shape)  # which sum to a little over 1 in some
    (found,) = mixtures.detections(change(heads, class_weight=weight), None, Options(candidates=400, keep=400))
    assert len(found) == 400 and found.scores.max() == 1


def test_a_box_enters_above_the_confidence_and_an_object_begins_at_its_score():
    heads = planted([[0, 0, 9, 9]], [0.5])
    assert len(mixtures.detections(heads)[0]) == 1
    assert len(mixtures.detections(heads, None, Options(confidence=0.5))[0]) == 0
    assert len(mixtures.detections(heads, None, Options(min_score=0.501, object_score=0.501))[0]) == 0


def test_an_image_without_an_object_gives_none():
    heads = random_heads(3, b=2, background=40)
    found = mixtures.detections(heads, [CANVAS] * 2, Options(min_score=0.01))
    assert [len(one) for one in found] == [0, 0]
    assert found[0].boxes.shape == (0, 4) and found[0].types().shape == (0, 4)


def test_boxes_are_clipped_to_the_image_and_one_on_the_padding_is_left_out():
    geometry = Geometry(100, 50, 2, 2, 0, 20)  # 200 x 100 on a canvas of 200 x 140
    boxes = [[-20, 40, 40, 80], [180, 100, 300, 138], [20, 0, 60, 18]]
    (found,) = mixtures.detections(planted(boxes, [0.9, 0.8, 0.7]), [geometry])
    assert found.boxes.tolist() == [[0, 10, 20, 30], [90, 40, 100, 50]]
    (found,) = mixtures.detections(planted(boxes, [0.9, 0.8, 0.7]))
    assert len(found) == 3


def test_only_the_chosen_classes_are_looked_for():
    heads = random_heads(4)
    (all_,) = mixtures.detections(heads, None, Options(min_score=0.1), LABELS)
    (some,) = mixtures.detections(heads, None, Options(min_score=0.1, labels=("SignSymbol", "Car")), LABELS)
    np.testing.assert_array_equal(some.as_array(), all_.take(np.isin(all_.classes, [0, 3])).as_array())
    (nothing,) = mixtures.detections(heads, None, Options(labels=()), LABELS)
    assert len(nothing) == 0


@pytest.mark.parametrize("k, c", [(1, 2), (2, 3), (7, 21)])
def test_heads_of_another_detector_do_as_well(k, c):
    heads = random_heads(6, b=2, n=40, k=k, c=c)
    options = Options(min_score=0.2)
    for b, found in enumerate(mixtures.detections(heads, None, options)):
        np.testing.assert_allclose(found.as_array(), np.reshape(long_hand(heads, b, options), (-1, 16)), atol=2e-4)
        assert not (k == 1 and found.types()[:, [1, 3]].any())


def test_a_detector_without_class_variance_says_nan_and_the_rest():
    heads = random_heads(6)
    (whole,) = mixtures.detections(heads)
    for reduce in REDUCTIONS:
        (found,) = mixtures.detections(change(heads, class_variance=None), None, Options(class_reduce=reduce))
        assert np.isnan(found.types()[:, 2]).all() and np.isfinite(found.types()[:, [0, 1, 3]]).all()
        np.testing.assert_array_equal(found.boxes, whole.boxes)


def test_each_image_has_its_own_answer_whatever_stands_beside_it():
    heads = random_heads(9, b=3)
    together = mixtures.detections(heads)
    for b, found in enumerate(together):
        alone = Heads(*(getattr(heads, name)[b : b + 1] for name in heads.__dataclass_fields__))
        np.testing.assert_array_equal(mixtures.detections(alone)[0].as_array(), found.as_array())


# ------------------------------------------------------------------------------------------------ mistakes

WRONG_SHAPES = {
    "location_mean": (1, 60, 3, 5),
    "location_variance": (1, 60, 2, 4),
    "location_weight": (1, 60, 3),
    "class_variance": (1, 60, 3, 4),
    "class_weight": (1, 60, 4),
    "priors": (59, 4),
    "class_mean": (60, 3, 5),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_a_wrong_shape_is_named(name):
    with pytest.raises(InvalidArgument, match=f"{name.upper()}.*{WRONG_SHAPES[name][-1]}"):
        change(random_heads(0), **{name: np.zeros(WRONG_SHAPES[name])})


@pytest.mark.parametrize("c", [0, 1])
def test_background_alone_is_no_detector(c):
    with pytest.raises(InvalidArgument, match="CLASS_MEAN"):
        change(random_heads(0), class_mean=np.zeros((1, 60, 3, c)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -2e9])
@pytest.mark.parametrize("name", list(WRONG_SHAPES))
def test_numbers_that_are_none_are_refused_with_tensor_and_image(name, value):
    heads = random_heads(0, b=3)
    array = np.array(getattr(heads, name))
    array[2].reshape(-1)[7] = value
    with pytest.raises(InvalidArgument, match=f"{name.upper()} of image 2"):
        change(heads, **{name: array})


def test_large_numbers_within_the_limit_are_numbers():
    heads = random_heads(0)
    found = mixtures.detections(change(heads, location_mean=heads.location_mean + 9e8))
    assert np.isfinite(found[0].as_array()).all()


def test_a_prior_without_extent_is_refused():
    priors = np.array(random_heads(0).priors)
    priors[0, 3, 2] = 0
    with pytest.raises(InvalidArgument, match="PRIORS"):
        change(random_heads(0), priors=priors)


def test_missing_heads_are_named_and_the_class_variance_may_miss():
    heads = random_heads(0)
    given = tensors(heads)
    del given["CLASS_VARIANCE"]
    assert Heads.of(given).class_variance is None
    del given["CLASS_WEIGHT"], given["PRIORS"]
    with pytest.raises(InvalidArgument, match="PRIORS, CLASS_WEIGHT"):
        Heads.of(given)


def test_labels_must_fit_the_heads():
    heads = random_heads(0)
    with pytest.raises(InvalidArgument, match="4 LABELS, got 3"):
        mixtures.detections(heads, None, None, LABELS[:3])
    with pytest.raises(InvalidArgument, match=r"Tram.*Car, Pedestrian"):
        mixtures.detections(heads, None, Options(labels=("Tram",)), LABELS)
    with pytest.raises(InvalidArgument, match="LABELS"):
        mixtures.detections(heads, None, Options(labels=("Car",)))
    with pytest.raises(InvalidArgument, match="1 images, 2 rows"):
        mixtures.detections(heads, [CANVAS] * 2)


@pytest.mark.parametrize(
    "given, name",
    [
        ({"confidense": 0.1}, "confidense"),
        ({"confidence": 1.5}, "confidence"),
        ({"confidence": True}, "confidence"),
        ({"iou": "0.5"}, "iou"),
        ({"iou": math.nan}, "iou"),
        ({"min_score": None}, "min_score"),
        ({"object_score": -0.1}, "object_score"),
        ({"candidates": 0}, "candidates"),
        ({"keep": 2.5}, "keep"),
        ({"class_reduce": "mean"}, "class_reduce"),
        ({"size_variance": 0}, "size_variance"),
        ({"labels": "Car"}, "labels"),
        ({"labels": [1]}, "labels"),
        ("{iou: 1", "JSON"),
        ("[1]", "object"),
    ],
)
def test_a_wrong_option_gets_a_sentence(given, name):
    with pytest.raises(InvalidArgument, match=name):
        Options.from_json(given)


def test_options_are_the_published_ones_but_for_what_is_given():
    assert Options.from_json("") == Options.from_json({}) == Options()
    options = Options.from_json(json.dumps({"iou": 0.6, "labels": ["Car"]}), Options(keep=9))
    assert options == Options(iou=0.6, labels=("Car",), keep=9)


def test_the_heads_of_a_whole_canvas_take_few_milliseconds():
    """Time 12,240 priors, K = 4, C = 5, nearly all of them background, as a trained detector gives them.

    One core of an AMD EPYC takes 1.5 ms per image; the bound is wide, because tests run on busy machines.
    """
    heads = random_heads(0, b=2, n=12_240, k=4, background=9)
    heads.class_mean[:, :200, :, 1] += 14
    mixtures.detections(heads)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        found = mixtures.detections(heads, [CANVAS] * 2)
        seconds.append((time.process_time() - start) / 2)
    assert len(found[0]) > 20
    assert min(seconds) < 0.02
