"""Frames in which no object was found: ranked by the boxes too faint for one, against the pool's other such frames."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.methods import selection
from sluice.methods.mixtures.summaries import FAINT, Detections, Summary
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options
from sluice.methods.selection.pool import Statistics
from sluice.wire import picks
from tests.made.uncertain_objects import PUBLISHED, Picture

SEEN = [Picture("low", [("Car", [1.0] * 4)]), Picture("high", [("Car", [3.0] * 4)], faint=9.0)]
EMPTY = [Picture("a", faint=1.0), Picture("b", faint=3.0), Picture("c", faint=2.0)]
Z = math.sqrt(1.5)  # of 1 and 3 among 1, 2, 3


def answer(images, **options):
    asked = Options.from_json(options)
    said = picks.answer(Candidates([image.candidate() for image in images], asked), asked)
    return said, [one.decode() for one in said["IDS"]], json.loads(said["SEARCHED"][0])


def test_they_rank_beside_the_others_by_their_own_mean_and_deviation():
    said, ids, searched = answer([*SEEN, *EMPTY])
    assert ids == ["b", "high", "c", "low", "a"]
    np.testing.assert_allclose(said["SCORES"], [Z, 1, 0, -1, -Z], rtol=1e-6)
    assert np.isnan(said["Z"][[0, 2, 4]]).all() and np.isnan(said["MAXIMA"][[0, 2, 4]]).all()
    assert said["REASONS"][0].decode() == (
        "no object was found, but the scores of boxes too faint for one add up to 3.00 objects, 1.22 standard "
        "deviations above the mean of the 3 frames without an object of the pool (2.00)"
    )
    assert (searched["empty_ranked"], searched["faintless"], searched["without_objects"]) == (3, 0, 0)
    assert searched["remedy"] is None and len(said["WITHOUT_OBJECTS"]) == 0
    assert answer([*SEEN, *EMPTY], threshold=0.5)[1] == ["b", "high"]


def test_they_are_listed_where_that_is_asked_for():
    _, ids, searched = answer([*SEEN, *EMPTY], rank_empty=False, **PUBLISHED)
    assert ids == ["high", "low"] and searched["remedy"] is None
    assert (searched["without_objects"], searched["empty_ranked"], searched["faintless"]) == (3, 0, 0)
    with pytest.raises(InvalidArgument, match="rank_empty is true or false"):
        Options.from_json({"rank_empty": "no"})


def test_an_older_server_left_no_number_and_the_answer_says_so():
    said, ids, searched = answer([*SEEN, *EMPTY, Picture("old")])
    assert "old" not in ids and [one.decode() for one in said["WITHOUT_OBJECTS"]] == ["old"]
    assert (searched["without_objects"], searched["faintless"]) == (1, 1)
    assert searched["remedy"].startswith(
        "1 images without an object are not ranked, as an older server scored them: run"
    )


def test_a_frame_that_shows_only_classes_that_are_left_out_is_not_judged_by_its_faint_boxes():
    walker = Picture("walker", [("Pedestrian", [2.0] * 4)], faint=5.0)
    said, ids, searched = answer([*SEEN, *EMPTY, walker], class_weights={"Pedestrian": 0})
    assert ids == ["b", "high", "c", "low", "a"] and [one.decode() for one in said["WITHOUT_OBJECTS"]] == ["walker"]
    assert (searched["without_objects"], searched["faintless"], searched["remedy"]) == (1, 0, None)


def test_equal_ones_and_a_single_one_score_0_and_a_pool_of_them_alone_is_ranked():
    said, ids, _ = answer([*SEEN, Picture("one", faint=0.7)])
    assert ids == ["high", "one", "low"] and said["SCORES"][1] == 0
    said, ids, _ = answer(EMPTY)
    assert ids == ["b", "c", "a"] and said["Z"].shape == (3, 4)


def test_statistics_carry_their_moments_and_judge_other_frames():
    said, _, _ = answer([*SEEN, *EMPTY])
    kept = json.loads(said["STATISTICS"][0])
    assert kept["faint"] == {"n": 3, "mean": 2.0, "m2": 2.0}
    assert Statistics.from_json(kept).to_json() == kept
    other = [Picture("x", faint=4.0)]
    said, ids, _ = answer(other, statistics=kept, frozen=True)
    assert (
        ids == ["x"]
        and said["SCORES"][0] == pytest.approx(2 * Z)
        and "of the other pool" in said["REASONS"][0].decode()
    )
    del kept["faint"]  # as an older server gave them
    said, ids, searched = answer(other, statistics=kept, frozen=True)
    assert ids == [] and searched["faintless"] == 1 and "are of an older server" in searched["remedy"]
    known = json.loads(answer(SEEN)[0]["STATISTICS"][0])
    assert known["faint"]["n"] == 0
    assert "statistics know no such image" in answer(other, statistics=known, frozen=True)[2]["remedy"]
    for wrong in (3, {}, {"n": 1, "mean": 0}, {"n": -1, "mean": 0, "m2": 0}, {"n": 1, "mean": "a", "m2": 0}):
        with pytest.raises(InvalidArgument):
            Options.from_json({"statistics": {**kept, "faint": wrong}})


def test_statistics_of_parts_merge_to_those_of_the_whole():
    parts = [[SEEN[0], EMPTY[0]], [SEEN[1], *EMPTY[1:]]]
    some = [json.loads(answer(part)[0]["STATISTICS"][0]) for part in parts]
    merged = Statistics.from_json(some)
    assert merged.faint.n == 3 and merged.faint.mean[0] == pytest.approx(2) and merged.faint.m2[0] == pytest.approx(2)
    del some[0]["faint"]
    assert Statistics.from_json(some).faint is None


def test_what_falls_below_a_score_becomes_faint():
    rows = np.zeros((4, 16), np.float32)
    rows[:, 1] = [0.9, 0.45, FAINT, FAINT / 2]
    found = replace(Detections.from_array(rows), faint=0.25)
    assert found.above(0.5).faint == pytest.approx(0.25 + 0.45 + FAINT) and len(found.above(0.5)) == 1
    assert found.above(0.0).faint == 0.25 and math.isnan(Detections.from_array(rows).above(0.5).faint)
    summary = Summary.of(found, ("Car",))
    assert Summary.from_json(summary.to_json()).faint == summary.faint == found.above(0.5).faint
    assert "faint" not in json.loads(Summary.of(Detections.from_array(rows), ("Car",)).to_json())
    for wrong in (-1, True, "a", math.nan):
        with pytest.raises(InvalidArgument, match="faint of a summary"):
            Summary.from_json({**json.loads(summary.to_json()), "faint": wrong})


def test_selected_counts_only_those_that_may_be_picked():
    asked = Options.from_json({"exclude": ["b"]})
    picked = selection.select(Candidates([image.candidate() for image in [*SEEN, *EMPTY]], asked), asked)
    assert picked.empty == 2 and picked.statistics.faint.n == 3  # the pool stays whole
