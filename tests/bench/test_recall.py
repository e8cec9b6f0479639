"""Tests the recall benchmark: rankings known by hand, random draws, planting, rows and claims."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import report
from bench.recall import __main__ as command
from bench.recall.camera import MARGIN, OTHER, SAME, Camera
from bench.recall.examples import question
from bench.recall.findings import Case, Findings, at_least, show_difference, times_better
from bench.recall.planted import Ground, Pasting, Planted, drawn, experiment, pasting, plant
from bench.recall.scores import METHODS, View, judged
from export.training.camvid import CutOut, Frame
from sluice.images import Geometry
from sluice.methods import matching


def test_each_method_is_judged_by_its_own_scores() -> None:
    positive = np.array([True, False, False])
    recall, precision = judged(np.array([[3, 2, 1], [2, 3, 1], [1, 2, 3]], float), positive, 1)
    assert recall.tolist() == [1.0, 0.0, 0.0]
    assert precision.tolist() == pytest.approx([1.0, 1 / 2, 1 / 3])


def test_draws_take_a_tenth_of_the_pool_from_the_frames_that_may_be_positive() -> None:
    frames, others = 20, [3, 7, 11]
    without = np.tile(np.linspace(0.0, 0.9, frames), (3, 1))
    # The first method sees the object, the second does not, the third takes it for a reason against the frame.
    with_it = np.stack([np.ones(frames), without[1], np.full(frames, -1.0)])
    recall, precision = drawn(with_it, without, others, 50, np.random.default_rng(0))
    assert recall == pytest.approx([1.0, recall[1], 0.0])
    assert precision == pytest.approx([1.0, precision[1], (1 / 19 + 2 / 20) / 2])
    # The second method ranks frames 10 to 19 first. Of these only frame 11 can be positive: in two draws of three it is
    # one of the two positive frames.
    assert recall[1] == pytest.approx(1 / 3, abs=0.12)


def test_a_planted_object_covers_the_share_that_was_asked_for() -> None:
    frame = Frame("a", "drive", np.zeros((360, 480, 3), np.uint8), np.zeros((360, 480), np.uint8))
    thing = CutOut("b", "other", 10, (0, 0, 20, 40), np.full((40, 20, 3), 200, np.uint8), np.ones((40, 20), bool))
    made = plant(frame, thing, 0.02, np.random.default_rng(1))
    x0, y0, x1, y1 = made.box
    assert (x1 - x0) * (y1 - y0) / (360 * 480) == pytest.approx(0.02, rel=0.1)
    changed = np.argwhere(made.image.any(axis=2))
    assert (changed.min(axis=0) >= (y0, x0)).all() and (changed.max(axis=0) < (y1, x1)).all()
    assert not frame.image.any()


def seen(image: np.ndarray) -> View:
    """Return a view whose cells are the image's own blocks of 8 pixels, brightness and its opposite as channels."""
    height, width = image.shape[:2]
    bright = image[..., 0].reshape(height // 8, 8, width // 8, 8).mean(axis=(1, 3)) / 255
    features = matching.unit(np.stack([bright, 1 - bright], axis=-1))
    return View(features.astype(np.float16), Geometry(width, height, 1, 1, 0, 0), matching.unit(features.mean((0, 1))))


def test_a_query_is_not_ranked_against_the_frame_that_it_was_pasted_into() -> None:
    black, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 250, np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    # The bright frame looks like the object all over, so as another frame it outranks the positive frames.
    pool = [Frame(f"{i}", "drive", black, labels) for i in range(4)] + [Frame("own", "drive", bright, labels)]
    things = [
        CutOut(drive, drive, 10, (0, 0, 16, 16), np.full((16, 16, 3), 250, np.uint8), np.ones((16, 16), bool))
        for drive in ("a", "b")
    ]
    recall = {}
    for name in ("own", "another"):
        behind = [Frame(name, "drive", bright, labels)]
        ground = Ground(seen, pool, [seen(f.image) for f in pool], behind, depth=1, queries=2, draws=40)
        found = experiment(ground, things, 0.0625, seed=0)
        assert sorted(found.asked) == ["a (0, 0, 16, 16)", "b (0, 0, 16, 16)"]
        recall[name] = float(found.recall[0].mean())
    assert recall["own"] == pytest.approx(1.0)
    assert recall["another"] < 0.8


def rider(drive: str, side: int = 16) -> CutOut:
    return CutOut(
        drive, drive, 10, (0, 0, side, side), np.full((side, side, 3), 250, np.uint8), np.ones((side, side), bool)
    )


def test_several_examples_make_one_score_by_each_rule_and_one_alone_is_their_mean() -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    pool = [Frame(f"{i}", "pool", blank, blank[..., 0]) for i in range(10)]
    planted = [Planted(blank, (0, 0, 8, 8), rider("b")) for _ in pool]
    made = Pasting(planted, None, [Planted(blank, (0, 0, 8, 8), rider("a"))] * 2, ["other", "other"])
    ground = Ground(seen, pool, [], [], depth=1, queries=2, draws=50)
    # A positive frame has 0.7 by the first example and 0.9 by the second, and other frames 0.1 and 0.85.
    found, missing = np.array([[0.7] * 10, [0.9] * 10]), np.array([[0.1] * 10, [0.85] * 10])
    recall, _ = question(ground, made, found, missing, np.array([0, 1]), np.random.default_rng(0))
    assert recall == pytest.approx([1.0, 1.0, 1.0])
    found[1] = 0.8  # now only the mean and the first example find it
    recall, precision = question(ground, made, found, missing, np.array([0, 1]), np.random.default_rng(0))
    assert recall == pytest.approx([1.0, 0.0, 0.5])
    assert precision == pytest.approx([1.0, 0.1, 0.55])


def test_the_other_camera_sees_the_middle_larger_and_boxes_follow_the_picture() -> None:
    image = np.zeros((360, 480, 3), np.uint8)
    image[200:240, 300:330] = 255
    assert (SAME.see(image, 0) == image).all() and SAME.box((300, 200, 330, 240), 360, 480) == (300, 200, 330, 240)
    optics = Camera(focal=OTHER.focal, barrel=OTHER.barrel)
    made, (x0, y0, x1, y1) = optics.see(image, 0), optics.box((300, 200, 330, 240), 360, 480)
    rows, columns = np.nonzero(made[..., 0] > 127)
    assert (
        np.abs(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - (x0, y0, x1, y1)).max() <= 1
    )
    assert (x1 - x0) / 30 == pytest.approx(OTHER.focal * (1 + OTHER.barrel), rel=0.1)
    assert (OTHER.see(image, 3) == OTHER.see(image, 3)).all() and (OTHER.see(image, 3) != OTHER.see(image, 4)).any()
    with pytest.raises(ValueError, match="does not see"):
        optics.box((0, 0, 9, 9), 360, 480)


def test_the_other_camera_sees_whole_what_is_pasted_within_the_margin() -> None:
    grey = np.full((360, 480, 3), 90, np.uint8)
    for seed in range(40):
        made = plant(Frame("a", "d", grey, grey[..., 0]), rider("b"), 0.03, np.random.default_rng(seed), MARGIN)
        y, x = OTHER.sources(360, 480)
        x0, y0, x1, y1 = made.box
        assert x[:, 0].max() <= x0 and x[:, -1].min() >= x1 - 1 and y[0].max() <= y0 + 1 and y[-1].min() >= y1 - 2


def test_every_pasted_object_draws_its_own_of_the_natural_sizes() -> None:
    blank = np.zeros((96, 96, 3), np.uint8)
    pool = [Frame(f"{i}", "pool", blank, blank[..., 0]) for i in range(12)]
    ground = Ground(seen, pool, [], pool, depth=1, queries=2, draws=1)
    shares = np.array([0.01, 0.04])
    made = pasting(ground, [rider("a"), rider("b")], shares, np.random.default_rng(0))
    found = {round((p.box[2] - p.box[0]) * (p.box[3] - p.box[1]) / 96**2, 2) for p in made.planted}
    assert found == {0.01, 0.04}


def test_a_difference_is_paired_and_drawn_by_object(capsys: pytest.CaptureFixture[str]) -> None:
    before = np.array([[0.1, 0.2, 0.6, 0.6]] * 3)
    asked = ["one", "one", "two", "two"]
    cases = [Case(("small",), before + shift, 0.1, None, asked) for shift in (0.0, 0.25)]
    show_difference(*(Findings("a title", ("area",), [case]) for case in cases))
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-2].split("|")[1:-1]]
    assert row == ["small", "2", "0.375", "0.625", "0.25", "0.25", "0.25"]
    other = Case(("small",), before, 0.1, None, ["one", "two", "two", "two"])
    with pytest.raises(ValueError, match="same queries"):
        show_difference(Findings("a title", ("area",), cases[:1]), Findings("a title", ("area",), [other]))


