"""Tests the active-learning benchmark: its choices, its curves, and that no test frame is learned from."""

import json
import math
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from bench import report
from bench.active_learning import __main__ as active_learning
from bench.active_learning import curves, data
from bench.active_learning.__main__ import Plan, run
from bench.active_learning.choice import Views, chance, choose, see
from bench.active_learning.curves import Difference, Point, area, curve
from bench.active_learning.data import DataSet, check_apart
from bench.active_learning.training import Job, Result, Settings, cached, start_path, store
from export.training.camvid import Frame
from sluice.methods.mixtures.options import Reading
from sluice.methods.mixtures.summaries import Detections

NAMES = [f"f{i:02d}" for i in range(8)]


def views(counts, seed=0, least=0.0):
    """Return random objects with scores above `least`: counts[i] of them in frame i."""
    rng = np.random.default_rng(seed)
    n = int(sum(counts))
    rows = rng.random((n, 16)).astype(np.float32)
    rows[:, 0] = rng.integers(0, 4, n)
    rows[:, 1] = least + (1 - least) * rows[:, 1]
    return Views(tuple(NAMES[: len(counts)]), np.array(counts, np.int64), rows, rng.random(n).astype(np.float32))


def frame(name, seed):
    rng = np.random.default_rng(seed)
    return Frame(name, "d", rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), np.zeros((8, 8), np.uint8))


# ------------------------------------------------------------------------------------------------ choosing


def test_our_choice_is_the_sum_over_objects_of_the_mean_z_of_the_unlabelled_pool():
    seen, labelled = views([2, 3, 1, 4, 2, 1, 2, 3], least=0.5), ["f01", "f06"]
    four = {name: [] for name in NAMES}
    owner = np.repeat(NAMES, seen.counts)
    for name, row in zip(owner, seen.rows.astype(np.float64), strict=True):
        four[name].append([row[6:10].max(), row[10:14].max(), row[14], row[15]])
    pool = np.array([row for name in NAMES if name not in labelled for row in four[name]])
    score = {
        name: sum(
            np.mean([(v - m) / s for v, m, s in zip(row, pool.mean(0), pool.std(0), strict=True)]) for row in rows
        )
        for name, rows in four.items()
        if name not in labelled
    }
    best = sorted(score, key=lambda name: -score[name])
    assert choose("sluice", seen, NAMES, labelled, 4, seed=0) == best[:4]


def test_entropy_chooses_by_the_most_uncertain_object():
    seen = views([2, 3, 1, 4, 2, 1, 2, 3], least=0.5)
    owner = np.repeat(NAMES, seen.counts)
    greatest = {name: seen.entropy[owner == name].max() for name in NAMES}
    best = sorted(NAMES, key=lambda name: -greatest[name])
    assert choose("entropy", seen, NAMES, [], 3, seed=0) == best[:3]
    assert choose("entropy", seen, NAMES, best[:3], 3, seed=0) == best[3:6]


@pytest.mark.parametrize("strategy", ["sluice", "entropy"])
def test_frames_without_an_object_come_last_in_the_order_of_chance(strategy):
    seen = views([0, 2, 0, 1, 0, 0, 3, 0], least=0.5)
    picked = choose(strategy, seen, NAMES, ["f03"], 5, seed=4)
    assert set(picked[:2]) == {"f01", "f06"}
    assert picked[2:] == [n for n in chance(NAMES, 4) if n in {"f00", "f02", "f04", "f05", "f07"}][:3]


@pytest.mark.parametrize("strategy", ["sluice", "entropy"])
def test_a_pool_without_any_object_is_chosen_from_by_chance(strategy):
    assert choose(strategy, views([0] * 8), NAMES, [], 3, seed=1) == choose("random", None, NAMES, [], 3, seed=1)


@pytest.mark.parametrize("strategy", ["sluice", "random", "entropy"])
def test_nothing_is_chosen_twice_and_the_whole_pool_is_reached(strategy):
    seen, labelled = views([1, 2, 0, 1, 3, 1, 0, 2], least=0.5), chance(NAMES, 2)[:2]
    while len(labelled) < len(NAMES):
        more = choose(strategy, seen, NAMES, labelled, 3, seed=2)
        assert more and not set(more) & set(labelled)
        labelled = [*labelled, *more]
    assert sorted(labelled) == NAMES


