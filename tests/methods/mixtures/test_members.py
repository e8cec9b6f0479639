"""Plain detectors: suppression, matching of members, their mean and spread against a calculation by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.methods.mixtures import Options, Summary
from sluice.methods.mixtures.members import Members, Predictions, detections
from sluice.methods.mixtures.summaries import FAINT, TYPES, Detections, binary_entropy

OPTIONS = Options(min_score=0.1, object_score=0.1)


def predictions(rows):
    """Return the predictions of one image from rows (member, x0, y0, x1, y1, scores...)."""
    table = np.array(rows, np.float32)
    return Predictions(table[None, :, 1:5], table[None, :, 5:], table[None, :, 0].astype(np.int32))


def test_members_of_an_ensemble_are_matched_averaged_and_their_spread_is_that_of_offsets_from_the_mean():
    rows = [(0, 10, 10, 30, 50, 0.9), (1, 12, 10, 32, 50, 0.7), (1, 100, 100, 120, 120, 0.6)]
    [found] = detections(predictions(rows), Members("ensemble", 2), None, OPTIONS, [0])
    assert found.scores.tolist() == pytest.approx([0.8, 0.3])
    np.testing.assert_allclose(found.boxes[0], [11, 10, 31, 50], atol=1e-5)
    np.testing.assert_allclose(found.box_uncertainties[0, 4:], [(1 / 20 / 0.1) ** 2, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found.class_uncertainties[:, 1], [0.01, 0.09], atol=1e-6)
    assert np.isnan(found.box_uncertainties[:, :4]).all() and np.isnan(found.class_uncertainties[:, 0]).all()
    # The second member alone sees the other object: the first one disagrees by a side, and never by nothing.
    np.testing.assert_allclose(found.box_uncertainties[1, 4:], [50, 50, 0, 0], rtol=1e-5, atol=1e-9)


def test_a_single_network_has_no_uncertainty_at_all_and_is_suppressed_where_it_must_be():
    rows = [(0, 0, 0, 20, 20, 0.9, 0.0), (0, 1, 0, 21, 20, 0.8, 0.0), (0, 1, 0, 21, 20, 0.0, 0.7)]
    [found] = detections(predictions(rows), Members(), None, OPTIONS, [0, 1])
    assert found.classes.tolist() == [0, 1] and np.isnan(found.types()).all() and found.known() == ()
    [all_] = detections(predictions(rows), Members(suppress=False), None, OPTIONS, [0, 1])
    assert all_.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    summary = json.loads(Summary.of(found, ["Car", "Sign"], 0.1, "d").to_json())
    assert summary["uncertainties"] == []
    assert summary["maxima"]["score_entropy"] == pytest.approx(binary_entropy(np.array([0.7], np.float32))[0])
    assert Summary.from_json(summary).to_json() == Summary.of(found, ["Car", "Sign"], 0.1, "d").to_json()


@pytest.mark.parametrize("members", [Members(), Members("ensemble", 2)])
def test_boxes_too_faint_for_an_object_are_summed(members):
    rows = [(0, 50 * i, 0, 50 * i + 40, 40, score) for i, score in enumerate((0.9, 0.4, 0.3, 0.03, 0.004))]
    sent = predictions(rows)
    low = detections(sent, members, None, Options(min_score=FAINT, object_score=FAINT), [0])[0]
    one = detections(sent, members, None, Options(), [0])[0]
    assert one.faint == pytest.approx(low.scores[low.scores < 0.5].sum()) and one.faint > 0
    assert low.faint == 0 and (one.scores >= 0.5).all()


def test_binary_entropy_is_greatest_at_a_half_and_nothing_at_the_ends():
    np.testing.assert_allclose(
        binary_entropy(np.array([0, 0.5, 1, 0.1, 0.9])), [0, np.log(2), 0, 0.325083, 0.325083], atol=1e-6
    )


def test_stored_rows_may_lack_whole_types_only():
    row = np.arange(16, dtype=np.float32)[None] / 16
    row[0, 0] = 0
    for unknown in ([14], [6, 7, 8, 9, 14], range(6, 16)):
        other = row.copy()
        other[0, list(unknown)] = np.nan
        assert len(Detections.from_array(other)) == 1
    for unknown in ([6], [10], [15], [6, 7, 8, 9], [2], [1]):
        other = row.copy()
        other[0, unknown] = np.nan
        with pytest.raises(InvalidArgument, match="detect them again"):
            Detections.from_array(other)


def test_wrong_predictions_are_refused_by_name():
    good = dict(MEMBER_BOXES=np.zeros((1, 2, 4)), MEMBER_SCORES=np.zeros((1, 2, 3)), MEMBERS=np.zeros((1, 2), np.int32))
    assert len(Predictions.of(good).scores) == 1
    for name, array in (("MEMBER_BOXES", np.zeros((1, 3, 4))), ("MEMBERS", np.zeros((1, 3), np.int32))):
        with pytest.raises(InvalidArgument, match=name):
            Predictions.of({**good, name: array})
    with pytest.raises(InvalidArgument, match="scores 0 to 1"):
        Predictions.of({**good, "MEMBER_SCORES": np.full((1, 2, 3), 1.5)})
    with pytest.raises(InvalidArgument, match="needs MEMBERS"):
        Predictions.of({name: good[name] for name in ("MEMBER_BOXES", "MEMBER_SCORES")})
    assert Members.of_record(Members("ensemble", 3, False).as_record()) == Members("ensemble", 3, False)
    with pytest.raises(ValueError, match="export it again"):
        Members.of_record({"sluice.members": '{"count": 2}'})
    assert Members("dropout", 5).given == (TYPES[1], TYPES[3])
