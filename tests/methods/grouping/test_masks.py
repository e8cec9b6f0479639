"""Masks, vectors and similarities of GroupViT against long-hand references in torch, and what must be true of them."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sluice.errors import InvalidArgument
from sluice.methods import grouping
from sluice.methods.grouping.guided_filter import GuidedFilter
from sluice.methods.grouping.masks import Grouped, Options, plan_of, segment
from sluice.methods.grouping.rules import RULES, official_scores, unclaimed
from sluice.methods.grouping.upsampling import reach, upsample

SCALE = 14.3
seeds = st.integers(0, 2**32 - 1)


def unit(rng, *shape):
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_grouped(plan, rng, groups=8, channels=32, sharpness=6.0):
    """Return a network's answer with patches in blobs, as real ones are."""
    h, w = plan.window[0] // 16, plan.window[1] // 16
    coarse = torch.from_numpy(rng.normal(size=(len(plan), groups, max(1, h // 5), max(1, w // 5))) * sharpness)
    assignment = functional.interpolate(coarse, (h, w), mode="bicubic").softmax(1).numpy()
    windows = rng.integers(0, 256, (len(plan), *plan.window, 3), np.uint8)
    return Grouped(unit(rng, len(plan), groups, channels), unit(rng, len(plan), channels), assignment, windows)


# ------------------------------------------------------------------------------------------------ long hand


def long_hand_window(groups, whole, assignment, classes, size, scale, top, threshold):
    """Score one window by the published evaluation, in torch float32 and at full size: [C (+ 1), H, W].

    The background, where there is one, comes first.
    """
    maps = functional.interpolate(assignment[None], size, mode="bilinear", align_corners=False)[0]
    owner = functional.one_hot(maps.argmax(0), len(groups)).float()  # [H, W, G]
    logits = groups @ classes.T * scale
    of_all = logits.softmax(-1)
    likely = (whole @ classes.T * scale).softmax(-1).topk(min(top, len(classes))).indices
    kept = torch.full((len(classes),), False)
    kept[likely] = True
    scores = logits.masked_fill(~kept, float("-inf")).softmax(-1) * of_all
    pixels = (owner @ scores).permute(2, 0, 1)
    if threshold is None:
        return pixels
    ground = (pixels.max(0).values < min(threshold, scores.max().item())).float()
    return torch.cat([ground[None], pixels])


def long_hand_plain(groups, assignment, classes, size):
    maps = functional.interpolate(assignment[None], size, mode="bilinear", align_corners=False)[0]
    return torch.einsum("ghw,gc->chw", maps, groups @ classes.T)


def long_hand(grouped, classes, scale, plan, options):
    """Return scores [C (+ 1), H, W] at the caller's size: summed over the windows, divided by their number, resized."""
    t = torch.from_numpy
    total, count = 0, torch.zeros(plan.working)
    for i, (top, left) in enumerate(plan.corners):
        if options.rule == "plain":
            own = long_hand_plain(t(grouped.groups[i]), t(grouped.assignment[i]), t(classes), plan.window)
        else:
            own = long_hand_window(
                t(grouped.groups[i]), t(grouped.embedding[i]), t(grouped.assignment[i]), t(classes), plan.window,
                scale, options.top, options.background,
            )  # fmt: skip
        bottom, right = plan.working[0] - top - plan.window[0], plan.working[1] - left - plan.window[1]
        total = total + functional.pad(own, (left, right, top, bottom))
        count[top : top + plan.window[0], left : left + plan.window[1]] += 1
    return functional.interpolate((total / count)[None], plan.size, mode="bilinear", align_corners=False)[0]


def check_official(grouped, classes, plan, options):
    found = segment(grouped, classes, SCALE, plan, options)
    scores = long_hand(grouped, classes, SCALE, plan, options)
    expected = scores.argmax(0).numpy() + (options.background is None)
    assert (found.labels == expected).mean() >= 0.999
    best = scores[options.background is not None :].max(0).values.numpy()
    assert np.abs(found.confidence - best).mean() < 1e-5
    return found


@pytest.mark.parametrize(
    ("size", "background"),
    [
        ((375, 500), None), ((375, 500), 0.35), ((375, 500), 0.95), ((720, 960), 0.35), ((448, 448), None),
        ((300, 100), 0.35), ((97, 1024), None),
    ],
)  # fmt: skip
def test_the_official_rule_is_that_of_the_published_evaluation(size, background):
    rng = np.random.default_rng(size[0])
    options = Options(background=background)
    plan = plan_of(*size, options)
    found = check_official(random_grouped(plan, rng), unit(rng, 21, 32), plan, options)
    assert len(np.unique(found.labels)) > 1


@settings(max_examples=60, deadline=None)
@given(
    seeds, st.integers(1, 90), st.integers(1, 90), st.integers(1, 12), st.integers(1, 9), st.integers(1, 7),
    st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]), st.sampled_from(["windows", "whole"]),
)  # fmt: skip
def test_the_official_rule_at_any_size(seed, height, width, classes, groups, top, background, view):
    rng = np.random.default_rng(seed)
    options = Options(background=background, view=view, short=64, longest=200, window=64, stride=24, top=top)
    plan = plan_of(height, width, options)
    found = segment(random_grouped(plan, rng, groups), unit(rng, classes, 32), SCALE, plan, options)
    assert found.labels.shape == (height, width) == found.confidence.shape == found.group_map.shape
    assert found.pixels.sum() == height * width and found.labels.max() <= classes
    assert background is not None or found.labels.min() > 0


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([None, 0.3]), st.integers(1, 12), st.integers(1, 9), st.integers(1, 7))
def test_the_official_rule_pixel_by_pixel(seed, background, classes, groups, top):
    rng = np.random.default_rng(seed)
    options = Options(background=background, short=64, longest=200, window=64, stride=32, top=top)
    height, width = (int(x) for x in rng.integers(60, 200, 2))
    plan = plan_of(height, width, options)
    grouped, vectors = random_grouped(plan, rng, groups), unit(rng, classes, 32)
    found = segment(grouped, vectors, SCALE, plan, options)
    scores = long_hand(grouped, vectors, SCALE, plan, options).numpy()
    chosen = found.labels.astype(int) - (background is None)
    given = np.take_along_axis(scores, chosen[None], 0)[0]
    # Where the label is another, the two scores must be equal but for rounding; where two groups claim a pixel equally,
    # rounding decides more, but those are few.
    assert (given >= scores.max(0) - 1e-5).mean() >= 0.999


@pytest.mark.parametrize("size", [(375, 500), (448, 448), (448, 600), (100, 350)])
def test_the_plain_rule_is_the_mean_cosine(size):
    rng = np.random.default_rng(1)
    options = Options(rule="plain")
    plan = plan_of(*size, options)
    grouped, classes = random_grouped(plan, rng), unit(rng, 21, 32)
    found = segment(grouped, classes, SCALE, plan, options)
    scores = long_hand(grouped, classes, SCALE, plan, options)
    assert (found.labels - 1 == scores.argmax(0).numpy()).mean() >= 0.999
    if plan.size == plan.working:
        shares = (scores * SCALE).softmax(0)
        assert np.abs(found.confidence - shares.max(0).values.numpy()).max() < 1e-5
    assert found.confidence.min() >= 1 / 21 and found.confidence.max() <= 1


def every_score(grouped, classes, plan):
    """Score all classes by the plain rule in float32, over the whole picture.

    Returns [C, h, w] at the working size and [C, H, W] at the caller's.
    """
    cosine = (grouped.groups.astype(float) @ classes.astype(float).T).astype(np.float32)
    working = np.zeros((len(classes), *plan.working), np.float32)
    for i, (top, left) in enumerate(plan.corners):
        for c in range(len(classes)):
            patches = np.tensordot(cosine[i, :, c], grouped.assignment[i], 1)
            working[c, top : top + plan.window[0], left : left + plan.window[1]] += upsample(patches, plan.window)
    working /= plan.counts()
    return working, upsample(working, plan.size)


@settings(max_examples=60, deadline=None)
@given(
    seeds, st.integers(1, 200), st.integers(1, 200), st.integers(1, 12), st.integers(0, 4), st.integers(1, 9),
    st.sampled_from(["windows", "whole"]),
)  # fmt: skip
def test_the_plain_rule_is_the_best_of_all_scores(seed, height, width, classes, again, groups, view):
    rng = np.random.default_rng(seed)
    options = Options(rule="plain", view=view, short=64, longest=200, window=64, stride=24)
    plan = plan_of(height, width, options)
    vectors = unit(rng, classes, 32)
    vectors = vectors[np.concatenate([np.arange(classes), rng.integers(0, classes, again)])]  # names that mean the same
    grouped = random_grouped(plan, rng, groups)
    found = segment(grouped, vectors, SCALE, plan, options)
    working, scores = every_score(grouped, vectors, plan)
    # A class is looked for between the first and the last row and column of the working size that it wins.
    winner = working.argmax(axis=0)
    allowed = np.zeros(scores.shape, bool)
    for c in np.unique(winner):
        y, x = np.nonzero(winner == c)
        rows, columns = (
            reach(place.min(), place.max(), *sides)
            for place, *sides in zip((y, x), plan.working, plan.size, strict=True)
        )
        allowed[c, rows, columns] = True
    kept = np.where(allowed, scores, -np.inf)
    assert (found.labels == kept.argmax(axis=0) + 1).all()
    evidence = np.log(np.exp(SCALE * working.astype(float)).sum(axis=0))
    shares = np.minimum(np.exp(SCALE * kept.max(axis=0) - upsample(evidence, plan.size)), 1)
    assert np.abs(found.confidence - shares).max() < 1e-4
    assert len(found.presence) == len(found.pixels) - 1 == len(vectors) and found.group_map.max() < len(plan) * groups


@pytest.mark.parametrize("rule", RULES)
def test_plain_background_keeps_the_best(rule):
    rng = np.random.default_rng(2)
    options = Options(rule=rule, background=1.0)
    plan = plan_of(300, 400, options)
    found = segment(random_grouped(plan, rng), unit(rng, 5, 32), SCALE, plan, options)
    assert found.pixels[0] > 0 and found.pixels[1:].sum() > 0  # never background alone


@pytest.mark.parametrize("size", [(100, 150), (64, 64)])
@pytest.mark.parametrize("view", ["windows", "whole"])
def test_the_guided_rule_is_the_best_of_the_filtered_probabilities(size, view):
    rng = np.random.default_rng(9)
    options = Options(rule="guided", view=view, short=64, window=64, stride=24)
    plan = plan_of(*size, options)
    grouped, vectors = random_grouped(plan, rng), unit(rng, 7, 32)
    vectors = np.concatenate([vectors, vectors[2:5]])  # names that mean the same count in the softmax
    found = segment(grouped, vectors, SCALE, plan, options)
    cosine = np.einsum("vghw,vge,ce->vchw", grouped.assignment, grouped.groups, vectors)
    share = torch.from_numpy(SCALE * cosine).softmax(1).numpy().astype(np.float32)
    total = np.zeros((len(vectors), *plan.working), np.float32)
    for i, (top, left) in enumerate(plan.corners):
        filtering = GuidedFilter(grouped.windows[i : i + 1], share.shape[2:])
        fine = np.concatenate([filtering.apply(share[i : i + 1, c]) for c in range(len(vectors))])
        if len(plan) == 1:  # the step by way of the working size is left out
            total = fine
        else:
            total[:, top : top + 64, left : left + 64] += upsample(fine, plan.window)
    scores = upsample(total if len(plan) == 1 else total / plan.counts(), plan.size)
    assert (found.labels == scores.argmax(axis=0) + 1).mean() > 0.998
    assert np.abs(found.confidence - scores.max(axis=0).clip(0, 1)).max() < 1e-4 or view == "windows"
    assert np.quantile(np.abs(found.confidence - scores.max(axis=0).clip(0, 1)), 0.998) < 1e-4
    assert found.labels.max() <= 7


def test_the_guided_rule_asks_for_the_windows():
    plan = plan_of(64, 64, Options(view="whole", short=64))
    grouped = random_grouped(plan, np.random.default_rng(0))
    blind = Grouped(grouped.groups, grouped.embedding, grouped.assignment)
    with pytest.raises(ValueError, match="needs the windows as the network saw them"):
        segment(blind, np.eye(3, 32, dtype=np.float32), SCALE, plan, Options(rule="guided"))


def test_a_picture_of_two_halves_is_cut_in_the_middle():
    options = Options(view="whole", short=64, top=2)
    plan = plan_of(50, 100, options)
    h, w = (side // 16 for side in plan.window)
    assignment = np.zeros((1, 2, h, w))
    assignment[:, 0, :, : w // 2], assignment[:, 1, :, w // 2 :] = 1, 1
    vectors = np.eye(3, dtype=np.float32)
    grouped = Grouped(vectors[None, :2], (vectors[None, 0] + vectors[None, 1]) / 2**0.5, assignment)
    found = segment(grouped, vectors, 50.0, plan, options)
    assert (found.labels[:, :50] == 1).all() and (found.labels[:, 50:] == 2).all()
    assert (found.group_map[:, :50] == 0).all() and (found.group_map[:, 50:] == 1).all()
    assert list(found.group_labels) == [1, 2] and found.group_scores.min() > 0.99
    assert list(found.pixels) == [0, 2500, 2500, 0]
    assert found.confidence.min() > 0.99 and found.pixels[3] == 0
    assert found.presence[0] == found.presence[1] > 0.49


# ------------------------------------------------------------------------------------------------ the rule's parts


def test_scores_are_two_softmaxes():
    rng = np.random.default_rng(0)
    groups, whole = rng.normal(size=(3, 8, 20)) * 0.3, rng.normal(size=(3, 20)) * 0.3
    scores = official_scores(groups, whole, SCALE, 5)
    for w in range(3):
        best = sorted(range(20), key=lambda c: -whole[w, c])[:5]
        for g in range(8):
            powers = np.exp(SCALE * groups[w, g])
            for c in range(20):
                expected = powers[c] / powers[best].sum() * powers[c] / powers.sum() if c in best else 0
                assert scores[w, g, c] == pytest.approx(expected, rel=1e-12)


def test_ties_for_the_last_place_go_to_the_first():
    scores = official_scores(np.zeros((1, 1, 6)), np.array([[1, 2, 2, 2, 2, 2.0]]), SCALE, 3)
    assert list(np.flatnonzero(scores[0, 0])) == [1, 2, 3]


def test_unclaimed_groups():
    scores = np.array([[[0.2, 0.1], [0.6, 0.0], [0.5, 0.4]]])
    assert unclaimed(scores, 0.55).tolist() == [[True, False, True]]
    assert unclaimed(scores, 0.95).tolist() == [[True, False, True]]  # the threshold falls to the best, 0.6
    assert unclaimed(scores, 0.0).tolist() == [[False, False, False]]


def test_a_group_unlike_every_likely_class_still_has_a_best_one():
    vectors = np.eye(8, dtype=np.float32)
    grouped = Grouped(-vectors[None, :1], vectors[None, 1], np.ones((1, 1, 4, 4)))
    options = Options(view="whole", short=64, top=1)
    found = segment(grouped, np.stack([-vectors[0], vectors[1]]), 100.0, plan_of(9, 9, options), options)
    assert (found.labels == 2).all() and found.confidence.max() < 1e-30


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("classes", "groups"), [(1, 1), (1, 8), (2, 1), (3, 3)])
def test_few_classes_and_groups_on_one_pixel(rule, classes, groups):
    rng = np.random.default_rng(3)
    options = Options(rule=rule, short=32, window=32, stride=16)
    plan = plan_of(1, 1, options)
    found = segment(random_grouped(plan, rng, groups), unit(rng, classes, 32), SCALE, plan, options)
    assert found.labels.shape == (1, 1) and 1 <= found.labels[0, 0] <= classes
    if classes == 1:
        assert found.confidence[0, 0] == pytest.approx(1) and found.presence[0] == pytest.approx(1)


@pytest.mark.parametrize("rule", RULES)
def test_equal_classes_go_to_the_first(rule):
    rng = np.random.default_rng(4)
    options = Options(rule=rule, short=64, window=64, stride=32)
    plan = plan_of(64, 80, options)
    vectors = unit(rng, 3, 32)
    found = segment(random_grouped(plan, rng), np.concatenate([vectors, vectors]), SCALE, plan, options)
    assert found.labels.max() <= 3


@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_the_type_of_labels(classes, dtype):
    rng = np.random.default_rng(5)
    options = Options(short=32, window=32, stride=16)
    plan = plan_of(10, 10, options)
    found = segment(random_grouped(plan, rng), unit(rng, classes, 32), SCALE, plan, options)
    assert found.labels.dtype == dtype == found.group_labels.dtype


@pytest.mark.parametrize("rule", RULES)
def test_a_thousand_classes_on_a_large_picture(rule):
    rng = np.random.default_rng(6)
    options = Options(rule=rule)
    plan = plan_of(1080, 1920, options)
    grouped, classes = random_grouped(plan, rng, channels=256), unit(rng, 1000, 256)
    tracemalloc.start()
    begun = time.process_time()
    found = segment(grouped, classes, SCALE, plan, options)
    seconds = time.process_time() - begun
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.labels.dtype == np.uint16
    assert most < 200e6  # scores of all classes at every pixel would be 8 GB
    assert seconds < 30  # of the processor; the machine may be busy


def test_the_windows_groups_are_told_apart():
    rng = np.random.default_rng(7)
    options = Options(short=64, window=64, stride=32)
    plan = plan_of(64, 128, options)
    assert len(plan) == 3
    found = segment(random_grouped(plan, rng, 4), unit(rng, 6, 32), SCALE, plan, options)
    window = found.group_map // 4
    assert (window[:, :48] == 0).all() and (window[:, 48:80] == 1).all() and (window[:, 80:] == 2).all()
    assert found.group_labels.shape == found.group_scores.shape == (12,)


def test_the_pixels_of_each_class_are_counted_and_have_a_confidence():
    rng = np.random.default_rng(8)
    options = Options(background=0.4)
    plan = plan_of(200, 300, options)
    found = segment(random_grouped(plan, rng), unit(rng, 9, 32), SCALE, plan, options)
    for c in range(9):
        own = found.confidence[found.labels == c + 1]
        assert found.pixels[c + 1] == own.size
        assert own.size == 0 or 0 < own.min() <= own.max() <= 1


# ------------------------------------------------------------------------------------------------ vectors


def test_a_classs_vector_is_the_mean_of_raw_sentences():
    rng = np.random.default_rng(0)
    encoded = (rng.normal(size=(6, 16)) * rng.uniform(1, 9, (6, 1))).astype(np.float32)
    found = grouping.class_embeddings(encoded, 3)
    for c in range(2):
        mean = torch.from_numpy(encoded[3 * c : 3 * c + 3]).double().mean(0)
        assert np.abs(found[c] - functional.normalize(mean, dim=0).numpy()).max() < 1e-7
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6


def test_similarity_and_ranking():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(3, 16)), rng.normal(size=(5, 16)) * 7
    cosine = grouping.similarity(images, texts)
    expected = functional.cosine_similarity(torch.from_numpy(images)[:, None], torch.from_numpy(texts)[None], dim=-1)
    assert np.abs(cosine - expected.numpy()).max() < 1e-6
    rank = grouping.ranking(cosine, 100.0)
    assert np.abs(rank - (100 * torch.from_numpy(cosine).double()).softmax(1).numpy()).max() < 1e-6


def test_broken_vectors_are_refused():
    with pytest.raises(InvalidArgument, match="zero or not finite"):
        grouping.normalised(np.zeros((2, 4)))
    with pytest.raises(InvalidArgument, match="3 embeddings a class"):
        grouping.class_embeddings(np.ones((4, 2)), 3)
    with pytest.raises(InvalidArgument, match="same E"):
        grouping.similarity(np.ones((1, 2)), np.ones((1, 3)))


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "soft"}, "rule is one of official, plain, guided"),
        ({"templates": ["full"]}, "templates is one of"),
        ({"view": 3}, "view is one of"),
        ({"top": 0}, "top is a whole number"),
        ({"top": True}, "top is a whole number"),
        ({"window": 100}, "multiple of 16"),
        ({"stride": 449}, "stride is at most window"),
        ({"background": "0.9"}, "background is a number"),
        ({"background": 1.5}, "background is a number from 0 to 1, or null"),
        ({"background": float("nan")}, "background is a number from 0 to 1, or null"),
    ],
)
def test_wrong_options(given, message):
    with pytest.raises(InvalidArgument, match=message):
        Options(**given)