def test_objects_below_the_score_do_not_count():
    seen = views([1, 1])
    seen.rows[:, 1] = 0.4, 0.9
    assert choose("entropy", seen, NAMES[:2], [], 1, seed=0) == ["f01"]
    seen.entropy[:] = 1.0, 0.5
    assert choose("entropy", seen, NAMES[:2], [], 1, seed=0, least=0.3) == ["f00"]


def test_what_was_seen_survives_the_file(tmp_path):
    seen = views([2, 0, 1])
    seen.save(tmp_path / "v.npz")
    again = Views.load(tmp_path / "v.npz")
    assert again.names == seen.names and np.array_equal(again.rows, seen.rows)
    assert np.array_equal(again.counts, seen.counts) and np.array_equal(again.entropy, seen.entropy)


def test_the_entropy_is_that_of_the_mixture_at_the_prior_of_the_box():
    rng = np.random.default_rng(3)
    n, k, c = 30, 4, 5
    mean = rng.normal(0, 0.5, (1, n, k, c)).astype(np.float32)
    mean[0, :10, :, 2] += 3
    weight = rng.normal(0, 1, (1, n, k)).astype(np.float32)
    # Far apart, so that none suppresses another.
    priors = np.array([[100 * i + 50, 50, 20, 20] for i in range(n)], np.float32)
    zeros = np.zeros((1, n, k, 4), np.float32)
    found, entropy = see(
        {
            "PRIORS": priors, "LOCATION_MEAN": zeros, "LOCATION_VARIANCE": zeros, "LOCATION_WEIGHT": zeros,
            "CLASS_MEAN": mean, "CLASS_VARIANCE": np.zeros_like(mean), "CLASS_WEIGHT": weight,
        },
        Reading(),
    )  # fmt: skip
    assert len(found) >= 10
    for box, one in zip(found.boxes, entropy, strict=True):
        i = int(box[0] // 100)
        pi = np.exp(weight[0, i]) / np.exp(weight[0, i]).sum()
        p = (pi[:, None] * np.exp(mean[0, i]) / np.exp(mean[0, i]).sum(axis=1, keepdims=True)).sum(axis=0)
        assert one == pytest.approx(-(p * np.log(p)).sum(), rel=1e-4)
    assert isinstance(found, Detections)


# ------------------------------------------------------------------------------------------------ no leakage


def test_a_data_set_refuses_frames_shared_between_pool_test_and_start():
    a, b, c = (frame(name, i) for i, name in enumerate("abc"))
    DataSet("real", (a,), (b,), (c,))
    for parts in (
        ((a, b), (b,), (c,)),
        ((a,), (b,), (b,)),
        ((a,), (b,), (c, a)),
        ((a,), (b,), (), (a,)),
        ((a,), (b,), (c,), (b,)),
    ):
        with pytest.raises(ValueError, match="share no frame"):
            DataSet("real", *parts)
    with pytest.raises(ValueError, match="1 shared pictures"):
        check_apart("pool", [a], "test", [replace(a, name="another")])


def test_the_seeds_of_start_pool_test_and_other_scenes_lie_apart():
    from bench.recall.generated import FIRST_SEED

    first, sizes = data.FIRST_SEED, data.Sizes()
    assert first["start"] > FIRST_SEED + 100_000_000
    assert first["start"] + sizes.start <= first["pool"]
    assert first["pool"] + sizes.pool <= first["test"]


def pictures(folder, drive, count):
    """Write `count` frames of a drive in the layout of CamVid's folder, each with noise of its own."""
    for sub in ("images", "labels"):
        (folder / sub).mkdir(exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, drive)))
    for i in range(count):
        image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        image.save(folder / "images" / f"{drive}_{i:05d}.webp", lossless=True)
        Image.fromarray(np.zeros((6, 8), np.uint8)).save(folder / "labels" / f"{drive}_{i:05d}.png")


def test_the_real_test_is_whole_stretches_of_a_drive_that_the_start_never_saw(tmp_path):
    for drive, count in (("0016E5", 204), ("0001TP", 62), ("0006R0", 101)):
        pictures(tmp_path, drive, count)
    made = data.read("real", tmp_path, tmp_path, data.Sizes())
    assert (len(made.pool), len(made.test), len(made.start)) == (66, 35, 213)
    assert {f.drive for f in (*made.pool, *made.test)} == {"0006R0"}
    assert {f.drive for f in made.start} == {"0016E5", "0001TP"} and not made.scenes
    tested = [int(f.name.split("_")[1]) for f in made.test]
    assert tested == [*range(25, 42), *range(75, 93)]