def test_objects_widen_the_interval_that_their_many_queries_would_narrow() -> None:
    figure = np.repeat([[0.0, 1.0]], 3, axis=0).repeat(20, axis=1)
    case = Case(("small",), figure, asked=["one"] * 20 + ["two"] * 20)
    assert [len(of) for of in case.by_object()] == [20, 20]
    assert len(Case(("small",), figure).by_object()) == 40


def test_fast_has_its_own_parts_and_a_missing_network_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.arguments(["--fast"]).parts == ["planted"]
    assert command.arguments(["--fast", "--parts", "natural"]).parts == ["natural"]
    assert (command.arguments([]).seeds, command.arguments(["--fast"]).seeds) == (3, 1)
    with pytest.raises(SystemExit):
        command.arguments(["--weights", "nowhere.pt"])
    assert "nowhere.pt, found no such file" in capsys.readouterr().err


def test_findings_are_one_row_per_case_and_one_line_per_claim(capsys: pytest.CaptureFixture[str]) -> None:
    figure = np.array([[1.0, 0.5], [0.5, 0.5], [0.25, 0.25]])
    mean = figure.mean(axis=1)
    claims = [at_least("found", float(mean[0]), 0.8, "recall@10"), at_least("ahead", times_better(mean), 1.0, "times")]
    findings = Findings("a title", ("kind",), [Case(("small",), figure, 0.1, figure / 2)], claims)
    report.as_json(True)
    try:
        findings.show()
    finally:
        report.as_json(False)
    row, short, holds = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert row == {
        "table": "a title",
        "kind": "small",
        "queries": 2,
        **dict(zip(METHODS, [0.75, 0.5, 0.25], strict=True)),
        "spread over queries (sd)": 0.25,
        "chance": 0.1,
        **{f"AP {method}": value for method, value in zip(METHODS, [0.375, 0.25, 0.125], strict=True)},
    }
    assert (short["value"], short["holds"]) == (0.75, False)
    assert (holds["value"], holds["holds"]) == (1.5, True)
