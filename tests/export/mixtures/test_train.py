"""The training of the mixture-density detector: what learns, stopping and resuming, objects of crops, judging."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.mixtures import losses, train  # noqa: E402
from export.mixtures.average_precision import truth_of  # noqa: E402
from export.mixtures.files import load, save  # noqa: E402
from export.mixtures.losses import Form  # noqa: E402
from export.mixtures.network import Design, MixtureSSD, plain  # noqa: E402
from export.training import camvid  # noqa: E402
from export.training.crops import Cropping, Crops  # noqa: E402
from export.training.options import changed  # noqa: E402
from sluice.methods.mixtures.options import Reading  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


# ------------------------------------------------------------------------------------------------ a network learns


def street(seed=0, size=96):
    """Return one frame: a car and a sign on a road, in plain colours."""
    rng = np.random.default_rng(seed)
    labels = np.full((size, size), 3, np.uint8)
    labels[30:60, 14:54] = 8
    labels[40:62, 64:80] = 6
    image = np.take([[60, 60, 60], [200, 30, 30], [240, 230, 20]], np.searchsorted([3, 6, 8], labels) % 3, axis=0)
    return camvid.Frame("street", "0016E5", (image + rng.integers(0, 9, image.shape)).astype(np.uint8), labels)


RECIPE = train.Recipe(
    crop=64, canvas=96 / 480, smallest=0.9, largest=1.1, pastes=0.0, scenes=0.0, steps=6, batch=2, rate=2e-3
)


def differentiable(network, batch):
    images, found = batch
    outputs = train.forward(network, images)
    return sum(losses.losses(outputs, found, RECIPE.form, 1.0, torch.Generator().manual_seed(0)).values())


@pytest.fixture(scope="module")
def batch():
    return train.batch(Crops([street()], RECIPE, 0), RECIPE, 0)


def gradients(network):
    """Return output -> greatest gradient in its rows of the first head."""
    head = network.heads[0]
    return {name: float(p.abs().max()) for name, p in network.parts(head.weight.grad, 3).items()}


def test_every_head_and_layer_learns_from_the_losses(batch):
    torch.manual_seed(0)
    network = MixtureSSD().train()
    differentiable(network, batch).backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    assert all(value > 0 for value in gradients(network).values())
    assert all(float(p.grad.abs().sum()) > 0 for p in network.backbone.quarter.parameters())


def test_the_second_type_of_class_loss_teaches_no_class_variance(batch):
    torch.manual_seed(0)
    network = MixtureSSD().train()
    images, found = batch
    sum(losses.losses(train.forward(network, images), found, Form(class_loss=2)).values()).backward()
    learned = gradients(network)
    assert learned.pop("CLASS_VARIANCE") == 0 and all(value > 0 for value in learned.values())


@pytest.mark.parametrize("design", [Design(), Design(class_variance=False), plain(Design())])
def test_a_few_steps_lower_the_loss(batch, design):
    torch.manual_seed(0)
    network = MixtureSSD(design).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    totals = []
    for _ in range(8):
        total = differentiable(network, batch)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]


class Stopped(Exception):
    pass


def test_a_training_that_was_stopped_and_resumed_ends_as_one_that_ran_through(tmp_path):
    def begin(seed):
        torch.manual_seed(seed)
        return train.Run(MixtureSSD(), [street()], [], RECIPE, seed=4)

    seen = []
    torch.manual_seed(1)
    whole = begin(1).go(lambda run, found: seen.append(found))

    def stop(run, found):
        if run.step == 3:
            torch.save(run.state(), tmp_path / "part.checkpoint")
            raise Stopped

    with pytest.raises(Stopped):
        begin(1).go(stop)
    resumed = begin(2)  # other weights at first: all must come from the checkpoint
    resumed.resume(tmp_path / "part.checkpoint")
    again = []
    network = resumed.go(lambda run, found: again.append(found))
    assert seen[3:] == again and len(again) == 3
    assert not network.training
    for name, value in whole.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name

    other = train.Run(MixtureSSD(), [street()], [], dataclasses.replace(RECIPE, rate=1e-3), seed=4)
    with pytest.raises(SystemExit, match=r"part\.checkpoint is of another recipe or seed; remove it"):
        other.resume(tmp_path / "part.checkpoint")


def test_progress_keeps_a_checkpoint_but_not_of_the_last_step(tmp_path, capsys):
    run = train.Run(MixtureSSD(), [street()], [], dataclasses.replace(RECIPE, steps=4), seed=0)
    progress = train.Progress(tmp_path / "w.checkpoint", 0, every=3)
    for run.step in (1, 2, 3, 4):
        progress(run, {"location": 1.0, "class": 3.0})
    assert torch.load(tmp_path / "w.checkpoint", weights_only=True)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["w.checkpoint"]
    assert "step 4/4  location 1.000  class 3.000" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ objects and crops


def test_the_objects_of_a_crop_are_clipped_and_those_hard_to_tell_count_neither_way():
    recipe = train.Recipe(least_side=7.0, least_seen=0.5)
    rows = [
        (8, (10.0, 10.0, 40.0, 30.0)),  # a car
        (9, (50.0, 5.0, 60.0, 30.0)),  # a pedestrian
        (10, (-10.0, 40.0, 20.0, 60.0)),  # a rider of whom two thirds are seen
        (6, (44.0, 40.0, 84.0, 60.0)),  # a sign of which half is seen: just enough
        (8, (-30.0, 0.0, 20.0, 20.0)),  # a car of which less than half is seen
        (8, (5.0, 5.0, 11.0, 60.0)),  # too narrow
        (9, (5.0, 5.0, 12.0, 18.0)),  # wide enough, of too small an area
        (8, (70.0, 70.0, 90.0, 90.0)),  # outside
        (8, (62.5, 0.0, 90.0, 40.0)),  # hardly inside
    ]
    boxes, classes = train.objects_of(rows, 64.0, recipe)
    assert classes.tolist() == [1, 2, 3, 4, -1, -1, -1] and classes.dtype == torch.int64
    assert boxes.tolist()[2:5] == [[0, 40, 20, 60], [44, 40, 64, 60], [0, 0, 20, 20]]
    none = train.objects_of([], 64.0, recipe)
    assert none[0].shape == (0, 4) and none[1].shape == (0,)


def test_a_crop_shows_its_objects_where_it_says_they_are():
    crops = Crops([street()], RECIPE, seed=3)
    flipped = set()
    for index in range(12):
        image, labels, placed = crops.crop(index)
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8 and labels.shape == (64, 64)
        middles = {}
        for label, (x0, y0, x1, y1) in placed:
            inside = labels[round(max(y0, 0)) : round(max(y1, 0)), round(max(x0, 0)) : round(max(x1, 0))]
            elsewhere = (labels == label).sum() - (inside == label).sum()
            assert inside.size == 0 or (inside == label).mean() > 0.85
            assert elsewhere <= 0.15 * 64
            middles[label] = (x0 + x1) / 2
        flipped.add(middles[6] < middles[8])
    assert flipped == {True, False}, "mirrored or not, by chance"


def test_crops_of_frames_without_anything_to_cut_out_paste_background_instead():
    recipe = Cropping(crop=64, canvas=160 / 480, pastes=3.0, scenes=0.0)
    labels = np.full((160, 160), 2, np.uint8)
    labels[80:] = 4
    frame = camvid.Frame("empty", "0016E5", np.full((160, 160, 3), 90, np.uint8), labels)
    for index in range(4):
        _, found, placed = Crops([frame], recipe, 0).crop(index)
        assert placed == [] and set(np.unique(found)) <= {2, 4}


# ------------------------------------------------------------------------------------------------ what it reaches


def saying(truth, k=4):
    """Return heads of a network that finds every object of a frame: the prior of each is its own box, on the canvas."""
    scale = np.array([640 / 480, 480 / 360] * 2)
    boxes = truth.boxes * scale
    n = len(boxes)
    priors = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    logits = np.zeros((1, n, k, 5), np.float32)
    logits[0, np.arange(n), :, 1 + truth.classes] = 9.0
    zeros = np.zeros((1, n, k, 4), np.float32)
    return {
        "PRIORS": priors[None].astype(np.float32), "LOCATION_MEAN": zeros, "LOCATION_VARIANCE": zeros,
        "LOCATION_WEIGHT": zeros, "CLASS_MEAN": logits, "CLASS_VARIANCE": np.zeros_like(logits),
        "CLASS_WEIGHT": np.zeros((1, n, k), np.float32),
    }  # fmt: skip


def frame_of(*things):
    labels = np.full((360, 480), 3, np.uint8)
    for label, (x0, y0, x1, y1) in things:
        labels[y0:y1, x0:x1] = label
    return camvid.Frame("f", "0016E5", np.zeros((360, 480, 3), np.uint8), labels)


def test_a_network_that_finds_every_object_is_judged_one_in_pixels_of_the_frame(monkeypatch):
    network = MixtureSSD()
    frames = [
        frame_of((8, (0, 100, 90, 180)), (9, (200, 50, 230, 130))),
        frame_of((10, (300, 200, 360, 330)), (6, (10, 10, 40, 40))),
    ]
    answers = iter([saying(truth_of(f.labels)) for f in frames])
    monkeypatch.setattr(train, "heads", lambda network, image: next(answers))
    mean, each = train.judge(network, frames, iou=0.95)
    assert mean == 1 and each == [1, 1, 1, 1]


def test_what_reaches_beyond_the_frame_is_cut_off_as_the_server_does(monkeypatch):
    frame = frame_of((8, (0, 100, 90, 180)))
    answer = saying(truth_of(frame.labels))
    answer["LOCATION_MEAN"] = np.broadcast_to(np.float32([-5, 0, math.log(2) / 0.2, 0]), (1, 1, 4, 4)).copy()
    monkeypatch.setattr(train, "heads", lambda network, image: answer)
    # Half a width to the left and twice as wide: -90 to 90, of which the frame holds 0 to 90.
    found = train.found_in(MixtureSSD(), frame)
    assert found.boxes == pytest.approx(np.array([[0, 100, 90, 180]]), abs=0.01)


def test_a_frame_is_scaled_to_the_canvas_before_the_network_sees_it():
    torch.manual_seed(0)
    network = MixtureSSD().eval()
    found = train.heads(network, street().image, canvas=(64, 128))
    grids = [(64 // s, 128 // s) for s in (8, 16, 32, 64)]
    assert np.array_equal(found["PRIORS"], network.priors(grids, torch.device("cpu")).numpy())
    assert all(value.dtype == np.float32 for value in found.values())


def test_the_number_of_components_in_use_tells_a_collapse(monkeypatch):
    network, frame = MixtureSSD(), street()

    def used(weight):
        monkeypatch.setattr(train, "heads", lambda network, image: {"CLASS_WEIGHT": np.float32(weight)[None]})
        return train.components_used(network, [frame, frame])

    assert used([[0, 0, 0, 0], [7, 7, 7, 7]]) == pytest.approx(4)
    assert used([[0, 50, 0, 0]] * 3) == pytest.approx(1, abs=1e-6)
    assert used([[0, 50, 0, 0], [50, 0, 0, 0]]) == pytest.approx(2, abs=1e-6), "each surely, but not the same"


def test_the_loss_decides_how_the_heads_are_read_and_that_goes_with_the_weights(tmp_path):
    for loss, reading in (("paper", Reading("deviation")), ("patent", Reading("variance", 1.0, 1.0))):
        recipe = train.Recipe(loss=loss)
        network = MixtureSSD(recipe.design)
        assert network.design.reading == reading
        save(network, tmp_path / "weights.pt")
        again = load(tmp_path / "weights.pt")
        assert again.design.reading == reading == Reading.of_record(again.record)
    with pytest.raises(ValueError, match="of another loss than paper"):
        train.Run(network, [], [], train.Recipe(), 0)
    stored = torch.load(tmp_path / "weights.pt", weights_only=True)  # as before the design had the two fields
    del stored["design"]["location_sigmoid"], stored["design"]["scaled"]
    torch.save(stored, tmp_path / "old.pt")
    assert load(tmp_path / "old.pt").design.reading == Reading("deviation")


def test_a_training_that_diverges_says_so():
    network = MixtureSSD(Design("small"))
    torch.nn.init.constant_(network.heads[0].bias, float("nan"))
    frames = [camvid.Frame("a", "d", np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128), np.uint8))]
    recipe = train.Recipe(crop=64, batch=2, steps=2, pastes=0.0, scenes=0.0, canvas=1.0)
    with pytest.raises(ArithmeticError, match="at step 0; try a lower rate"):
        train.Run(network, frames, [], recipe, 0).go()


@pytest.mark.parametrize(
    "wrong, reason",
    [
        ("stps=3", "unknown stps; the recipe has"),
        ("steps=many", "steps is of type int"),
        ("loss=ours", "loss is paper or patent, got 'ours'"),
        ("epsilon=e^-9", r"epsilon is 1e-9 or exp\(-9\), got 'e\^-9'"),
    ],
)
def test_a_recipe_is_changed_by_its_names_and_types_alone(wrong, reason):
    assert changed(train.Recipe(), ["steps=7", "rate=0.5"]) == dataclasses.replace(train.Recipe(), steps=7, rate=0.5)
    with pytest.raises(ValueError, match=reason):
        changed(train.Recipe(), [wrong])