def test_drawn_scenes_are_those_of_their_seeds_and_light_and_are_drawn_once(tmp_path, monkeypatch):
    asked = []

    def render(seed, size, time_of_day):
        asked.append((seed, time_of_day))
        return frame("any", seed % 1000)

    monkeypatch.setattr(data, "render", render)
    first = data.FIRST_SEED["start"]
    made = [data.drawn("start", 2, tmp_path, ("day",)) for _ in range(2)]
    assert asked == [(first, "day"), (first + 1, "day")]
    assert [np.array_equal(a.image, b.image) for a, b in zip(*made, strict=True)] == [True, True]
    data.drawn("start", 2, tmp_path, ("dusk", "night"))
    assert {time for _, time in asked[2:]} == {"dusk", "night"}, "scenes of another light are others"


def test_only_frames_of_the_pool_can_be_learned_from():
    set_ = DataSet("real", (frame("a", 0), frame("b", 1)), (frame("t", 2),), (frame("s", 3),))
    assert [f.name for f in set_.frames(["b", "a"])] == ["a", "b"]
    with pytest.raises(KeyError):
        set_.frames(["t"])


# ------------------------------------------------------------------------------------------------ cache and plan


@pytest.fixture
def settings(tmp_path):
    return Settings(camvid="", cache=str(tmp_path))


def test_a_result_is_found_again_by_everything_that_decided_it(settings):
    job = Job("real", ("a", "b"), 3, False)
    assert cached(job, settings) is None
    store(job, settings, Result(0.25, (0.5, math.nan, 0.25, 0.0), (1, 2, 3, 4), 9.0, None))
    found = cached(replace(job, labelled=("b", "a")), settings)
    assert found.mean == 0.25 and math.isnan(found.each[1]) and found.objects == (1, 2, 3, 4)
    others = [replace(job, seed=4), replace(job, labelled=("a",)), replace(job, data_set="generated")]
    assert all(cached(other, settings) is None for other in others)
    others += [replace(job, before=job), replace(job, times=2)]
    assert all(cached(other, settings) is None for other in others)
    for change in ({"steps": 7}, {"rate": 0.5}, {"crop": 64}, {"batch": 2}, {"kept": 0.1}):
        assert cached(job, replace(settings, **change)) is None
    assert cached(replace(job, score=True), settings) is None, "it was never asked what it sees in the pool"
    assert cached(replace(job, keep=True), settings) is None, "its weights were not kept, and another needs them"


def test_the_generated_start_is_another_when_it_is_learned_otherwise(settings):
    paths = [start_path("generated", replace(settings, **change)) for change in ({}, {"start_steps": 9}, {"batch": 2})]
    assert paths[0] != paths[1] and paths[0] == paths[2]
    assert start_path("real", settings) == start_path("real", replace(settings, start_steps=9))


class Here:
    """Stands in for the processes: trains nothing, and reports a better detector for later frames."""

    def __init__(self, settings):
        self.settings, self.jobs = settings, []

    def __call__(self, function, *given):
        future = Future()
        if function.__name__ == "facts":
            facts = {"pool": NAMES, "test": 2, "pool objects": [4] * 4, "test objects": [1] * 4}
            future.set_result(facts)
        elif function.__name__ == "begin":
            future.set_result(0.0)
        else:
            job = given[0]
            self.jobs.append(job)
            mean = sum(int(name[1:]) for name in job.labelled) / 100
            file = job.path(self.settings).with_suffix(".npz") if job.score else None
            if job.keep:
                job.path(self.settings).with_suffix(".pt").touch()
            if file:
                views([1] * 8, least=0.5).save(file)
            result = Result(mean, (mean,) * 4, (1,) * 4, 1.0, file and file.name)
            store(job, self.settings, result)
            future.set_result(result)
        return future


PLAN = Plan(sets=("real",), seeds=3, first=2, step=2, cycles=2)


