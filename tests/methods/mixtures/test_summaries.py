"""Detections as rows, and the numbers that rank an image: maxima, counts and moments that merge without loss."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.methods.mixtures.summaries import TYPES, Detections, Moments, Part, Summary

LABELS = ["Car", "Pedestrian", "Bicyclist", "SignSymbol"]
seeds = st.integers(0, 2**32 - 1)


def found(seed, m, classes=4):
    random = np.random.default_rng(seed)
    return Detections(
        random.uniform(0, 500, (m, 4)).astype(np.float32),
        random.integers(0, classes, m).astype(np.int32),
        np.sort(random.uniform(0, 1, m).astype(np.float32))[::-1],
        random.uniform(0, 1, (m, 8)).astype(np.float32),
        random.uniform(0, 1, (m, 2)).astype(np.float32),
    )


# ------------------------------------------------------------------------------------------------ detections


@pytest.mark.parametrize("m", [0, 1, 7])
def test_rows_lead_back_to_the_detections(m):
    detections = found(1, m)
    rows = detections.as_array()
    assert rows.shape == (m, 16) and rows.dtype == np.float32
    again = Detections.from_array(rows)
    assert math.isnan(again.faint)  # which a row does not hold
    for name in [name for name in Detections.__dataclass_fields__ if name != "faint"]:
        np.testing.assert_array_equal(getattr(again, name), getattr(detections, name))
        assert getattr(again, name).dtype == getattr(detections, name).dtype


def test_the_four_types_are_the_greatest_of_the_coordinates_and_the_class_values():
    box = np.array([[1, 4, 2, 3, 0.5, 0.1, 0.2, 0.9]], np.float32)
    one = Detections(
        np.zeros((1, 4), np.float32), np.zeros(1, np.int32), np.ones(1, np.float32), box, np.array([[7, 8]], np.float32)
    )
    assert one.types()[0].tolist() == [4, np.float32(0.9), 7, 8]
    assert TYPES == ("location_aleatoric", "location_epistemic", "class_aleatoric", "class_epistemic")


def test_a_shape_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="box_uncertainties"):
        Detections(np.zeros((2, 4)), np.zeros(2), np.zeros(2), np.zeros((2, 4)), np.zeros((2, 2)))


@pytest.mark.parametrize("column, value", [(0, 0.5), (0, -1), (1, math.nan), (3, math.inf), (15, math.nan)])
def test_rows_that_no_detector_gives_are_refused(column, value):
    rows = found(2, 3).as_array()
    rows[1, column] = value
    with pytest.raises(InvalidArgument):
        Detections.from_array(rows)
    with pytest.raises(InvalidArgument, match="16"):
        Detections.from_array(rows[:, :15])


# ------------------------------------------------------------------------------------------------ moments


def close(a, b):
    assert a.n == b.n
    scale = np.abs(b.mean).max() + np.sqrt(b.m2.max() / max(b.n, 1)) if b.n else 1
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-13, atol=1e-14 * scale)
    np.testing.assert_allclose(a.m2, b.m2, rtol=1e-12, atol=1e-13 * scale**2 * max(b.n, 1))


@settings(deadline=None)
@given(seeds, st.lists(st.integers(0, 40), min_size=1, max_size=12), st.floats(-1e3, 1e3), st.floats(1e-6, 1e6))
def test_merged_moments_are_those_of_the_whole_batch(seed, sizes, offset, scale):
    values = np.random.default_rng(seed).standard_normal((sum(sizes), 4)) * scale + offset
    parts = np.split(values, np.cumsum(sizes)[:-1])
    merged = Moments()
    for part in parts:
        merged = merged.merge(Moments.of(part))
    close(merged, Moments.of(values))
    backwards = Moments()
    for part in reversed(parts):
        backwards = Moments.of(part).merge(backwards)
    close(backwards, Moments.of(values))


@settings(deadline=None)
@given(seeds, st.integers(1, 30))
def test_moments_are_numpys_mean_and_population_deviation(seed, n):
    values = np.random.default_rng(seed).uniform(0, 1, (n, 4))
    moments = Moments.of(values)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.std(), values.std(axis=0), rtol=1e-12)
    z = (values - moments.mean) / np.where(moments.std() > 0, moments.std(), 1)
    # A rounded mean lies off the middle by so many deviations: more of them where values lie close together.
    spread = np.where(moments.std() > 0, moments.std(), 1)
    assert (np.abs(z.mean(axis=0)) <= 4 * np.finfo(float).eps * (1 + np.abs(values).max(axis=0) / spread)).all()
    if n > 1:
        np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)


def test_no_object_and_one_object_have_defined_moments():
    none, one = Moments.of(np.zeros((0, 4))), Moments.of(np.full((1, 4), 0.3))
    assert none.n == 0 and none.std().tolist() == [0] * 4
    assert one.std().tolist() == [0] * 4
    assert none.merge(one) is one and one.merge(none) is one


def test_a_million_equal_objects_in_small_parts_deviate_by_exactly_nothing():
    part = Moments.of(np.full((100, 4), 0.1))
    whole = Moments()
    for _ in range(10_000):
        whole = whole.merge(part)
    assert whole.n == 1_000_000
    assert whole.mean.tolist() == [0.1] * 4
    assert whole.std().tolist() == [0] * 4


# ------------------------------------------------------------------------------------------------ summaries


@settings(deadline=None)
@given(seeds, st.integers(0, 30))
def test_a_summary_is_that_of_the_objects_and_its_classes_merge_to_it(seed, m):
    detections = found(seed, m)
    summary = Summary.of(detections, LABELS, 0.4, "detector/1/abc")
    objects = detections.types()[detections.scores >= np.float32(0.4)].astype(np.float64)
    classes = detections.classes[detections.scores >= np.float32(0.4)]
    assert summary.whole.objects == len(objects)
    assert set(summary.classes) == {LABELS[c] for c in classes}
    close(summary.whole.moments, Moments.of(objects))
    if len(objects):
        np.testing.assert_array_equal(summary.whole.maxima, objects.max(axis=0))
    else:
        assert summary.whole.maxima is None
    some = np.isin(classes, [0, 2])
    part = summary.over(["Bicyclist", "Car", "Car park"])
    close(part.moments, Moments.of(objects[some]))
    assert part.objects == some.sum()


@pytest.mark.parametrize("m", [0, 1, 25])
def test_json_leads_back_to_the_very_same_numbers(m):
    summary = Summary.of(found(3, m), LABELS, 0.0, "detector/1/abc")
    text = summary.to_json()
    again = Summary.from_json(text)
    assert again.to_json() == text and again.model == "detector/1/abc"
    given = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert given["objects"] == m and (given["maxima"] is None) == (m == 0)
    assert given["moments"]["n"] == m and set(given["moments"]["mean"]) == set(TYPES)
    assert Summary.from_json(given).to_json() == text


def test_a_detector_without_class_variance_has_null_there():
    detections = found(4, 5)
    detections.class_uncertainties[:, 0] = math.nan
    text = Summary.of(detections, LABELS, 0.0).to_json()
    assert json.loads(text)["maxima"]["class_aleatoric"] is None and "NaN" not in text
    part = Summary.from_json(text).whole
    assert np.isnan(part.maxima[2]) and np.isnan(part.moments.mean[2]) and np.isfinite(part.moments.mean[3])
    assert Detections.from_array(detections.as_array()).types().shape == (5, 4)


def broken(**changes):
    given = json.loads(Summary.of(found(3, 6), LABELS, 0.0, "m").to_json())
    label = next(iter(given["classes"]))
    for path, value in changes.items():
        *way, last = path.split("__")
        place = given
        for step in way:
            place = place[label if step == "label" else step]
        place[last] = value
    return given


@pytest.mark.parametrize(
    "given",
    [
        "no JSON",
        "[]",
        {},
        {"model": "m", "objects": 1},
        broken(model=3),
        broken(classes=[]),
        broken(objects=99),
        broken(classes__label__maxima=None),
        broken(classes__label__moments={"n": 3}),
        broken(classes__label__moments__n=-1),
        broken(classes__label__moments__n=True),
        broken(classes__label__moments__mean__class_epistemic="much"),
        broken(classes__label__moments__m2__class_epistemic=-0.5),
        broken(classes__label__maxima={"class_epistemic": 1}),
        broken(classes__label__maxima__class_epistemic=math.inf),
        broken(classes__label__maxima__class_epistemic=1e200),  # whose square no float64 holds
        broken(classes__label__moments__m2__class_epistemic=10**400),
        broken(objects=10**30, classes__label__objects=10**30, classes__label__moments__n=10**30),
        # Null in one place only: its z would be no number, and the image in no list of the answer.
        broken(classes__label__maxima__class_epistemic=None),
        broken(classes__label__moments__mean__class_epistemic=None),
        "[" * 100_000,
    ],
)
def test_a_summary_that_detect_did_not_give_is_refused(given):
    with pytest.raises(InvalidArgument):
        Summary.from_json(given)


def test_parts_merge_with_none():
    part = Part.of(np.ones((2, 4)))
    assert Part().merge(part) is part and part.merge(Part()) is part
    assert Part().merge(Part()).maxima is None
