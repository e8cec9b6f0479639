"""A detector without uncertainties: images are ranked by the binary entropy of their objects' scores, which is said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.methods.mixtures.summaries import Detections, Summary, binary_entropy
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options
from sluice.methods.selection.pool import Statistics
from sluice.wire import picks
from tests.made.uncertain_objects import PUBLISHED

LABELS = ("Car", "Sign")


def found(scores, types=None):
    """Return detections with these scores and classes 0, 1, 0, ...; types: their ten uncertainties, or NaN."""
    rows = np.full((len(scores), 16), np.nan, np.float32)
    rows[:, 0], rows[:, 1], rows[:, 2:6] = np.arange(len(scores)) % 2, scores, (0, 0, 9, 9)
    if types is not None:
        rows[:, 6:] = types
    return Detections.from_array(rows)


def candidate(id_, scores, model="d", types=None):
    summary = Summary.of(found(scores, types), LABELS, 0.5, model, None if types is not None else ())
    return json.dumps({"id": id_, "summary": json.loads(summary.to_json())})


SENT = {"sure": [0.99, 0.97], "doubtful": [0.95, 0.52], "between": [0.8], "empty": []}


def asked(options=None):
    chosen = Options.from_json(options or {})
    answer = picks.answer(Candidates([candidate(id_, scores) for id_, scores in SENT.items()], chosen), chosen)
    return answer, json.loads(answer["SEARCHED"][0])


def test_the_most_doubtful_score_is_first_and_the_answer_says_what_ranked_it():
    answer, searched = asked(PUBLISHED)
    assert [one.decode() for one in answer["IDS"]] == ["doubtful", "between", "sure"]
    every = binary_entropy(np.array([score for scores in SENT.values() for score in scores], np.float32))
    z = (binary_entropy(np.float32([0.52])) - every.mean()) / every.std()
    np.testing.assert_allclose(answer["SCORES"][0], z[0], rtol=1e-5)
    assert answer["Z"].shape == answer["MAXIMA"].shape == (3, 4) and np.isnan(answer["Z"]).all()
    assert searched["ranked_by"] == "score_entropy" and searched["without_objects"] == 1
    reason = answer["REASONS"][0].decode()
    assert reason.startswith("score_entropy of a Sign is") and "gives no uncertainties" in reason
    answer, _ = asked()
    assert [one.decode() for one in answer["IDS"]] == ["doubtful", "between", "sure"]
    z = (every - every.mean()) / every.std()
    np.testing.assert_allclose(answer["SCORES"], [z[2] + z[3], z[4], z[0] + z[1]], rtol=1e-5)
    reason = answer["REASONS"][0].decode()
    assert "the sum over its 2 objects of score_entropy: the binary entropy of the score, as the detector" in reason
    told = json.loads(answer["STATISTICS"][0])
    assert set(told["mean"]) == {"score_entropy"} and Statistics.from_json(told).to_json() == told
    again, _ = asked({"statistics": told})
    np.testing.assert_array_equal(again["SCORES"], answer["SCORES"])


def test_types_that_such_a_detector_lacks_are_refused_and_two_measures_never_mix():
    with pytest.raises(InvalidArgument, match="gives no class_epistemic; leave `types` out"):
        asked({"types": ["class_epistemic"]})
    mixed = [candidate("a", [0.9]), candidate("b", [0.9], types=np.full(10, 0.5))]
    with pytest.raises(InvalidArgument, match="some score_entropy; send them as `detect` gave them"):
        Candidates(mixed, Options())
    broken = json.loads(candidate("a", [0.9, 0.8]))
    broken["summary"]["classes"]["Car"] = json.loads(candidate("b", [0.9], types=np.full(10, 0.5)))["summary"][
        "classes"
    ]["Car"]
    with pytest.raises(InvalidArgument, match="all the same"):
        Candidates([json.dumps(broken)], Options())
