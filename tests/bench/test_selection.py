"""The benchmark of selection: errors counted by hand, orders in closed form, and scores as `select` gives them."""

import numpy as np
import pytest

from bench.selection.errors import errors
from bench.selection.orders import RULES, differences, met, named, ranks, scores, spearman
from export.training import camvid
from sluice.methods import selection
from sluice.methods.mixtures.summaries import Detections
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options
from tests.made.uncertain_objects import pictures

CAR, PERSON = 0, 1  # as the detector numbers them


def frame(*boxes):
    """Return labels, uint8 [100, 200]: cars at these corners on a road."""
    labels = np.full((100, 200), camvid.CLASSES.index("Road"), np.uint8)
    for x0, y0, x1, y1 in boxes:
        labels[y0:y1, x0:x1] = camvid.CLASSES.index("Car")
    return labels


def found(*boxes):
    """Return detections of (class, score, x0, y0, x1, y1)."""
    rows = np.zeros((len(boxes), 16), np.float32)
    rows[:, :6] = np.array(boxes, np.float32).reshape(-1, 6)
    return Detections.from_array(rows)


def counted(boxes, labels):
    got = errors(found(*boxes), labels)
    return got.missed, got.false, got.misplaced, got.objects


def test_errors_are_missed_false_and_misplaced_boxes():
    labels = frame((10, 10, 50, 50), (100, 10, 140, 50))
    first, second = (CAR, 0.9, 10, 10, 50, 50), (CAR, 0.8, 100, 10, 140, 50)
    assert counted([], labels) == (2, 0, 0, 2)
    assert counted([first, second], labels) == (0, 0, 0, 2)
    assert counted([first, first], labels) == (1, 1, 0, 2)  # the second box on one object is false
    assert counted([(PERSON, *first[1:]), second], labels) == (1, 1, 0, 2)
    assert counted([first, (CAR, 0.7, 125, 10, 165, 50)], labels) == (0, 0, 1, 2)  # a quarter of it overlaps
    assert counted([(CAR, 0.9, 60, 60, 90, 90)], labels) == (2, 1, 0, 2)
    labels[60:90, 60:90] = camvid.UNLABELLED
    assert counted([(CAR, 0.9, 60, 60, 90, 90)], labels) == (2, 0, 0, 2)
    tiny = frame((10, 10, 17, 17))  # of 49 pixels, which the judge ignores
    assert counted([(CAR, 0.9, 10, 10, 17, 17)], tiny) == counted([], tiny) == (0, 0, 0, 0)


def test_orders_are_measured_in_closed_form():
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert ranks(values).tolist() == [2.5, 0, 2.5, 1]
    assert spearman(values, -values) == pytest.approx(-1) and spearman(values, np.ones(4)) == 0
    errors_, boxes = np.array([4.0, 0, 0, 0]), np.ones(4)
    assert met(np.array([1.0, 0, 0, 0]), errors_, boxes) == pytest.approx(0.875)  # all errors in the first quarter
    assert met(np.array([-1.0, 0, 0, 0]), errors_, boxes) == pytest.approx(0.125)
    assert met(np.arange(4.0), np.ones(4), np.ones(4)) == pytest.approx(0.5)
    low, high = differences(errors_, -errors_, np.arange(4.0, 0, -1), boxes, lambda s, e, b: spearman(s, e), 50)
    assert low >= 0 and high <= 2
    assert differences(errors_, errors_, errors_ + 1, boxes, met, 50) == (0, 0)


def test_a_rule_scores_frames_as_select_does():
    images = [one for one in pictures(4, 20) if one.objects]
    for rule in (RULES[0], ("sum", "mean", (0, 1, 2, 3))):
        asked = Options(over_objects=rule[0], aggregate=rule[1])
        pool = Candidates([one.candidate() for one in images], asked)
        picked = selection.select(pool, asked)
        expected = dict(zip(pool.ids(picked.frames), picked.scores, strict=True))
        got = scores([one.detections() for one in images], rule)
        np.testing.assert_allclose(got, [expected[one.id] for one in images], rtol=1e-9, atol=1e-9)
    assert len({named(rule) for rule in RULES}) == len(RULES)
