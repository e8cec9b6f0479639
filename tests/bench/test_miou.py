"""Tests the benchmark of masks by words: figures by hand, a short run on a random network, and a missing folder."""

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

import scenes  # noqa: E402
from bench import (  # noqa: E402
    drives,
    report,
    segment_process,
)
from bench.class_names import CAMVID  # noqa: E402
from bench.grouping import official  # noqa: E402
from bench.miou import __main__ as miou  # noqa: E402
from bench.miou import frames as miou_frames  # noqa: E402
from bench.miou import picture as miou_picture  # noqa: E402
from bench.miou import words  # noqa: E402
from export.grouping import network as grouping  # noqa: E402
from export.grouping.judge import NAMES  # noqa: E402
from export.training.camvid import Frame  # noqa: E402
from tests.made.grouping_designs import TINY  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Make a repository with a tiny random network."""
    folder = tmp_path_factory.mktemp("tiny")
    pictures = np.stack([scenes.render(seed, (64, 64)).image for seed in range(4)])
    grouping.save(official.drawn(TINY, CAMVID, pictures), folder / "tiny.pt")
    return segment_process.repository(folder, folder / "tiny.pt", 64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write noise in the form of CamVid."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for sub in ("images", "labels"):
        (folder / "camvid" / sub).mkdir(parents=True)
    for drive, count in (("0006R0", 6), ("0001TP", 28), ("0016E5", 131)):  # the stretches held out begin at 25 and 129
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8))
            image.save(folder / "camvid" / "images" / f"{drive}_{i:05d}.webp", lossless=True)
            labels = Image.fromarray(rng.integers(0, 12 - i % 3, (48, 64), np.uint8))  # a third lack the bicyclist
            labels.save(folder / "camvid" / "labels" / f"{drive}_{i:05d}.png")
    return folder


@pytest.fixture
def lines(capsys):
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    report.as_json(False)


def test_the_names_are_those_that_the_network_was_judged_by():
    assert tuple(CAMVID) == NAMES


def test_the_interval_of_equal_frames_is_a_point_and_holds_the_mean_of_unequal_ones():
    table = np.zeros((11, 11))
    table[0, 0], table[0, 1], table[1, 1] = 2, 2, 4  # IoU 2/4 and 4/6
    assert miou.bootstrap(np.stack([table] * 5), 20) == pytest.approx((7 / 12, 7 / 12))
    worse = np.zeros((11, 11))
    worse[0, 1], worse[1, 1] = 4, 4
    low, high = miou.bootstrap(np.stack([table, worse] * 10), 200)
    assert low < (2 / 8 + 8 / 14) / 2 < high


def test_frames_come_from_all_over_the_drive():
    frames = [Frame(str(i), "0006R0", np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)) for i in range(9)]
    assert [one.name for one in drives.evenly(frames, 3)] == ["0", "4", "8"]
    assert drives.evenly(frames, 20) == frames


def test_the_tables_are_of_the_masks_that_the_verb_gives(root, lines):
    here = segment_process.InProcess(root)
    frames = miou_frames.drawn(2, 700_000)
    part = miou_frames.Part("two scenes", frames, miou_frames.drawn(3, 0))
    report.as_json(True)
    found = miou.measure(here, part)
    rows = lines()
    masks = np.stack(miou_frames.masks(here, frames, {}))
    truth = np.stack([frame.labels for frame in frames])
    known = truth < 11
    expected = [
        (known & (masks == c) & (truth == c)).sum() / (known & ((masks == c) | (truth == c))).sum()
        for c in range(11) if (truth == c).any()
    ]  # fmt: skip
    assert found.mean == pytest.approx(np.mean(expected)) and rows[0]["mean IoU"] == found.mean
    prior = np.stack([sum(one.labels == c for one in part.training) for c in range(11)]).argmax(axis=0)
    expected = [
        (known & (prior == c) & (truth == c)).sum() / (known & ((prior == c) | (truth == c))).sum()
        for c in range(11) if (truth == c).any()
    ]  # fmt: skip
    assert found.ratio == pytest.approx(found.mean / np.mean(expected))
    assert found.spread[0] <= found.ratio <= found.spread[1] + 1e-9
    by_class = [row for row in rows if "class" in row]
    assert [row["class"] for row in by_class] == CAMVID
    assert sum(row["share of the pixels"] for row in by_class) == pytest.approx(1)


def test_words_are_judged_by_the_order_of_their_frames():
    shown = np.array([True, False, True, False])
    assert words.average_precision(np.array([4.0, 3, 2, 1]), shown) == pytest.approx((1 + 2 / 3) / 2)
    assert words.average_precision(np.array([1.0, 2, 3, 4]), shown) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert len(words.TEXTS) == len(CAMVID) and all(
        name[:4] in text for name, text in zip(CAMVID, words.TEXTS, strict=True)
    )


def test_the_drive_is_claimed_and_drawn(root, data, lines, tmp_path):
    picture = tmp_path / "docs" / "segment.jpg"
    given = ["--json", "--root", str(root), "--data", str(data), "--parts", "drive", "--frames", "5"]
    assert miou.main([*given, "--picture", str(picture)]) == 0
    (claim,) = (row for row in lines() if "claim" in row)
    assert claim["spread"][0] <= claim["value"] <= claim["spread"][1] + 1e-9
    assert claim["holds"] == (claim["value"] >= 1.4)
    with Image.open(picture) as drawn:
        assert drawn.width == miou_picture.COLUMNS * miou_picture.WIDTH + 2 * miou_picture.GAP


def test_other_weights_are_measured_on_the_frames_that_choose(root, data, lines):
    given = ["--json", "--root", str(root), "--data", str(data), "--parts", "held-out"]
    assert miou.main([*given, "--weights", str(root / "tiny.pt")]) == 0
    rows = lines()
    assert not any("claim" in row for row in rows)
    precise = [row for row in rows if row["table"].startswith("average precision")]
    assert [(row["text"], row["share of frames"]) for row in precise] == [("a bicyclist", 0.8)] * 2
    assert all(row["low"] <= row["times chance"] <= row["high"] for row in precise)
    assert {row["table"].split(", ")[1] for row in rows} == {"5 held-out frames of the training drives"}
    assert miou.main(given) == 0
    assert lines() == rows  # the same network


def test_a_missing_drive_is_told_aloud_and_its_claim_is_short(root, lines, tmp_path, capsys):
    assert miou.main(["--json", "--root", str(root), "--data", str(tmp_path), "--parts", "drive"]) == 0
    captured = capsys.readouterr()
    assert "skipped: no CamVid in" in captured.err
    claim = json.loads(captured.out)
    assert claim["value"] is None and not claim["holds"] and "SLUICE_DATA" in claim["reason"]


def test_a_graph_that_is_not_that_of_the_weights_is_refused(monkeypatch):
    from export import graph

    monkeypatch.setattr(graph, "current", lambda network, weights: False)
    with pytest.raises(SystemExit, match="run: make export"):
        miou.main(["--scenes", "1"])
