"""Losses of mixture-density detection against closed forms and long-hand loops: location, class, matching, mining."""

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
from export.mixtures.losses import PAPER, PATENT, Form, class_loss, encode, iou, location_loss, match  # noqa: E402
from sluice.methods.mixtures.boxes import decode  # noqa: E402

ONE_HOT = 60.0  # a raw weight beside which all others vanish


pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def raw(deviation):
    """Return the value that a sigmoid turns into this deviation."""
    return math.log(deviation / (1 - deviation))


def one(mean, deviation, target, k=1, form=PAPER):
    """Return the location loss of one prior whose four coordinates are equal and whose k components are equal."""
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
        """Return the gradient by the mean, in units of that of a Gaussian."""
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
    """Return two priors per cell, [2 * cells ** 2, 4]."""
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
    """Add up L = (L_location + L_class+ + L_class-) / N by hand: every match and every other prior counts once."""
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
