"""Losses of mixture-density detection against closed forms and long-hand loops; matching, mining, crops, a training."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from export.mixtures import losses, train  # noqa: E402
from export.mixtures.average_precision import truth_of  # noqa: E402
from export.mixtures.files import load, save  # noqa: E402
from export.mixtures.losses import PAPER, PATENT, Form, class_loss, encode, iou, location_loss, match  # noqa: E402
from export.mixtures.network import Design, MixtureSSD, plain  # noqa: E402
from export.training import camvid  # noqa: E402
from export.training.crops import Cropping, Crops  # noqa: E402
from export.training.options import changed  # noqa: E402
from sluice.methods.mixtures.boxes import decode  # noqa: E402
from sluice.methods.mixtures.options import Reading  # noqa: E402

ONE_HOT = 60.0  # a raw weight beside which all others vanish


pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def raw(deviation):
    """What a sigmoid turns into this deviation."""
    return math.log(deviation / (1 - deviation))


def one(mean, deviation, target, k=1, form=PAPER):
    """The location loss of one coordinate, four times the same, k times the same component."""
    filled = torch.full((1, k, 4), float(mean), dtype=torch.float64)
    variance = torch.full((1, k, 4), raw(deviation) if deviation else -200.0, dtype=torch.float64)
    goal = torch.full((1, 4), float(target), dtype=torch.float64)
    return location_loss(filled, variance, random(1, k, 4), goal, form)[0, 0].item()


# ------------------------------------------------------------------------------------------------ location loss


def test_the_bounds_of_the_location_loss_are_those_of_the_published_form():
    assert PAPER.location * one(0.7, 0, 0.7) == pytest.approx(math.log(0.3 * math.sqrt(2 * math.pi)) / 2)
    assert PAPER.location * one(0.7, 0, 0.7) == pytest.approx(-0.1425, abs=1e-4)
    assert PAPER.location * one(0, 0.5, 1e3) == pytest.approx(10.3616, abs=1e-4)


@pytest.mark.parametrize("deviation", [0.05, 0.5, 0.95])
def test_beyond_six_and_a_half_deviations_an_object_pulls_no_more(deviation):
    def pull(distance):
        """Gradient by the mean, in units of that of a Gaussian."""
        mean = torch.zeros(1, 1, 4, dtype=torch.float64, requires_grad=True)
        variance = torch.full((1, 1, 4), raw(deviation), dtype=torch.float64)
        target = torch.full((1, 4), distance * deviation, dtype=torch.float64)
        location_loss(mean, variance, torch.zeros_like(mean), target, PAPER).sum().backward()
        return -float(mean.grad[0, 0, 0]) / (distance / deviation)

    assert pull(5.0) > 0.99 and 0.2 < pull(6.4) < 0.8 and pull(8.0) < 1e-4
    assert one(0, deviation, 8 * deviation) == pytest.approx(-math.log(1e-9), abs=1e-4)


@pytest.mark.parametrize("deviation", [0.02, 0.3, 0.9])
def test_the_density_integrates_to_less_than_one_by_the_floor_and_to_one_in_the_patents_form(deviation):
    step = deviation / 50
    targets = torch.arange(-12 * deviation, 12 * deviation, step, dtype=torch.float64)[:, None].expand(-1, 4)
    mean = torch.zeros(len(targets), 1, 4, dtype=torch.float64)
    for form, wanted, value in (
        (PAPER, deviation / (deviation + 0.3), raw(deviation)),
        (PATENT, 1.0, raw(deviation**2)),
    ):
        exact = dataclasses.replace(form, epsilon=0.0)
        density = (-location_loss(mean, torch.full_like(mean, value), mean, targets, exact)).exp()
        assert density.sum(0) * step == pytest.approx(np.full(4, wanted), rel=1e-6)


@pytest.mark.parametrize("form", [PAPER, PATENT])
def test_a_component_that_is_far_too_sure_still_has_finite_gradients(form):
    mean, variance, weight = (torch.zeros(2, 3, 4, requires_grad=True) for _ in range(3))
    sure = variance + torch.tensor([-90.0, -46.0, 0.0])[:, None]
    location_loss(mean, sure, weight, torch.tensor([[0.0] * 4, [1.0] * 4]), form).sum().backward()
    assert all(bool(torch.isfinite(x.grad).all()) for x in (mean, variance, weight))


def test_equal_components_are_one_gaussian_whatever_their_weights():
    for form in (PAPER, PATENT):
        assert one(0.2, 0.4, 0.9, k=4, form=form) == pytest.approx(one(0.2, 0.4, 0.9, k=1, form=form))


def test_in_the_patents_form_the_sigmoid_is_a_variance_without_a_floor():
    mean, variance = random(5, 1, 4, seed=1), random(5, 1, 4, seed=2)
    target = random(5, 4, seed=3)
    normal = torch.distributions.Normal(mean[:, 0], variance[:, 0].sigmoid().sqrt())
    found = location_loss(mean, variance, torch.zeros_like(mean), target, PATENT)
    assert torch.allclose(found, -(normal.log_prob(target).exp() + 1e-9).log())
    assert (PATENT.location, PATENT.ratio, PATENT.scaled) == (1.0, 0.0, False)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(1, 5),
    form=st.sampled_from([PAPER, PATENT, Form(floor=0.1, epsilon=1e-4)]),
    even=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_the_location_loss_is_that_of_a_long_hand_sum_with_weights_for_each_coordinate(seed, k, form, even):
    mean, variance, weight = (random(3, k, 4, seed=seed + i, scale=2) for i in range(3))
    target = random(3, 4, seed=seed + 3)
    found = location_loss(mean, variance, weight, target, form, even)
    for n in range(3):
        for d in range(4):
            total = sum(math.exp(weight[n, i, d]) for i in range(k))
            density = 0.0
            for i in range(k):
                pi = (1 - even) * math.exp(weight[n, i, d]) / total + even / k
                s = 1 / (1 + math.exp(-variance[n, i, d]))
                s = s if form.deviation else math.sqrt(s)
                g = math.exp(-(((target[n, d] - mean[n, i, d]) / s) ** 2) / 2)
                density += pi * g / (math.sqrt(2 * math.pi) * (s + form.floor))
            assert float(found[n, d]) == pytest.approx(-math.log(density + form.epsilon), rel=1e-9)


# ------------------------------------------------------------------------------------------------ class loss

TYPE_2 = Form(class_loss=2)


@pytest.mark.parametrize("chosen", [0, 2])
def test_without_noise_and_with_one_component_the_first_type_is_cross_entropy(chosen):
    mean, target = random(6, 3, 5, scale=3), torch.tensor([0, 1, 2, 3, 4, 4])
    weight = torch.zeros(6, 3).double()
    weight[:, chosen] = ONE_HOT
    wanted = F.cross_entropy(mean[:, chosen], target, reduction="none")
    for variance, noise in ((random(6, 3, 5), torch.zeros(6, 3, 5)), (None, torch.zeros(()))):
        assert torch.allclose(class_loss(mean, variance, weight, target, noise, PAPER), wanted)
    assert torch.allclose(class_loss(mean, None, weight, target, torch.zeros(()), TYPE_2), wanted, rtol=1e-4)


def test_the_noise_of_a_logit_has_the_predicted_variance():
    mean, variance, noise = (random(1, 1, 3, seed=i) for i in range(3))
    weight, target = torch.zeros(1, 1).double(), torch.tensor([1])
    logits = [mean[0, 0, c] + math.sqrt(1 / (1 + math.exp(-variance[0, 0, c]))) * noise[0, 0, c] for c in range(3)]
    wanted = -math.log(math.exp(logits[1]) / sum(math.exp(x) for x in logits))
    assert float(class_loss(mean, variance, weight, target, noise, PAPER)) == pytest.approx(wanted)


def test_the_second_type_is_the_logarithm_of_the_mixed_probability_and_knows_no_noise():
    # Two components that are sure of different classes: the mixture gives each half.
    mean = torch.tensor([[[ONE_HOT, 0, 0], [0, ONE_HOT, 0]]]).double()
    weight = torch.zeros(1, 2).double()
    for target, wanted in ((0, math.log(2)), (1, math.log(2)), (2, -math.log(1e-9))):
        for noise in (torch.zeros(1, 2, 3), 100 * torch.ones(1, 2, 3)):
            found = class_loss(mean, torch.zeros(1, 2, 3), weight, torch.tensor([target]), noise, TYPE_2)
            assert float(found) == pytest.approx(wanted, abs=1e-6)
    flat = class_loss(torch.zeros(1, 4, 7), None, random(1, 4), torch.tensor([3]), torch.zeros(()), TYPE_2)
    assert float(flat) == pytest.approx(math.log(7), abs=1e-6)
    # The first type instead charges every component for its own mistake.
    assert float(class_loss(mean, None, weight, torch.tensor([0]), torch.zeros(()), PAPER)) == pytest.approx(
        ONE_HOT / 2
    )


def test_components_in_another_order_lose_the_same():
    mean, variance, noise = (random(4, 3, 5, seed=i) for i in range(3))
    weight, target, order = random(4, 3, seed=4), torch.tensor([0, 2, 4, 1]), [2, 0, 1]
    for form in (PAPER, TYPE_2):
        assert torch.allclose(
            class_loss(mean, variance, weight, target, noise, form),
            class_loss(mean[:, order], variance[:, order], weight[:, order], target, noise[:, order], form),
        )


# ------------------------------------------------------------------------------------------------ boxes and matching


def test_decoding_inverts_encoding_and_the_scales_are_those_of_ssd():
    priors = torch.tensor([[10.0, 20.0, 8.0, 16.0], [50.0, 50.0, 30.0, 10.0]])
    boxes = torch.tensor([[4.0, 10.0, 18.0, 34.0], [40.0, 44.0, 70.0, 60.0]])
    offsets = encode(boxes, priors)
    assert offsets[0].tolist() == pytest.approx(
        [(11 - 10) / 8 / 0.1, (22 - 20) / 16 / 0.1, math.log(14 / 8) / 0.2, math.log(24 / 16) / 0.2]
    )
    assert decode(priors.numpy(), offsets.numpy()) == pytest.approx(boxes.numpy(), rel=1e-5)
    unscaled = encode(boxes, priors, scaled=False)
    assert torch.allclose(unscaled / torch.tensor([0.1, 0.1, 0.2, 0.2]), offsets)


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def long_hand_match(boxes, classes, priors, threshold, forced=True):
    found, which = [], []
    for cx, cy, w, h in priors.tolist():
        prior = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        fits = [overlap(prior, box) for box in boxes.tolist()]
        g = fits.index(max(fits)) if fits else 0
        fitting = fits and (fits[g] >= threshold if forced else fits[g] > threshold)
        label = int(classes[g]) if fitting else 0
        doubtful = any(
            c < 0 and x0 <= cx <= x1 and y0 <= cy <= y1
            for (x0, y0, x1, y1), c in zip(boxes.tolist(), classes.tolist(), strict=True)
        )
        found.append(-1 if label == 0 and doubtful else label)
        which.append(g)
    for g, (box, label) in enumerate(zip(boxes.tolist(), classes.tolist(), strict=True)):
        if label > 0 and forced:
            all_ = [overlap((x - w / 2, y - h / 2, x + w / 2, y + h / 2), box) for x, y, w, h in priors.tolist()]
            best = all_.index(max(all_))
            found[best], which[best] = label, g
    return found, which


def grid(cells=6, step=10.0):
    """Two priors a cell, [2 * cells ** 2, 4]."""
    rows = [
        (step * (j + 0.5), step * (i + 0.5), w, h)
        for i in range(cells)
        for j in range(cells)
        for w, h in ((13.0, 13.0), (30.0, 17.0))
    ]
    return torch.tensor(rows, dtype=torch.float64)


def objects(seed, count, doubtful=True):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 45, (count, 2)), rng.uniform(6, 30, (count, 2))
    classes = rng.integers(1, 3, count) if not doubtful else rng.choice([-1, 1, 2], count)
    return torch.from_numpy(np.concatenate([corner, corner + size], 1)), torch.from_numpy(classes.astype(np.int64))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 6), threshold=st.sampled_from([0.35, 0.5]))
def test_matching_is_that_of_long_hand_loops(seed, count, threshold):
    boxes, classes = objects(seed, count)
    found, which = match(boxes, classes, grid(), threshold)
    wanted, wanted_which = long_hand_match(boxes, classes, grid(), threshold)
    assert found.tolist() == wanted
    if count:
        assert which.tolist() == wanted_which
    assert set(classes[classes > 0].tolist()) >= set(found[found > 0].tolist())


def test_a_prior_answers_from_the_threshold_on():
    priors = torch.tensor([[2.0, 2.0, 4.0, 4.0], [2.0, 1.0, 4.0, 2.0]])
    half, one_class = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([2])
    assert iou(half, torch.tensor([[0.0, 0.0, 4.0, 4.0]])).item() == 0.5
    assert match(half, one_class, priors, 0.5)[0].tolist() == [2, 2]
    assert match(half, one_class, priors, 0.51)[0].tolist() == [0, 2]


def test_an_object_has_its_best_prior_however_little_they_overlap_and_whoever_else_fits_it_better():
    priors = torch.tensor([[5.0, 5.0, 10.0, 10.0], [25.0, 5.0, 10.0, 10.0]])
    tiny = torch.tensor([[24.0, 4.0, 25.0, 5.0]])
    found, which = match(tiny, torch.tensor([1]), priors, 0.5)
    assert found.tolist() == [0, 1]
    # The first prior fits the second object perfectly, and the first object has no other.
    boxes = torch.tensor([[0.0, 0.0, 3.0, 3.0], [0.0, 0.0, 10.0, 10.0]])
    found, which = match(boxes.flip(0), torch.tensor([1, 2]), priors, 0.5)
    assert found.tolist() == [2, 0] and which[0] == 1, "of two that want one prior the later has it"


def test_what_counts_neither_way_is_no_background_where_it_lies():
    priors = torch.tensor(
        [[5.0, 5.0, 10.0, 10.0], [8.0, 8.0, 2.0, 2.0], [12.0, 5.0, 10.0, 10.0], [30.0, 5.0, 9.0, 9.0]]
    )
    doubtful = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    found, _ = match(doubtful, torch.tensor([-1]), priors, 0.5)
    assert found.tolist() == [-1, -1, 0, 0], "one that fits it, one inside it, one beside it, one far from it"
    both = torch.cat([doubtful, torch.tensor([[7.0, 7.0, 9.0, 9.0]])])
    assert match(both, torch.tensor([-1, 1]), priors, 0.5)[0].tolist() == [-1, 1, 0, 0]


def test_an_image_without_objects_is_all_background():
    found, _ = match(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), grid(), 0.5)
    assert found.abs().max() == 0


# ------------------------------------------------------------------------------------------------ mining


def long_hand_mining(each, label, ratio, least):
    chosen = torch.zeros_like(label, dtype=torch.bool)
    for b in range(len(label)):
        background = [n for n in range(label.shape[1]) if label[b, n] == 0]
        wanted = max(int(ratio * int((label[b] > 0).sum())), least)
        for n in sorted(background, key=lambda n: -float(each[b, n]))[:wanted]:
            chosen[b, n] = True
    return chosen


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), ratio=st.sampled_from([1.0, 2.5, 3.0]), least=st.sampled_from([0, 4]))
def test_hard_negatives_are_the_largest_losses_of_the_background_three_for_each_positive(seed, ratio, least):
    rng = np.random.default_rng(seed)
    label = torch.from_numpy(rng.choice([-1, 0, 0, 0, 0, 0, 1, 2], (4, 20)).astype(np.int64))
    label[1] = label[1].clamp(max=0)  # an image without objects
    each = random(4, 20, seed=seed).abs()
    form = Form(ratio=ratio, least_negatives=least)
    found = losses.mined(each, label, form)
    assert torch.equal(found, long_hand_mining(each, label, ratio, least))
    assert not found[label != 0].any()


def test_without_a_ratio_all_background_counts_and_images_without_objects_have_none_but_the_least():
    label = torch.tensor([[0, 1, -1, 0], [0, 0, 0, -1]])
    each = torch.rand(2, 4)
    assert torch.equal(losses.mined(each, label, PATENT), label == 0)
    assert losses.mined(each, label, PAPER).sum(1).tolist() == [2, 0]
    assert losses.mined(each, label, Form(least_negatives=2)).sum(1).tolist() == [2, 2]


# ------------------------------------------------------------------------------------------------ a whole batch


def heads(batch, k=2, classes=3, seed=0, priors=None):
    priors = grid() if priors is None else priors
    n = len(priors)
    shapes = {
        "LOCATION_MEAN": (n, k, 4), "LOCATION_VARIANCE": (n, k, 4), "LOCATION_WEIGHT": (n, k, 4),
        "CLASS_MEAN": (n, k, classes), "CLASS_VARIANCE": (n, k, classes), "CLASS_WEIGHT": (n, k),
    }  # fmt: skip
    found = {name: random(batch, *shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}
    return {"PRIORS": priors.expand(batch, -1, -1), **found}


@pytest.mark.parametrize("form", [PAPER, PATENT, Form(class_loss=2, least_negatives=5, threshold=0.35)])
def test_the_losses_of_a_batch_are_those_of_long_hand_loops_with_one_draw_of_noise(form):
    images = [objects(1, 3), objects(2, 0), objects(3, 5, doubtful=False)]
    outputs = heads(3)
    found = losses.losses(outputs, images, form, generator=torch.Generator().manual_seed(7))
    noise = torch.randn(outputs["CLASS_MEAN"].shape, generator=torch.Generator().manual_seed(7))
    location, classes, positives = 0.0, 0.0, 0
    for b, (boxes, labels) in enumerate(images):
        label, which = long_hand_match(boxes, labels, grid(), form.threshold, form.forced)
        each = [
            float(
                class_loss(
                    outputs["CLASS_MEAN"][b, n : n + 1],
                    outputs["CLASS_VARIANCE"][b, n : n + 1],
                    outputs["CLASS_WEIGHT"][b, n : n + 1],
                    torch.tensor([max(label[n], 0)]),
                    noise[b, n : n + 1],
                    form,
                )
            )
            for n in range(len(label))
        ]
        for n, own in enumerate(label):
            if own > 0:
                positives += 1
                target = encode(boxes[which[n]][None], grid()[n : n + 1], form.scaled)
                args = [outputs[f"LOCATION_{part}"][b, n : n + 1] for part in ("MEAN", "VARIANCE", "WEIGHT")]
                location += form.location * float(location_loss(*args, target, form).sum())
                classes += each[n]
        background = sorted((each[n] for n in range(len(label)) if label[n] == 0), reverse=True)
        wanted = max(3 * sum(own > 0 for own in label), form.least_negatives) if form.ratio else len(background)
        classes += sum(background[:wanted])
    assert positives > 3
    assert float(found["location"]) == pytest.approx(location / positives)
    assert float(found["class"]) == pytest.approx(classes / positives)


def test_a_batch_without_any_object_has_no_loss_but_that_of_its_least_negatives():
    found = losses.losses(heads(2), [objects(0, 0)] * 2, PAPER)
    assert float(found["location"]) == 0 and float(found["class"]) == 0
    assert float(losses.losses(heads(2), [objects(0, 0)] * 2, Form(least_negatives=3))["class"]) > 0


def test_at_the_start_of_the_warm_up_every_component_learns_the_object_by_smooth_l1():
    outputs, images = heads(1), [objects(1, 3, doubtful=False)]
    label, which = match(*images[0], grid(), 0.5)
    target = encode(images[0][0][which[label > 0]], grid()[label > 0])
    mean = outputs["LOCATION_MEAN"][0, label > 0]
    wanted = sum(F.smooth_l1_loss(mean[:, k], target, reduction="sum") for k in range(2)) / 2 / len(target)
    found = losses.losses(outputs, images, PAPER, warm=0.0)["location"]
    assert float(found) == pytest.approx(float(wanted))
    # The weights do not count yet: other ones give the same losses.
    other = outputs | {name: 5 * outputs[name] for name in ("LOCATION_WEIGHT", "CLASS_WEIGHT")}
    for warm, same in ((0.0, True), (0.5, False)):
        pair = [losses.losses(o, images, PAPER, warm, torch.Generator().manual_seed(0)) for o in (outputs, other)]
        assert all(bool(torch.allclose(pair[0][name], pair[1][name])) == same for name in pair[0])


def test_half_warm_lies_half_way_between_the_two_location_losses_with_half_drawn_weights():
    outputs, images = heads(1), [objects(1, 3, doubtful=False)]
    label, which = match(*images[0], grid(), 0.5)
    target = encode(images[0][0][which[label > 0]], grid()[label > 0])
    args = [outputs[f"LOCATION_{part}"][0, label > 0] for part in ("MEAN", "VARIANCE", "WEIGHT")]
    likelihood = 0.5 * location_loss(*args, target, PAPER, even=0.5).sum() / len(target)
    smooth = losses.smooth_l1(args[0], target).sum() / len(target)
    found = losses.losses(outputs, images, PAPER, warm=0.5)["location"]
    assert float(found) == pytest.approx(float(likelihood + smooth) / 2)


def test_the_patents_loss_is_that_of_its_paragraph_78_term_by_term():
    """L = (L_location + L_class+ + L_class-) / N, all of it by hand: every match and every other prior counts once."""
    outputs, images = heads(2), [objects(1, 3, doubtful=False), objects(0, 0)]
    form = dataclasses.replace(PATENT, class_loss=2)
    label, which = match(*images[0], grid(), form.threshold, forced=False)
    assert 0 < int((label > 0).sum()) < len(label)
    variance, mean, weight = (outputs[f"LOCATION_{part}"].double() for part in ("VARIANCE", "MEAN", "WEIGHT"))
    location = 0.0
    for i in torch.nonzero(label > 0).flatten().tolist():
        x0, y0, x1, y1 = images[0][0][which[i]].tolist()
        cx, cy, w, h = grid()[i].tolist()
        offset = ((x0 + x1) / 2 - cx) / w, ((y0 + y1) / 2 - cy) / h, math.log((x1 - x0) / w), math.log((y1 - y0) / h)
        for d in range(4):
            pi, density = weight[0, i, :, d].softmax(0), 0.0
            for k in range(len(pi)):
                s = float(variance[0, i, k, d].sigmoid())
                distance = (offset[d] - float(mean[0, i, k, d])) ** 2 / (2 * s)
                density += float(pi[k]) * math.exp(-distance) / math.sqrt(2 * math.pi * s)
            location -= math.log(density + form.epsilon)
    class_ = 0.0
    for b, labels in enumerate((label, torch.zeros_like(label))):
        for i, c in enumerate(labels.tolist()):
            pi = outputs["CLASS_WEIGHT"][b, i].double().softmax(0)
            chance = (pi * outputs["CLASS_MEAN"][b, i].double().softmax(1)[:, c]).sum()
            class_ -= math.log(float(chance) + form.epsilon)
    n = int((label > 0).sum())
    found = losses.losses(outputs, images, form)
    assert float(found["location"]) == pytest.approx(location / n, rel=1e-4)
    assert float(found["class"]) == pytest.approx(class_ / n, rel=1e-4)


def test_without_any_match_the_patents_loss_is_0_and_the_papers_teaches_the_background():
    outputs = {name: array.clone().requires_grad_() for name, array in heads(2).items()}
    for form, some in ((PATENT, False), (dataclasses.replace(PAPER, least_negatives=3), True)):
        found = losses.losses(outputs, [objects(0, 0)] * 2, form)
        total = found["location"] + found["class"]
        assert (total.item() > 0) is some
        total.backward()
        assert bool((outputs["CLASS_MEAN"].grad != 0).any()) is some
        outputs["CLASS_MEAN"].grad = None


def test_both_readings_of_the_patents_epsilon_bound_the_loss_of_a_far_target():
    far = (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), torch.full((1, 4), 1e6))
    for text, value in (("1e-9", 1e-9), ("exp(-9)", math.exp(-9))):
        form = train.Recipe(loss="patent", epsilon=text).form
        assert form.epsilon == value
        assert location_loss(*far, form)[0].tolist() == pytest.approx([-math.log(value)] * 4)
    assert -math.log(math.exp(-9)) == 9 and -math.log(1e-9) == pytest.approx(20.72, abs=0.01)


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


def test_a_detector_without_mixture_heads_learns_by_smooth_l1_and_cross_entropy():
    outputs = {name: heads(1, k=1)[name] for name in ("PRIORS", "LOCATION_MEAN", "CLASS_MEAN")}
    images = [objects(1, 3, doubtful=False)]
    label, which = match(*images[0], grid(), 0.5)
    found = losses.losses(outputs, images, dataclasses.replace(PAPER, ratio=0.0))
    target = encode(images[0][0][which[label > 0]], grid()[label > 0])
    n = len(target)
    assert float(found["location"]) == pytest.approx(
        float(F.smooth_l1_loss(outputs["LOCATION_MEAN"][0, label > 0, 0], target, reduction="sum")) / n
    )
    assert float(found["class"]) == pytest.approx(
        float(F.cross_entropy(outputs["CLASS_MEAN"][0, :, 0], label, reduction="sum")) / n
    )


# ------------------------------------------------------------------------------------------------ a network learns


def street(seed=0, size=96):
    """One frame: a car and a sign on a road, in plain colours."""
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
    """Output -> greatest gradient in its rows of the first head."""
    head = network.heads[0]
    return {name: float(p.abs().max()) for name, p in network._parts(head.weight.grad, 3).items()}


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
    sum(losses.losses(train.forward(network, images), found, TYPE_2).values()).backward()
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
    """Heads of a network that finds every object of a frame: the prior of each is its own box, on the canvas."""
    scale = np.array([512 / 480, 384 / 360] * 2)
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


def test_in_the_patents_form_an_object_claims_no_prior_and_the_threshold_itself_is_too_little():
    priors = torch.tensor([[10.0, 10.0, 10.0, 10.0], [40.0, 40.0, 10.0, 10.0]])
    half = torch.tensor([[5.0, 5.0, 15.0, 10.0], [36.0, 36.0, 39.0, 39.0]])  # overlaps of exactly 0.5, and of 0.09
    classes = torch.tensor([2, 1])
    assert match(half, classes, priors, 0.5)[0].tolist() == [2, 1]
    assert match(half, classes, priors, 0.5, forced=PATENT.forced)[0].tolist() == [0, 0]
    assert match(half, classes, priors, 0.4, forced=False)[0].tolist() == [2, 0]


def test_a_logit_without_any_noise_has_finite_gradients():
    mean, weight = random(1, 2, 3).float().requires_grad_(), torch.zeros(1, 2)
    variance = torch.full((1, 2, 3), -200.0, requires_grad=True)
    class_loss(mean, variance, weight, torch.tensor([1]), torch.ones(1, 2, 3), PAPER).sum().backward()
    assert torch.isfinite(mean.grad).all() and torch.isfinite(variance.grad).all()


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