def test_a_plan_trains_every_point_once_and_labels_grow_by_the_step(settings):
    here = Here(settings)
    points, _ = run(PLAN, settings, here, 2)
    assert len(points) == 2 + PLAN.seeds * (1 + 3 * PLAN.cycles)
    lengths = {p.strategy: job.times for p in points for job in here.jobs if job.labelled == p.labelled}
    assert lengths["all"] == PLAN.cycles + 1 and lengths["start"] == lengths["sluice"] == 1
    chains = {(job.labelled, job.seed): job.before for job in here.jobs}
    assert all(before is None or set(before.labelled) < set(labelled) for (labelled, _), before in chains.items())
    for seed in range(PLAN.seeds):
        start = next(p for p in points if p.seed == seed and p.strategy == "start")
        for strategy in ("sluice", "random", "entropy"):
            line = sorted((p for p in points if (p.seed, p.strategy) == (seed, strategy)), key=lambda p: p.cycle)
            before = start
            for point in line:
                assert point.labelled[: len(before.labelled)] == before.labelled
                assert len(set(point.labelled)) == len(before.labelled) + PLAN.step
                before = point


def test_a_plan_that_was_stopped_goes_on_and_a_finished_one_trains_nothing(settings):
    first = Here(settings)
    points, _ = run(PLAN, settings, first, 2)
    assert first.jobs
    again = Here(settings)
    repeated, _ = run(PLAN, settings, again, 2)
    assert again.jobs == []
    assert {(p.strategy, p.seed, p.cycle, p.result.mean) for p in points} == {
        (p.strategy, p.seed, p.cycle, p.result.mean) for p in repeated
    }
    lost = next(job for job in first.jobs if not job.keep)
    lost.path(settings).unlink()
    third = Here(settings)
    run(PLAN, settings, third, 2)
    assert third.jobs == [lost]


# ------------------------------------------------------------------------------------------------ curves


def test_a_curve_begins_at_the_shared_start_and_its_area_is_by_trapezes():
    def point(strategy, seed, cycle, mean):
        return Point("real", strategy, seed, cycle, Result(mean, (mean,) * 4, (0,) * 4, 0.0, None))

    points = [point("start", 0, 0, 0.1), point("random", 0, 1, 0.3), point("random", 0, 2, 0.2)]
    points += [point("sluice", 0, 1, 0.9)]
    values = curve(points, "random", 2)
    assert values.tolist() == [[0.1, 0.3, 0.2]]
    assert area(values)[0] == pytest.approx((0.1 / 2 + 0.3 + 0.2 / 2) / 2)
    assert math.isnan(curve(points, "sluice", 2)[0, 2])


def test_differences_are_paired_by_seed():
    theirs = np.array([0.1, 0.5, 0.9, 0.3])
    better = Difference.of(theirs + np.array([0.02, 0.021, 0.019, 0.02]), theirs)
    assert better.mean == pytest.approx(0.02) and better.above == 4 and better.word == "better than chance"
    assert Difference.of(theirs, theirs + 0.01 * np.array([1, 1.1, 0.9, 1])).word == "worse than chance"
    mixed = Difference.of(theirs + np.array([0.1, -0.1, 0.1, -0.05]), theirs)
    assert mixed.word == "not told apart from chance" and mixed.above == 2
    # Long-hand: mean 0.0125, sd 0.1031, Student's quantile of 3 degrees of freedom 3.18.
    assert mixed.half == pytest.approx(3.18 * np.std([0.1, -0.1, 0.1, -0.05], ddof=1) / 2)


def test_equal_results_are_never_called_better():
    same = np.full(3, 0.2)
    assert Difference.of(same, same).word == "not told apart from chance"


def test_the_tables_are_made_of_the_points(settings, capsys):
    points, known = run(PLAN, settings, Here(settings), 2)
    report.as_json(True)
    try:
        curves.show("real", points, known["real"], PLAN.sizes(), settings)
    finally:
        report.as_json(False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    means = {p.seed: p.result.mean for p in points if (p.strategy, p.cycle) == ("random", 2)}
    row = next(r for r in rows if r.get("choice") == "random")
    assert row["6 labelled"].startswith(f"{np.mean(list(means.values())):.3f} ± ")
    assert [r["mark"] for r in rows if "claim" in r] == [0.0]


def test_the_folder_without_camvid_is_refused(tmp_path, capsys):
    assert active_learning.main(["--data", str(tmp_path), "--cache", str(tmp_path)]) == 2
    assert "expected CamVid" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--sets", "imagined"], ["--seeds", "1"]])
def test_wrong_arguments_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        active_learning.main(wrong)
    assert "--s" in capsys.readouterr().err
