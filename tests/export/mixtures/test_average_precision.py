"""Mean average precision: closed cases, a long-hand count, and pycocotools within its own interpolation."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.mixtures import average_precision as precision
from export.mixtures.average_precision import Found, Truth, average_precision, mean_average_precision, overlaps


def truth(*boxes, classes=None, ignored=None):
    n = len(boxes)
    return Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([0] * n if classes is None else classes, np.int64),
        np.array([False] * n if ignored is None else ignored, bool),
    )


def found(*rows, classes=None):
    """Return Found of these rows, each (score, box)."""
    return Found(
        np.array([box for _, box in rows], np.float32).reshape(-1, 4),
        np.array([0] * len(rows) if classes is None else classes, np.int64),
        np.array([score for score, _ in rows], np.float32),
    )


HERE, THERE, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (100, 100, 110, 110)


# ------------------------------------------------------------------------------------------------ closed cases


def test_overlaps_of_boxes_are_shared_area_over_joint_area():
    a = np.array([(0, 0, 4, 4), (0, 0, 4, 2)], np.float32)
    b = np.array([(0, 0, 4, 4), (2, 2, 6, 6), (4, 0, 8, 4)], np.float32)
    assert overlaps(a, b) == pytest.approx(np.array([[1, 4 / 28, 0], [0.5, 0, 0]]))


def test_finding_every_object_gives_one_and_finding_none_gives_zero():
    objects = [truth(HERE, THERE)]
    assert average_precision([found((0.9, HERE), (0.2, THERE))], objects, 0) == 1
    assert average_precision([found()], objects, 0) == 0
    assert average_precision([found((0.9, FAR))], objects, 0) == 0


def test_a_class_that_the_truth_lacks_has_no_average_precision_and_does_not_count():
    objects = [truth(HERE, classes=[2])]
    mean, each = mean_average_precision([found((0.5, HERE), classes=[2])], objects, 4)
    assert mean == 1 and each[2] == 1 and all(math.isnan(each[i]) for i in (0, 1, 3))
    mean, each = mean_average_precision([found((0.9, HERE))], [truth()], 2)
    assert math.isnan(mean) and all(math.isnan(v) for v in each)


def test_the_mean_is_over_classes_whatever_their_number_of_objects():
    objects = [truth(HERE, THERE, FAR, classes=[0, 0, 1])]
    mean, each = mean_average_precision([found((0.9, HERE), (0.8, THERE), classes=[0, 0])], objects, 2)
    assert each == [1, 0] and mean == 0.5


def test_an_overlap_at_the_threshold_is_a_hit_and_one_below_is_none():
    half = [found((0.9, (0, 0, 10, 5)))]
    assert average_precision(half, [truth(HERE)], 0, iou=0.5) == 1
    assert average_precision(half, [truth(HERE)], 0, iou=0.51) == 0


def test_a_wrong_detection_costs_only_what_comes_after_it():
    objects = [truth(HERE, THERE)]
    assert average_precision([found((0.9, HERE), (0.8, THERE), (0.1, FAR))], objects, 0) == 1
    between = found((0.9, HERE), (0.5, FAR), (0.1, THERE))
    assert average_precision([between], objects, 0) == pytest.approx((1 + 2 / 3) / 2)
    before = found((0.9, FAR), (0.5, HERE), (0.1, THERE))
    assert average_precision([before], objects, 0) == pytest.approx(2 / 3), "interpolated: the best from there on"


def test_the_second_detection_of_one_object_is_wrong():
    objects = [truth(HERE, THERE)]
    twice = found((0.9, HERE), (0.8, (0, 0, 10, 9)), (0.7, THERE))
    assert average_precision([twice], objects, 0) == pytest.approx((1 + 2 / 3) / 2)


def test_a_detection_takes_the_best_object_that_is_still_free():
    near = (0, 0, 10, 12)
    rows = found((0.9, (0, 0, 10, 11)), (0.8, (0, 0, 10, 11)))
    assert average_precision([rows], [truth(HERE, near)], 0) == 1


def test_what_lies_on_an_ignored_object_counts_neither_way():
    objects = [truth(HERE, THERE, ignored=[False, True])]
    rows = [found((0.9, THERE), (0.85, THERE), (0.8, HERE))]
    assert average_precision(rows, objects, 0) == 1
    assert average_precision([found((0.9, FAR), (0.8, HERE))], objects, 0) == 0.5
    assert math.isnan(average_precision(rows, [truth(THERE, ignored=[True])], 0))


def test_a_counted_object_is_preferred_to_an_ignored_one_that_fits_better():
    objects = [truth(HERE, (0, 0, 10, 9), ignored=[False, True])]
    assert average_precision([found((0.9, (0, 0, 10, 9)))], objects, 0) == 1


def test_classes_do_not_see_each_other():
    objects = [truth(HERE, classes=[1])]
    rows = [found((0.9, HERE), (0.3, HERE), classes=[0, 1])]
    assert average_precision(rows, objects, 1) == 1


def test_scores_rank_over_all_images_together():
    objects = [truth(HERE), truth(HERE)]
    rows = [found((0.2, HERE)), found((0.9, FAR), (0.8, HERE))]
    # Over both: wrong 0.9, right 0.8, right 0.2.
    assert average_precision(rows, objects, 0) == pytest.approx(2 / 3)
    with pytest.raises(ValueError):
        average_precision(rows[:1], objects, 0)


def test_equal_scores_keep_the_order_of_images_and_detections():
    objects = [truth(HERE), truth(HERE)]
    right_first = [found((0.5, HERE)), found((0.5, FAR))]
    wrong_first = [found((0.5, FAR)), found((0.5, HERE))]
    assert average_precision(right_first, objects, 0) == 0.5
    assert average_precision(wrong_first, objects, 0) == 0.25
    assert average_precision([found((0.5, FAR), (0.5, HERE))], [truth(HERE)], 0) == 0.5
    assert average_precision([found((0.5, HERE), (0.5, FAR))], [truth(HERE)], 0) == 1


# ------------------------------------------------------------------------------------------------ long-hand


def scene(seed, images=6, counted=True):
    """Draw random objects, and detections near them, on top of each other and far from any; all scores differ."""
    rng = np.random.default_rng(seed)
    all_found, all_truth = [], []
    for _ in range(images):
        n = int(rng.integers(0, 5))
        corner = rng.uniform(0, 60, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (n, 2))], 1)
        near = np.repeat(boxes, 2, 0) + rng.normal(0, 1.5, (2 * n, 4))
        stray = rng.uniform(0, 60, (3, 2))
        rows = np.concatenate([near, np.concatenate([stray, stray + rng.uniform(5, 40, (3, 2))], 1)])
        classes = rng.integers(0, 2, n)
        guessed = np.concatenate([np.repeat(classes, 2), rng.integers(0, 2, 3)])
        scores = rng.random(len(rows)) + np.repeat([0.4, 0.0], [2 * n, 3])
        shown = rng.random(len(rows)) < 0.7
        ignored = np.zeros(n, bool) if counted else rng.random(n) < 0.3
        all_truth.append(Truth(boxes, classes, ignored))
        all_found.append(Found(rows[shown], guessed[shown], scores[shown]))
    return all_found, all_truth


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def long_hand(all_found, all_truth, label, iou):
    """Sum recall steps of 1 / objects over the detections by score, each at the best precision from there on."""
    rows = []
    for i, f in enumerate(all_found):
        rows += [(f.scores[j], i, f.boxes[j]) for j in range(len(f.scores)) if f.classes[j] == label]
    rows.sort(key=lambda row: -row[0])
    taken, points, right, shown = set(), [], 0, 0
    objects = sum(int(((t.classes == label) & ~t.ignored).sum()) for t in all_truth)
    for _, i, box in rows:
        t = all_truth[i]
        fits = [(overlap(box, t.boxes[g]), g) for g in range(len(t.boxes)) if t.classes[g] == label]
        free = [(value, g) for value, g in fits if not t.ignored[g] and (i, g) not in taken and value >= iou]
        if free:
            taken.add((i, max(free)[1]))
            right += 1
        elif any(t.ignored[g] and value >= iou for value, g in fits):
            continue
        shown += 1
        points.append((right / objects, right / shown))
    return sum(
        max((p for r, p in points if r >= step / objects - 1e-12), default=0.0) for step in range(1, objects + 1)
    ) / objects  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), label=st.integers(0, 1), iou=st.sampled_from([0.3, 0.5, 0.75]))
def test_average_precision_is_that_of_a_long_hand_count(seed, label, iou):
    all_found, all_truth = scene(seed, counted=seed % 2 == 0)
    if not any(((t.classes == label) & ~t.ignored).any() for t in all_truth):
        assert math.isnan(average_precision(all_found, all_truth, label, iou))
        return
    assert average_precision(all_found, all_truth, label, iou) == pytest.approx(
        long_hand(all_found, all_truth, label, iou)
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_lies_between_zero_and_one_and_only_the_order_of_scores_matters(seed):
    all_found, all_truth = scene(seed)
    mean, _ = mean_average_precision(all_found, all_truth, 2)
    assert math.isnan(mean) or 0 <= mean <= 1
    other = [Found(f.boxes, f.classes, 5 * f.scores**3 - 2) for f in all_found]
    assert mean_average_precision(other, all_truth, 2)[0] == pytest.approx(mean, nan_ok=True)


# ------------------------------------------------------------------------------------------------ pycocotools


def coco(all_found, all_truth, iou):
    """Return the average precision of both classes by pycocotools, interpolated at 101 recalls."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries():
        for image, t in enumerate(all_truth, 1):
            for box, label in zip(t.boxes, t.classes, strict=True):
                w, h = float(box[2] - box[0]), float(box[3] - box[1])
                yield {"image_id": image, "category_id": int(label), "bbox": [*map(float, box[:2]), w, h]} | {
                    "area": w * h,
                    "iscrowd": 0,
                }

    results = []
    for image, f in enumerate(all_found, 1):
        for box, label, score in zip(f.boxes, f.classes, f.scores, strict=True):
            sides = [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]
            results.append({"image_id": image, "category_id": int(label), "bbox": sides, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {
            "images": [{"id": i} for i in range(1, len(all_truth) + 1)],
            "categories": [{"id": 0}, {"id": 1}],
            "annotations": [{"id": i, **entry} for i, entry in enumerate(entries(), 1)],
        }
        data.createIndex()
        judge = COCOeval(data, data.loadRes(results), "bbox")
        judge.params.iouThrs = np.array([iou])
        judge.evaluate()
        judge.accumulate()
    precision_at = judge.eval["precision"][0, :, :, 0, -1]  # [101, classes], all areas, 100 detections
    return [float(column.mean()) if column[0] > -1 else math.nan for column in precision_at.T]


@pytest.mark.parametrize("iou", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(4))
def test_pycocotools_agrees_within_its_interpolation_at_101_points(seed, iou):
    pytest.importorskip("pycocotools")
    all_found, all_truth = scene(seed, images=12)
    _, each = mean_average_precision(all_found, all_truth, 2, iou)
    # A falling curve's mean over 101 points differs from its area by a hundredth at most.
    assert each == pytest.approx(coco(all_found, all_truth, iou), abs=0.01, nan_ok=True)
    assert min(each) < 0.95 and max(each) > 0.15, "the test would compare nothing"


# ------------------------------------------------------------------------------------------------ CamVid


def test_the_truth_of_a_frame_are_its_components_and_small_ones_are_ignored():
    labels = np.full((60, 80), 3, np.uint8)
    labels[10:30, 10:40] = 8  # a car
    labels[40:50, 60:70] = 6  # a sign of just enough area
    labels[40:49, 5:16] = 10  # a rider just too small
    t = precision.truth_of(labels)
    assert t.boxes.tolist() == [[10, 10, 40, 30], [5, 40, 16, 49], [60, 40, 70, 50]]
    assert t.classes.tolist() == [0, 2, 3] and t.ignored.tolist() == [False, True, False]
    empty = precision.truth_of(np.full((60, 80), 3, np.uint8))
    assert empty.boxes.shape == (0, 4) and empty.classes.shape == empty.ignored.shape == (0,)