def test_tensors_that_do_not_fit():
    rng = np.random.default_rng(0)
    options = Options(short=32, window=32, stride=16)
    plan = plan_of(32, 32, options)
    good = random_grouped(plan, rng, 4)
    with pytest.raises(InvalidArgument, match=r"EMBEDDING must be \[1, 32\]"):
        Grouped(good.groups, good.embedding[:, :8], good.assignment)
    with pytest.raises(InvalidArgument, match=r"ASSIGNMENT must be \[1, 4, h, w\]"):
        Grouped(good.groups, good.embedding, good.assignment[:, :3])
    with pytest.raises(InvalidArgument, match="GROUPS is"):
        Grouped(good.groups[0], good.embedding, good.assignment)
    with pytest.raises(InvalidArgument, match="ASSIGNMENT holds NaN"):
        Grouped(good.groups, good.embedding, good.assignment * np.nan)
    with pytest.raises(InvalidArgument, match="1 windows, the network's answer 2"):
        twice = Grouped(*(np.concatenate([part] * 2) for part in (good.groups, good.embedding, good.assignment)))
        segment(twice, unit(rng, 2, 32), SCALE, plan, options)
    with pytest.raises(InvalidArgument, match=r"classes are \[C, 32\]"):
        segment(good, unit(rng, 2, 16), SCALE, plan, options)
    with pytest.raises(InvalidArgument, match="scale above 0"):
        segment(good, unit(rng, 2, 32), 0.0, plan, options)
