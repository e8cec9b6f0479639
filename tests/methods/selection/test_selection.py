"""Selection against the long-hand answer, closed forms, and what must not change it."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import InvalidArgument
from sluice.methods import selection
from sluice.methods.mixtures.summaries import TYPES, Moments
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.choice import Best, k_centre
from sluice.methods.selection.options import Options
from sluice.methods.selection.pool import Statistics, statistics
from tests.made.uncertain_objects import LABELS, PUBLISHED, Picture, long_hand, pictures


def pool(images, **options):
    options = Options.from_json(options)
    return Candidates([image.candidate() for image in images], options), options


def select(images, **options):
    """Return the picks, Selected, with their ids."""
    frames, asked = pool(images, **options)
    picked = selection.select(frames, asked)
    return picked, frames.ids(picked.frames)


def agree(images, picked, ids, expected):
    """Require the same images in the same order, except that scores equal to rounding may change places."""
    scores = {id_: score for score, id_, _ in expected}
    assert len(ids) == len(set(ids)) == len(expected)
    np.testing.assert_allclose(picked.scores, [score for score, _, _ in expected], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose([scores[id_] for id_ in ids], picked.scores, rtol=1e-9, atol=1e-9)
    z = {id_: z for _, id_, z in expected}
    np.testing.assert_allclose(picked.z, np.array([z[id_] for id_ in ids]).reshape(-1, 4), rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------------ against long hand


WEIGHTS = [{}, {"Car": 0}, {"Pedestrian": 3, "Bicyclist": 0.25}, {"Car": 0, "Bicyclist": 0}]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("over_objects", ["max", "mean", "sum"])
@pytest.mark.parametrize("aggregate", ["max", "mean", "sum"])
@pytest.mark.parametrize("types", [TYPES, TYPES[1:3], TYPES[3:]])
def test_the_picks_are_those_of_the_long_hand_answer(aggregate, over_objects, types, weights):
    rule = {"aggregate": aggregate, "over_objects": over_objects}
    for seed in range(6):
        images = pictures(seed)
        picked, ids = select(images, types=list(types), class_weights=weights, **rule)
        agree(images, picked, ids, long_hand(images, types=types, weights=weights, **rule))


def test_an_image_scores_the_sum_over_its_objects_of_the_mean_over_the_types_unless_asked_otherwise():
    images = pictures(3, 30)
    usual, ids = select(images)
    said, same = select(images, over_objects="sum", aggregate="mean")
    assert ids == same and usual.scores.tolist() == said.scores.tolist()
    np.testing.assert_allclose(usual.scores, usual.z.mean(axis=1))
    published = [id_ for _, id_, _ in long_hand(images, **PUBLISHED)]
    assert select(images, **PUBLISHED)[1] == published and published != ids


@pytest.mark.parametrize("per_drive", [1, 2, 5])
def test_a_limit_per_drive_takes_the_best_of_each(per_drive):
    for seed in range(6):
        images = pictures(seed, 30)
        expected = long_hand(images, per_drive=per_drive)
        for n in (1, 3, 100):
            picked, ids = select(images, per_drive=per_drive, n=n)
            agree(images, picked, ids, expected[:n])


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.7, 50.0])
def test_a_threshold_takes_all_that_reach_it(threshold):
    images = pictures(3, 30)
    picked, ids = select(images, threshold=threshold)
    expected = [one for one in long_hand(images) if one[0] >= threshold]
    agree(images, picked, ids, expected)
    assert picked.reached == len(expected)


def test_a_threshold_is_inclusive():
    images = pictures(3, 30)
    score = float(select(images)[0].scores[4])
    assert len(select(images, threshold=score)[1]) == 5


VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), min_size=4, max_size=4)
HOW = ["max", "mean", "sum"]
IMAGES = st.lists(st.lists(st.tuples(st.sampled_from(LABELS), VALUES), max_size=4), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(IMAGES, st.sampled_from(HOW), st.sampled_from(HOW), st.sampled_from(WEIGHTS))
def test_whatever_the_pool_the_picks_are_those_of_the_long_hand_answer(objects, over_objects, aggregate, weights):
    """Cover equal values, single objects and an empty pool, too."""
    images = [Picture(f"{i}", row) for i, row in enumerate(objects)]
    picked, ids = select(images, over_objects=over_objects, aggregate=aggregate, class_weights=weights)
    expected = long_hand(images, aggregate, weights=weights, over_objects=over_objects)
    agree(images, picked, ids, expected)
    assert picked.without == len(images) - len(expected)
    assert len(picked.reasons) == len(ids)


def test_equal_scores_come_in_the_order_of_their_ids():
    images = [Picture(id_, [("Car", [1.0, 2, 3, 4])]) for id_ in ("c", "b", "a", "B", "ä", "10", "9")]
    images.append(Picture("other", [("Car", [0.5, 1, 1, 1])]))
    assert select(images, n=4)[1] == sorted(image.id for image in images)[:4]


# ------------------------------------------------------------------------------------------------ closed forms


def test_z_scores_of_the_pool_have_mean_0_and_deviation_1():
    images = pictures(5, 50)
    frames, _ = pool(images)
    of = statistics(frames)
    values = np.array([row for image in images for _, row in image.objects])
    z = of.z(values)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)


def test_two_objects_lie_one_deviation_to_either_side():
    picked, ids = select([Picture("low", [("Car", [1.0] * 4)]), Picture("high", [("Car", [3.0] * 4)])])
    assert ids == ["high", "low"]
    np.testing.assert_allclose(picked.scores, [1, -1])
    np.testing.assert_allclose(picked.statistics.moments.mean, 2)
    np.testing.assert_allclose(picked.statistics.std(), 1)
    np.testing.assert_allclose(picked.maxima, [[3] * 4, [1] * 4])


def test_one_outlier_among_n_scores_the_root_of_n_less_one():
    """Score n - 1 zeros and a one: mean 1 / n, deviation sqrt(n - 1) / n."""
    images = [Picture(f"{i}", [("Car", [0, 0, float(i == 7), 0])]) for i in range(26)]
    picked, ids = select(images, n=1, **PUBLISHED)
    assert ids == ["7"] and picked.scores[0] == pytest.approx(5)
    picked, ids = select(images, n=1)  # the other types have no spread, so the mean is over one type
    assert ids == ["7"] and picked.scores[0] == pytest.approx(5)


@pytest.mark.parametrize("t", range(4))
@pytest.mark.parametrize(("a", "b"), [(3.0, 0.0), (0.01, 5.0), (1e4, -2e4)])
def test_the_order_does_not_change_when_one_type_is_measured_in_other_units(t, a, b):
    """Avoid units that lose digits: values are float32 on the way, and such units would change the numbers."""
    images = pictures(11, 40)
    other = [
        replace(image, objects=[(label, [*v[:t], a * v[t] + b, *v[t + 1 :]]) for label, v in image.objects])
        for image in images
    ]
    (one, ids), (two, others) = select(images), select(other)
    np.testing.assert_allclose(one.scores, two.scores, rtol=2e-3, atol=2e-3)
    gaps = np.diff(one.scores)
    if (np.abs(gaps) > 5e-3).all():
        assert ids == others
    assert ids[:5] == others[:5]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from([0.5, 2.0, 8.0]), st.integers(-64, 64))
def test_the_order_is_the_same_in_any_units_that_are_exact(seed, t, a, b):
    """Use multiples of 1/64 up to 8: scaled by a power of two and moved by a whole number they are exact in float32."""
    random = np.random.default_rng(seed)
    images = [
        Picture(f"{i}", [("Car", (random.integers(0, 512, 4) / 64).tolist()) for _ in range(random.integers(1, 4))])
        for i in range(10)
    ]
    other = [
        replace(image, objects=[(label, [*v[:t], a * v[t] + b, *v[t + 1 :]]) for label, v in image.objects])
        for image in images
    ]
    one, two = long_hand(images), select(other)
    np.testing.assert_allclose([score for score, _, _ in one], two[0].scores, atol=1e-9)


def test_the_z_scores_of_a_pool_sum_to_0_so_a_crowd_is_not_preferred_for_its_number():
    images = pictures(5, 50)
    assert select(images)[0].scores.sum() == pytest.approx(0, abs=1e-9)
    low = [Picture(f"low {i}", [("Car", [1.0] * 4)] * (i + 1)) for i in range(3)]
    high = [Picture(f"high {i}", [("Car", [3.0] * 4)] * (i + 1)) for i in range(3)]
    assert select([*low, *high])[1] == ["high 2", "high 1", "high 0", "low 0", "low 1", "low 2"]
    assert select([*low, *high], over_objects="mean")[0].scores.tolist() == [1, 1, 1, -1, -1, -1]


def test_a_part_of_the_pool_ranks_otherwise_by_itself():
    """Show why statistics are kept and versioned: against themselves alone, the same two images change places."""
    a, b = Picture("a", [("Car", [5.0, 1, 0, 0])]), Picture("b", [("Car", [1.0, 3, 0, 0])])
    others = [Picture(f"{i}", [("Car", [float(i % 5), 0.01 * (i % 3), 0, 0])]) for i in range(30)]
    _, ids = select([a, b, *others], **PUBLISHED)
    _, both = select([a, b, Picture("c", [("Car", [2.0, 2.9, 0, 0])])], **PUBLISHED)
    assert [id_ for id_ in ids if id_ in "ab"] == ["b", "a"]
    assert [id_ for id_ in both if id_ in "ab"] == ["a", "b"]


# ------------------------------------------------------------------------------- the four ends of the published code


def test_a_pool_without_any_object_picks_nothing_and_lists_all():
    images = [Picture(id_) for id_ in "abc"]
    picked, ids = select(images)
    assert ids == [] and picked.scores.shape == (0,) and picked.z.shape == (0, 4) and picked.without == 3
    assert picked.statistics.moments.n == 0 and picked.statistics.frames == 3
    json.dumps(picked.statistics.to_json(), allow_nan=False)


def test_exactly_one_object_scores_0():
    picked, ids = select([Picture("a", [("Car", [1.0, 2, 3, 4])]), Picture("b")])
    assert ids == ["a"] and picked.scores.tolist() == [0] and picked.z.tolist() == [[0] * 4]
    assert "the same for all 1 objects" in picked.reasons[0]


def test_a_type_without_spread_decides_nothing():
    images = [Picture(f"{i}", [("Car", [0.1, float(i), 0.1, 0.1])]) for i in range(9)]
    picked, ids = select(images)
    assert ids[0] == "8" and (picked.z[:, [0, 2, 3]] == 0).all()
    assert picked.scores[-1] < 0  # the others' 0 does not hide that the last one lies below the pool
    # 0.1 is no binary fraction: its mean over 9 is not itself, and the difference must not be taken for a spread
    assert picked.statistics.std()[0] == 0


def test_any_number_of_objects_in_an_image_is_welcome():
    many = Picture("many", [("Car", [float(i), 0, 0, 0]) for i in range(1000)])
    picked, ids = select([many, Picture("few", [("Car", [500.0, 0, 0, 0])])], **PUBLISHED)
    assert ids == ["many", "few"] and picked.statistics.moments.n == 1001
    picked, ids = select([many, Picture("few", [("Car", [500.0, 0, 0, 0])])])
    assert ids == ["few", "many"] and picked.scores.sum() == pytest.approx(0, abs=1e-9)


def test_no_truth_is_asked_for():
    """Select from summaries alone: no label and no true box of an image is needed."""
    frames, _ = pool(pictures(1))
    assert not any("truth" in name or "target" in name for name in vars(frames))


# ------------------------------------------------------------------------------------------------ statistics


def parts(images, k):
    return [images[i::k] for i in range(k)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.randoms())
def test_statistics_of_parts_merge_to_those_of_the_whole_in_any_order(seed, k, random):
    images = pictures(seed, 20)
    whole = statistics(pool(images)[0])
    some = [statistics(pool(part)[0]).to_json() for part in parts(images, k)]
    in_order = Statistics.from_json(some)
    random.shuffle(some)
    merged = Statistics.from_json(json.loads(json.dumps(some)))
    assert merged.to_json() == in_order.to_json()  # to the last bit, however they come
    assert merged.frames == whole.frames and merged.moments.n == whole.moments.n
    np.testing.assert_allclose(merged.moments.mean, whole.moments.mean, rtol=1e-13)
    np.testing.assert_allclose(merged.moments.m2, whole.moments.m2, rtol=1e-12)


def test_workers_that_share_statistics_pick_as_one_would():
    images = pictures(2, 40)
    _, ids = select(images, n=7)
    some = parts(images, 3)
    shared = [select(part)[0].statistics.to_json() for part in some]
    best = []
    for part in some:
        picked, chosen = select(part, n=7, statistics=shared)
        best += zip(-picked.scores, chosen, strict=True)
    assert [id_ for _, id_ in sorted(best)[:7]] == ids


def test_a_whole_pool_streamed_in_small_batches_gives_the_same(monkeypatch):
    from sluice.methods.selection import candidates

    images = pictures(4, 40)
    whole, ids = select(images, n=9, per_drive=4)
    monkeypatch.setattr(candidates, "IMAGES", 3)
    small, again = select(images, n=9, per_drive=4)
    assert ids == again and whole.without == small.without
    np.testing.assert_allclose(whole.scores, small.scores, rtol=1e-12)


def test_statistics_of_anything_else_are_refused_with_the_remedy():
    images = pictures(6)
    given_ = select(images)[0].statistics.to_json()
    assert select(images, statistics=given_)[1] == select(images)[1]
    for change, words in (
        (dict(given_, detector="another/1/aaaaaaaaaaaa"), "another/1/aaaaaaaaaaaa"),
        (dict(given_, pool=["0123456789abcdef"]), "have changed since"),
        (dict(given_, left_out=["Car"]), "all classes but Car"),
        (dict(given_, object_score=0.6), "score of 0.6 or more"),
    ):
        with pytest.raises(InvalidArgument, match=words) as error:
            select(images, statistics=change)
        assert "leave `statistics` out" in str(error.value)
    with pytest.raises(InvalidArgument, match="have changed since"):
        select(images[1:], statistics=given_)
    with pytest.raises(InvalidArgument, match="have changed since"):
        select(images, statistics=given_, labelled=[images[0].id])


def test_frozen_judges_images_by_another_pool_and_says_so():
    fleet, drive = pictures(6, 60), [replace(image, id=f"drive {image.id}") for image in pictures(7, 20)]
    kept = select(fleet)[0].statistics.to_json()
    with pytest.raises(InvalidArgument, match="judged by another pool, add `frozen`"):
        select(drive, statistics=kept)
    picked, ids = select(drive, statistics=kept, frozen=True)
    agree(drive, picked, ids, long_hand(drive, pool=fleet))
    assert picked.frozen and picked.statistics.to_json() == kept and picked.judged == len(drive)
    assert all("the other pool's mean" in reason for reason in picked.reasons)
    wanted = {id_: score for score, id_, _ in long_hand(drive, pool=fleet)}
    # A single image, which by itself could not be told from any other.
    for image in drive:
        alone, _ = select([image], statistics=kept, frozen=True)
        np.testing.assert_allclose(alone.scores, [wanted[image.id]] if image.objects else [], rtol=1e-9)
    # Those of its own pool are not another's, and the answer does not say that they were.
    own, _ = select(fleet, statistics=kept, frozen=True)
    assert not own.frozen and own.judged == len(fleet) and "the pool's mean" in own.reasons[0]


def test_frozen_statistics_must_be_of_such_objects_and_differ():
    fleet, drive = pictures(6, 60), [replace(image, id=f"drive {image.id}") for image in pictures(7, 20)]
    kept = select(fleet)[0].statistics.to_json()
    for change, words in (
        (dict(kept, detector="another/1/aaaaaaaaaaaa"), "another/1/aaaaaaaaaaaa"),
        (dict(kept, left_out=["Car"]), "all classes but Car"),
        (dict(kept, object_score=0.6), "score of 0.6 or more"),
        (dict(kept, n=0), "0 objects without any difference"),
        (dict(kept, m2=dict.fromkeys(TYPES, 0.0)), "without any difference"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            select(drive, statistics=change, frozen=True)
    with pytest.raises(InvalidArgument, match="give them as `statistics`"):
        Options.from_json({"frozen": True})
    with pytest.raises(InvalidArgument, match="frozen is true or false"):
        Options.from_json({"frozen": "yes", "statistics": kept})


def test_summaries_that_count_other_objects_are_not_mixed():
    images = pictures(6)
    other = json.loads(images[0].candidate())
    other["summary"]["object_score"] = 0.3
    given_ = [json.dumps(other), *(image.candidate() for image in images[1:])]
    with pytest.raises(InvalidArgument, match=r"object_score 0\.3, 0\.5.*detect` again"):
        Candidates(given_, Options())
    del other["summary"]["object_score"]
    with pytest.raises(InvalidArgument, match=r"candidate 0: .*older detector.*detect` again"):
        Candidates([json.dumps(other)], Options())
    assert pool(images)[0].object_score == 0.5


@pytest.mark.parametrize("wrong", [3, {}, [], "text", {"n": 1}, [{}], {"detector": 3}])
def test_what_are_no_statistics_is_refused(wrong):
    with pytest.raises(InvalidArgument, match="statistics"):
        Options.from_json({"statistics": wrong})


def test_a_part_of_the_pool_merges_once():
    one = select(pictures(6))[0].statistics
    with pytest.raises(InvalidArgument, match="merge each part of a pool once"):
        one.merge(one)
    with pytest.raises(InvalidArgument, match="detector"):
        one.merge(replace(one, detector="x", pool=("y",)))


def test_statistics_outlive_json():
    one = select(pictures(6), class_weights={"Car": 0})[0].statistics
    again = Statistics.from_json(json.loads(json.dumps(one.to_json())))
    assert again.to_json() == one.to_json() and again.left_out == ("Car",)
    assert set(one.to_json()["std"]) == set(TYPES)


# ------------------------------------------------------------------------------------------------ types and classes


def test_a_detector_without_class_variances_is_ranked_by_what_it_gives():
    images = [Picture(f"{i}", [("Car", [float(i), 0.5 * i, math.nan, 0.0])]) for i in range(4)]
    picked, ids = select(images, n=1)
    assert ids == ["3"] and math.isnan(picked.z[0, 2]) and math.isnan(picked.maxima[0, 2])
    with pytest.raises(InvalidArgument, match="gives no class_aleatoric"):
        select(images, types=["class_aleatoric", "class_epistemic"])


@settings(max_examples=50, deadline=None)
@given(st.floats(-5, 5), st.floats(0.01, 100), st.floats(1, 10))
def test_a_greater_weight_never_lets_an_object_sink(z, weight, more):
    row = np.full((1, 4), z)
    assert (selection.weighted(row, np.array([weight * more])) >= selection.weighted(row, np.array([weight]))).all()
    assert (selection.weighted(row, np.array([1.0])) == row).all()


def test_a_class_of_weight_0_counts_nowhere():
    images = [Picture("car", [("Car", [9.0] * 4)]), Picture("both", [("Car", [7.0] * 4), ("Pedestrian", [1.0] * 4)])]
    images += [Picture("walker", [("Pedestrian", [3.0] * 4)])]
    picked, ids = select(images, class_weights={"Car": 0})
    assert ids == ["walker", "both"] and picked.maxima[1].tolist() == [1.0] * 4
    assert picked.without == 1 and picked.statistics.moments.n == 2
    assert "Pedestrian" in picked.reasons[1]


def test_what_labels_mend_is_told_first_also_where_noise_in_the_picture_decided():
    images = [Picture(f"{i}", [("Car", [0.1 * i, 0.1 * i, 1.0, 1.0])]) for i in range(10)]
    images.append(Picture("noisy", [("Car", [9.0, 0.5, 1.0, 1.0]), ("Bicyclist", [0.1, 1.2, 1.0, 1.0])]))
    reason = select(images, n=1, **PUBLISHED)[0].reasons[0]
    doubt, noise = reason.split("; ")
    assert doubt.startswith("location_epistemic of a Bicyclist is ") and "which labels mend" in doubt
    assert noise.startswith("ranked by location_aleatoric of a Car is ") and "which labels do not mend" in noise
    alone = select(images, n=1, types=["location_aleatoric"], **PUBLISHED)[0].reasons[0]
    assert alone.startswith("location_aleatoric of a Car is ") and "which labels do not mend" in alone


def test_every_pick_says_why():
    images = [Picture(f"{i}", [("Car", [1.0, 0.1 * i, 1.0, 1.0])]) for i in range(10)]
    images.append(Picture("odd", [("Car", [1.0] * 4), ("Bicyclist", [1.0, 3.0, 1.0, 1.0])]))
    picked, ids = select(images, n=2, **PUBLISHED)
    assert ids[0] == "odd"
    assert picked.reasons[0].startswith("location_epistemic of a Bicyclist is ") and "against" in picked.reasons[0]
    assert f"{picked.scores[0]:.2f} standard deviations above" in picked.reasons[0]
    assert "below the pool's mean" in select(images, **PUBLISHED)[0].reasons[-1]
    images.append(Picture("even", [("Car", [0.5] * 4)]))
    rule = {"over_objects": "max", "aggregate": "mean"}
    weighted = select(images, n=1, class_weights={"Bicyclist": 2}, **rule)[0]
    assert "the weight of Bicyclist is 2" in weighted.reasons[0] and "the mean over 4 types" in weighted.reasons[0]


def test_a_sum_says_how_much_of_it_labels_mend_and_which_object_stands_out():
    images = [Picture(f"{i}", [("Car", [0.1 * i, 0.2 * i, i % 3, 2.0 - 0.1 * i])]) for i in range(10)]
    images.append(Picture("two", [("Car", [9.0, 1.5, 1.0, 1.0]), ("Bicyclist", [0.1, 1.2, 2.0, 1.0])]))
    picked, ids = select(images, n=1)
    z, score = picked.z[0], picked.scores[0]
    assert ids == ["two"]
    whole, most = picked.reasons[0].split("; ")
    assert whole == (
        f"{score:.2f} standard deviations above the pool's mean, the sum over its 2 objects of the mean over 4 types: "
        f"{(z[1] + z[3]) / 4:+.2f} of the network's doubt, which labels mend, {(z[0] + z[2]) / 4:+.2f} of noise in the "
        "picture, which labels do not mend"
    )
    assert most.startswith("most of all location_aleatoric of a Car is ") and "(9 against " in most
    last = select(images)[0].reasons[-1]
    assert "below the pool's mean, the mean over 4 types of its one object: " in last
    (one,) = select(images, n=1, over_objects="mean", types=["class_epistemic"], class_weights={"Car": 2})[0].reasons
    assert "of its one object: the network's doubt, which labels mend; most of all class_epistemic of a Car" in one
    assert one.endswith("; the weight of Car is 2")
    (most,) = select(images, n=1, aggregate="max")[0].reasons
    assert "the sum over its 2 objects of location_aleatoric: noise in the picture" in most


# ------------------------------------------------------------------------------------------------ the best of a stream


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30),
    st.integers(1, 8),
    st.none() | st.integers(1, 3),
    st.integers(1, 7),
)
def test_the_best_of_a_stream_are_the_best_of_all(rows, n, per_drive, size):
    best = Best(n, per_drive)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        number = np.arange(start, start + len(some))
        score, drive = (np.array([row[i] for row in some]) for i in (0, 1))
        keep = score >= best.floor()
        best.add(score[keep].astype(float), number[keep], number[keep], drive[keep])
    expected, count = [], {}
    for i, (_, drive) in sorted(enumerate(rows), key=lambda one: (-one[1][0], one[0])):
        count[drive] = count.get(drive, 0) + 1
        if per_drive is None or count[drive] <= per_drive:
            expected.append(i)
    assert best.frame.tolist() == expected[:n]
    assert len(best.frame) <= n


# ------------------------------------------------------------------------------------------------ diversity


def long_hand_k_centre(vectors, n):
    chosen = [0]
    while len(chosen) < min(n, len(vectors)):
        best, at = -1.0, None
        for i in range(len(vectors)):
            if i not in chosen:
                nearest = min(math.dist(vectors[i], vectors[c]) for c in chosen)
                if nearest > best + 1e-9:
                    best, at = nearest, i
        chosen.append(at)
    return chosen


def radius(vectors, chosen):
    return max(min(math.dist(v, vectors[c]) for c in chosen) for v in vectors)


@pytest.mark.parametrize("seed", range(12))
def test_k_centre_is_the_greedy_choice_and_at_most_twice_the_best_there_is(seed):
    vectors = np.random.default_rng(seed).standard_normal((9, 3)).astype(np.float32)
    for n in (1, 2, 3, 4, 9, 20):
        chosen, apart = k_centre(vectors, n)
        assert chosen.tolist() == long_hand_k_centre(vectors.tolist(), n)
        assert apart[0] == math.inf and (np.diff(apart[1:]) <= 1e-9).all()
        if n < 5:
            least = min(radius(vectors.tolist(), some) for some in itertools.combinations(range(9), n))
            assert radius(vectors.tolist(), chosen.tolist()) <= 2 * least + 1e-6


def test_k_centre_takes_equal_vectors_last_and_in_their_order():
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, -1]], np.float32)
    assert k_centre(vectors, 5)[0].tolist() == [0, 2, 4, 1, 3]
    assert k_centre(np.ones((3, 2), np.float32), 3)[0].tolist() == [0, 1, 2]


def diverse(images, vectors, **options):
    options = Options.from_json(options)
    given_ = [image.candidate(descriptor=list(map(float, v))) for image, v in zip(images, vectors, strict=True)]
    frames = Candidates(given_, options)
    picked = selection.select(frames, options)
    return picked, frames.ids(picked.frames)


def test_a_diverse_selection_leaves_what_looks_alike():
    """Score ten frames of one scene highest, two others lower: three picks show three scenes, the best first."""
    images = [Picture(f"{i:02}", [("Car", [20.0 - i] * 4)]) for i in range(12)]
    vectors = [[1, 0, 0]] * 10 + [[0, 1, 0], [0, 0, 1]]
    assert diverse(images, vectors, n=3)[1] == ["00", "01", "02"]
    picked, ids = diverse(images, vectors, n=3, diversity=4)
    assert ids == ["00", "10", "11"]
    assert "1.41 from the earlier pick that looks most like it" in picked.reasons[1]
    assert "looks" not in picked.reasons[0]
    assert diverse(images, vectors, n=3, diversity={"of": 3.4})[1] == ["00", "10", "01"]  # the best 11 only
    assert sorted(diverse(images, vectors, n=3, diversity=1)[1]) == ["00", "01", "02"]


def test_a_diverse_selection_keeps_the_limit_per_drive():
    images = [Picture(f"{i:02}", [("Car", [20.0 - i] * 4)], "ab"[i % 2]) for i in range(12)]
    _, ids = diverse(images, np.eye(12), n=6, diversity=2, per_drive=2)
    assert len(ids) == 4 and sorted(ids) == ["00", "01", "02", "03"]


def test_diversity_without_descriptors_says_what_is_missing():
    with pytest.raises(InvalidArgument, match="needs every candidate's descriptor"):
        select(pictures(1), n=2, diversity=2)
    with pytest.raises(InvalidArgument, match="one length"):
        diverse(pictures(1, 4, most=1), [[1, 2], [1], [2, 3], [1]], n=2, diversity=2)
    for wrong in ([], [math.nan], [None], [{}], [[1], [2, 3]], ["1"], [10**400], {"a": 1}):
        with pytest.raises(InvalidArgument, match="candidate 0: its descriptor is a list of numbers"):
            Candidates([pictures(1)[0].candidate(descriptor=wrong)], Options())
    with pytest.raises(InvalidArgument, match="at most 10,000"):
        select(pictures(1), n=5000, diversity=5)


# ------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n is a whole number from 1 to 10000, or null; got 0"),
        ({"n": 2.5}, "n is a whole"),
        ({"n": 10_001}, "n is a whole"),
        ({"n": 5, "threshold": 1}, "not both"),
        ({"threshold": math.nan}, "threshold is a finite number"),
        ({"threshold": 10**400}, "threshold is a finite number"),
        ({"object_score": 10**400}, "object_score is a number from 0 to 1"),
        ({"threshold": 1, "diversity": 2}, "give n instead"),
        ({"diversity": 0.5}, "diversity is a finite number of 1 or more"),
        ({"diversity": {"off": 2}}, "diversity is"),
        ({"aggregate": "median"}, "max, mean, sum"),
        ({"types": ["location"]}, "location_aleatoric"),
        ({"types": []}, "types is a list of some of"),
        ({"types": "class_aleatoric"}, "types is a list"),
        ({"class_weights": {"Car": -1}}, "Car.*or 0 to leave the class out; got -1"),
        ({"class_weights": {"Car": 1e-9}}, "Car.*from 1e-06"),
        ({"class_weights": {"Car": math.nan}}, "Car.*got nan"),
        ({"class_weights": {"Car": None}}, "Car.*got None"),
        ({"class_weights": {"Car": True}}, "Car.*got True"),
        ({"class_weights": ["Car"]}, "object of class names"),
        ({"per_drive": 0}, "per_drive"),
        ({"labelled": "a"}, "labelled is a list"),
        ({"labelled_tag": 3}, "labelled_tag is a text"),
        ({"object_score": 2}, "from 0 to 1"),
        ({"listed": -1}, "listed"),
        ({"drives": "north"}, "drives is a list"),
        ({"k": 3}, "OPTIONS has 'k'; known are: n, threshold"),
        ([], "JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_options_that_are_wrong_say_what_is_expected(options, words):
    with pytest.raises(InvalidArgument, match=words):
        Options.from_json(options)


def test_weights_must_fit_the_classes():
    with pytest.raises(InvalidArgument, match="has Tram; the detector knows Car, Pedestrian"):
        Options(class_weights={"Tram": 2}).check_classes(LABELS)
    with pytest.raises(InvalidArgument, match="leaves every class out"):
        Options(class_weights=dict.fromkeys(LABELS, 0)).check_classes(LABELS)
    assert Options(class_weights={"Car": 2}).weights(LABELS).tolist() == [2, 1, 1]


def test_moments_that_nobody_measured_are_none():
    assert Statistics("d", ("p",), (), None, 0, Moments()).z(np.ones((2, 4))).tolist() == [[0] * 4] * 2
