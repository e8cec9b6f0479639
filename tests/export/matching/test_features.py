"""The feature extractor's contract, CamVid's objects, planting, and the figures that `bench recall` reports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from sluice.contracts import ROOT

torch = pytest.importorskip("torch")

from bench.recall import __main__ as recall  # noqa: E402
from bench.recall import planted as recall_planted  # noqa: E402
from bench.recall import scores as recall_scores  # noqa: E402
from export.matching import network as features  # noqa: E402
from export.matching import train as training  # noqa: E402
from export.training import camvid  # noqa: E402
from sluice import images  # noqa: E402
from sluice.methods import matching  # noqa: E402

WEIGHTS = ROOT / "weights" / "feature_extractor.pt"
NARROW = features.Widths(quarter=8, eighth=8, sixteenth=8, last=8, decoder=8, up=8, channels=16)
DATA = Path(os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return features.FeatureExtractor(features.Detector()).eval()


def thing(label=10, height=8, width=6, drive="0016E5"):
    mask = np.ones((height, width), bool)
    rgb = np.full((height, width, 3), 200, np.uint8)
    return camvid.CutOut("f", drive, label, (0, 0, width, height), rgb, mask)


# ------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("batch, height, width", [(1, 32, 32), (2, 64, 96), (1, 160, 64), (3, 32, 128)])
def test_a_cell_for_every_eight_pixels_and_every_cell_of_length_one(extractor, batch, height, width):
    image = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        out = extractor(image)
    assert out.dtype == torch.float16
    assert out.shape == (batch, height // features.STRIDE, width // features.STRIDE, features.CHANNELS)
    assert torch.allclose(out.float().norm(dim=-1), torch.ones(out.shape[:3]), atol=2e-3)


def test_an_image_has_the_same_features_alone_and_in_a_batch(extractor):
    image = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        together, alone = extractor(image), extractor(image[1:2])
    assert torch.allclose(together[1].float(), alone[0].float(), atol=4e-3)


@pytest.mark.parametrize("shape", [(1, 48, 64, 3), (1, 64, 64, 1), (64, 64, 3)])
def test_a_wrong_size_is_refused_with_a_remedy(extractor, shape):
    with pytest.raises(ValueError, match=r"multiples of 32.*pad"):
        extractor(torch.zeros(shape, dtype=torch.uint8))


def test_the_network_stays_light_enough_for_a_cpu():
    from torch.utils.flop_counter import FlopCounterMode

    detector = features.Detector().eval()
    assert sum(p.numel() for p in detector.parameters()) <= 2_500_000
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        detector(torch.zeros(1, 3, 96, 128))
    macs = counter.get_total_flops() / 2 * (640 * 480) / (96 * 128)
    assert macs <= 8.5e9


def test_pooling_comes_before_the_length():
    x = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [4.0, 1.0]]]])  # [1, 2, 2, 2]
    assert torch.allclose(features.cells(x).flatten(), torch.tensor([0.6, 0.8]))


def test_stored_weights_come_back_and_other_files_are_refused(tmp_path):
    torch.manual_seed(1)
    detector = features.Detector(NARROW)
    features.save(detector, tmp_path / "w.pt")
    again = features.load(tmp_path / "w.pt")
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(
            features.FeatureExtractor(detector.eval())(image).float(), again(image).float(), atol=2e-2
        )
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="expected weights of the feature extractor"):
        features.load(tmp_path / "other.pt")
    with pytest.raises(FileNotFoundError, match=r"python -m export\.matching\.train"):
        features.load(tmp_path / "missing.pt")


def test_the_committed_weights_keep_the_contract():
    network = features.load(WEIGHTS)
    assert network.detector.widths.channels == features.CHANNELS
    with torch.inference_mode():
        out = network(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert out.shape == (1, 8, 8, features.CHANNELS) and torch.isfinite(out).all()
    assert WEIGHTS.stat().st_size < 8e6
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert "CC BY-NC" in card["licence"] and card["parameters"] == sum(p.numel() for p in network.parameters())


# ------------------------------------------------------------------------------------------------ CamVid's objects


def test_components_touch_at_corners_and_small_ones_do_not_count():
    mask = (
        np.array(
            [
                list(row)
                for row in (
                    "#..#...",
                    ".#..#..",
                    "..#....",
                    "......#",
                )
            ]
        )
        == "#"
    )
    found = camvid.components(mask, least=1)
    assert [box for box, _ in found] == [(0, 0, 3, 3), (3, 0, 5, 2), (6, 3, 7, 4)]
    assert np.array_equal(found[0][1], np.eye(3, dtype=bool))
    assert [box for box, _ in camvid.components(mask, least=3)] == [(0, 0, 3, 3)]


def test_components_join_arms_that_meet_further_down():
    mask = np.array([list(row) for row in ("#.#", "#.#", "###")]) == "#"
    ((box, part),) = camvid.components(mask, least=1)
    assert box == (0, 0, 3, 3) and part.sum() == 7
    assert camvid.components(np.zeros((4, 4), bool), least=1) == []


def test_components_agree_with_a_flood_fill():
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random((12, 17)) < 0.35
        left, sizes = mask.copy(), []
        while left.any():
            stack, size = [tuple(np.argwhere(left)[0])], 0
            left[stack[0]] = False
            while stack:
                y, x = stack.pop()
                size += 1
                for j in range(max(0, y - 1), min(12, y + 2)):
                    for i in range(max(0, x - 1), min(17, x + 2)):
                        if left[j, i]:
                            left[j, i] = False
                            stack.append((j, i))
            sizes.append(size)
        assert sorted(int(p.sum()) for _, p in camvid.components(mask, least=1)) == sorted(sizes)


def test_boxes_name_the_class_and_leave_specks_out():
    labels = np.full((40, 40), 3, np.uint8)
    labels[2:8, 4:9] = 8
    labels[20:22, 20:22] = 9  # four pixels: no object
    labels[30:35, 10:14] = 10
    assert camvid.boxes(labels) == [(8, (4, 2, 9, 8)), (10, (10, 30, 14, 35))]


def test_objects_at_the_border_and_stripes_are_not_cut_out():
    labels = np.zeros((60, 60), np.uint8)
    labels[10:30, 10:26] = 10
    labels[40:60, 30:50] = 10  # cut off by the border
    labels[5:8, 2:50] = 10  # a stripe, and it stays apart
    frame = camvid.Frame("f", "0016E5", np.zeros((60, 60, 3), np.uint8), labels)
    assert [o.box for o in camvid.cut_out([frame], 10, least=20)] == [(10, 10, 26, 30)]


@pytest.mark.parametrize("fraction", [0.003, 0.01, 0.1])
def test_a_planted_box_has_the_area_asked_for(fraction):
    h, w = camvid.size_for_area((40, 20), fraction, (360, 480))
    assert h * w == pytest.approx(fraction * 360 * 480, rel=0.06)
    assert h / w == pytest.approx(2, rel=0.06)


def test_a_pasted_object_covers_its_box_and_nothing_else():
    image, labels = np.zeros((40, 50, 3), np.uint8), np.full((40, 50), 3, np.uint8)
    camvid.paste(image, labels, thing(), (16, 12), (7, 9))
    expected = np.zeros((40, 50), bool)
    expected[9:25, 7:19] = True
    assert np.array_equal(labels == 10, expected)
    assert (image[expected] == 200).all() and (image[~expected] == 0).all()


def test_the_old_background_of_an_object_is_not_carried_along():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    rgb = np.where(mask[..., None], 100, 255).astype(np.uint8).repeat(3, axis=2)
    image, labels = np.zeros((60, 60, 3), np.uint8), np.full((60, 60), 3, np.uint8)
    camvid.paste(image, labels, camvid.CutOut("f", "d", 9, (0, 0, 20, 20), rgb, mask), (41, 37), (3, 3))
    assert image.max() <= 101


def test_pasting_outside_the_image_is_refused():
    image, labels = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)
    with pytest.raises(ValueError, match="inside the image"):
        camvid.paste(image, labels, thing(), (16, 12), (10, 0))


def test_planting_keeps_the_frame_and_gives_the_true_box():
    frame = camvid.Frame("f", "0006R0", np.zeros((360, 480, 3), np.uint8), np.full((360, 480), 3, np.uint8))
    for seed in range(20):
        planted = recall_planted.plant(frame, thing(), (0.001, 0.1)[seed % 2], np.random.default_rng(seed))
        ys, xs = np.nonzero(planted.image.any(axis=2))
        x0, y0, x1, y1 = planted.box
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x0, y0, x1, y1)
    assert not frame.image.any()


def test_held_out_stretches_and_the_evaluation_drive_stay_out_of_training():
    frame = np.zeros((4, 4, 3), np.uint8)
    frames = [
        camvid.Frame(f"{d}_{i:03}", d, frame, frame[..., 0])
        for d, n in (("0016E5", 204), ("0001TP", 62))
        for i in range(n)
    ]
    train, held = camvid.split(frames)
    assert len(train) + len(held) == len(frames) and not {f.name for f in train} & {f.name for f in held}
    assert {"0016E5_129", "0016E5_151", "0001TP_025", "0001TP_061"} <= {f.name for f in held}
    assert {"0016E5_128", "0016E5_152", "0001TP_033"} <= {f.name for f in train}
    assert camvid.EVALUATION_DRIVE not in camvid.TRAINING_DRIVES


@pytest.mark.skipif(not (DATA / "camvid").is_dir(), reason="CamVid is not there (SLUICE_DATA)")
def test_camvid_is_what_its_readme_says():
    frames = camvid.read(DATA / "camvid", ("0001TP",))
    assert len(frames) == 62 and frames[0].image.shape == (360, 480, 3) and frames[0].labels.max() <= camvid.UNLABELLED
    with pytest.raises(FileNotFoundError, match="--data"):
        camvid.read(DATA / "camvid", ("0099XX",))


# ------------------------------------------------------------------------------------------------ training


def test_an_object_outvotes_the_background_of_its_block():
    labels = torch.full((1, 16, 16), 3, dtype=torch.uint8)
    labels[0, :8, :2] = 10  # a quarter of the first block of 8
    labels[0, 8:, 8:] = 11
    share = training.shares(labels, 8)
    assert share[0, :, 0, 0].tolist() == [0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 16, 0]
    assert training.votes(share, 4.0)[0].tolist() == [[10, 3], [3, 11]]
    assert training.votes(share, 2.0)[0].tolist() == [[3, 3], [3, 11]]


def test_boxes_cover_cells_small_ones_last_and_merged_ones_not():
    labels = np.full((64, 64), 3, np.uint8)
    labels[0:32, 0:32] = 8
    labels[8:16, 8:16] = 9
    cells = np.full((8, 8), 11)
    training.cover(cells, labels, [(9, (8, 8, 16, 16)), (8, (0, 0, 32, 32)), (10, (32, 32, 64, 64))], fill=0.3)
    assert cells[1, 1] == 9 and (cells[:4, :4] == 8).sum() == 15 and (cells == 10).sum() == 0


def test_a_heat_map_is_one_at_the_centre_and_holds_the_size():
    heat, sizes = np.zeros((16, 16), np.float32), np.zeros((3, 16, 16), np.float32)
    training.draw(heat, sizes, (8, 16, 24, 48))
    assert np.unravel_index(heat.argmax(), heat.shape) == (8, 4) and heat.max() == 1
    assert sizes[:, 8, 4] == pytest.approx([0.0, np.log(2), 1])
    training.draw(heat, sizes, (100, 0, 120, 20))  # its centre is outside: nothing is drawn
    assert sizes[2].sum() == 1


def test_a_step_of_training_lowers_every_loss_it_claims_to():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.full((120, 160), 3, np.uint8)
    labels[:40] = 0
    labels[50:90, 20:50] = 8
    image = (labels[..., None] * 20 + rng.integers(0, 9, (120, 160, 3))).astype(np.uint8)
    recipe = training.Recipe(batch=2, crop=64, pastes=0.0, rate=3e-3)
    crops = training.Crops([camvid.Frame("a", "0016E5", image, labels)], recipe, seed=0)
    detector = features.Detector(NARROW)
    classifier = training.CosineClassifier(16, recipe)
    optimiser = torch.optim.AdamW([*detector.parameters(), *classifier.parameters()], 1e-2)
    batch, totals = training.batch(crops, recipe, 0), []
    for _ in range(12):
        found = training.losses(detector, classifier, batch, recipe)
        assert set(found) == {"dense", "cell", "hard", "heat", "size"} and all(
            torch.isfinite(v) for v in found.values()
        )
        optimiser.zero_grad()
        sum(found.values()).backward()
        optimiser.step()
        totals.append(float(sum(found.values()).detach()))
    assert totals[-1] < 0.7 * totals[0]


def test_whitening_turns_the_features_and_leaves_the_detector_alone():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (12, 16)).astype(np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    image = (labels[..., None] * 60 + rng.integers(0, 40, (120, 160, 3))).astype(np.uint8)
    frame = camvid.Frame("a", "0016E5", image, labels)
    detector = features.Detector(NARROW).eval()
    x = features.normalise(torch.from_numpy(image[:96, :128].copy())[None])
    with torch.inference_mode():
        before = detector(x)
        answers = detector.detect(before)[0]
    training.whiten(detector, [frame], training.Recipe(whiten=0.5, canvas=1.0))
    with torch.inference_mode():
        after = detector(x)
        again = detector.detect(after)[0]
    assert not torch.allclose(before, after, rtol=0.05)
    assert torch.allclose(answers, again, atol=1e-3)


def test_crops_are_the_same_in_every_run_of_a_seed():
    labels = np.full((120, 160), 3, np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    frames = [camvid.Frame("a", "0016E5", image, labels)]
    recipe = training.Recipe(batch=1, crop=64, pastes=0.0)
    first, again, other = (training.batch(training.Crops(frames, recipe, seed), recipe, 4) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)) and not torch.equal(first[0], other[0])


def test_the_recipe_refuses_unknown_names(capsys):
    with pytest.raises(SystemExit):
        training.main(["--data", "x", "--out", "y", "--set", "speed=1"])
    assert "unknown speed" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ the figures


def test_recall_and_precision_in_closed_form():
    positive = np.array([1, 0, 1, 0, 0], bool)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert recall_scores.recall_at(scores, positive, 1) == 0.5
    assert recall_scores.recall_at(scores, positive, 3) == 1.0
    assert recall_scores.average_precision(scores, positive) == pytest.approx((1 + 2 / 3) / 2)
    assert recall_scores.average_precision(scores, ~positive) == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)


def test_equal_scores_never_flatter():
    positive = np.array([1, 0, 0, 0], bool)
    assert recall_scores.recall_at(np.zeros(4), positive, 3) == 0.0
    assert recall_scores.average_precision(np.zeros(4), positive) == 0.25


def view(features_: np.ndarray) -> recall_scores.View:
    h, w, _ = features_.shape
    geometry = images.Geometry(w * 8, h * 8, 1.0, 1.0, 0.0, 0.0)
    return recall_scores.View(features_.astype(np.float16), geometry, matching.unit(features_.mean(axis=(0, 1))))


def test_one_cell_is_found_by_matching_and_lost_in_the_mean():
    """Repeat section 4 of the reference: a planted cell ranks first by DTM, wherever it lies."""
    rng = np.random.default_rng(0)
    frames = [matching.unit(np.abs(rng.normal(size=(12, 16, 32)))) for _ in range(40)]
    object_ = matching.unit(-np.abs(rng.normal(size=32)))
    query = frames[0].copy()
    query[3, 4] = object_
    for i in range(1, 5):
        frames[i][rng.integers(12), rng.integers(16)] = object_
    asked = recall_scores.Query.of(view(query), (32, 24, 40, 32))
    scores = recall_scores.scores([asked, asked], (view(f) for f in frames[1:]))[:, 0]
    positive = np.arange(39) < 4
    assert recall_scores.recall_at(scores[0], positive, 4) == 1.0
    assert scores.shape == (3, 39) and recall_scores.recall_at(scores[1], positive, 4) < 1.0


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        recall.arguments(["--parts", "planted,fancy"])
    assert "unknown fancy" in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / "camvid").is_dir(), reason="CamVid is not there (SLUICE_DATA)")
def test_the_planted_part_prints_every_mark(capsys):
    assert recall.main(["--quick", "--json", "--parts", "planted", "--data", str(DATA), "--threads", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    claims = [line for line in lines if "claim" in line]
    assert {c["claim"] for c in claims} >= {
        "recall planted at 1.0%",
        "recall planted at 1.0% against the better pooling",
    }
    assert all(isinstance(c["holds"], bool) and "mark" in c and "spread" in c for c in claims)
