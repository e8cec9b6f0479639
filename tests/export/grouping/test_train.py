"""The training of GroupViT: losses against formulas written out, captions and nouns, crops, the loop, the command."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch.nn import functional as F  # noqa: E402
from transformers.models.groupvit.modeling_groupvit import image_text_contrastive_loss  # noqa: E402

from export.grouping import captions as words  # noqa: E402
from export.grouping import judge  # noqa: E402
from export.grouping import network as grouping  # noqa: E402
from export.grouping import train as training  # noqa: E402
from export.grouping.data import Captioned, Cropping, generated, real  # noqa: E402
from export.grouping.losses import contrastive, cross_entropy, equation_7, grouped, mean_of_logs  # noqa: E402
from export.grouping.network import Design, ImageGrouper, TextEncoder  # noqa: E402
from export.grouping.scenes import Drawn, drawn  # noqa: E402
from export.grouping.train import Learner, Recipe, Vocabulary, by_tile, losses  # noqa: E402
from export.training.camvid import CLASSES, Frame  # noqa: E402
from export.training.loop import Run  # noqa: E402
from export.training.options import changed  # noqa: E402
from sluice.methods.grouping.tokens import tokenizer  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def tiny(vocabulary, end):
    design = training.small(vocabulary, end)
    vision = {
        **design.vision,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "depths": [1, 1],
        "num_group_tokens": [6, 0],
        "num_output_groups": [6, 6],
        "num_attention_heads": 2,
    }
    text = {**design.text, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Design(vision, text, 24, 48)


# ------------------------------------------------------------------------------------------------ losses


def test_without_captions_that_coincide_the_loss_is_transformers():
    images, texts, scale = unit(6, 16), unit(6, 16, seed=1), torch.tensor(14.0)
    wanted = image_text_contrastive_loss(scale * texts @ images.T)
    torch.testing.assert_close(contrastive(images, texts, scale), wanted)


def test_the_cross_entropy_shares_among_right_answers_and_leaves_unknown_ones_out():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    positive = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    known = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)
    total = 0.0
    for i in range(2):
        columns = [j for j in range(4) if known[i, j]]
        norm = math.log(sum(math.exp(logits[i, j]) for j in columns))
        right = [j for j in columns if positive[i, j]]
        total -= sum(float(logits[i, j]) - norm for j in right) / len(right)
    assert float(cross_entropy(logits, positive, known)) == pytest.approx(total / 2, rel=1e-5)
    assert float(cross_entropy(logits, torch.zeros_like(positive))) == 0


def test_captions_that_say_the_same_are_all_right():
    images, texts = unit(4, 8), unit(4, 8, seed=1)
    texts[2] = texts[0]
    same = torch.eye(4, dtype=torch.bool)
    same[0, 2] = same[2, 0] = True
    logits = 5.0 * images @ texts.T
    logs, back = torch.log_softmax(logits, 1), torch.log_softmax(logits, 0)
    rows = [(logs[0, 0] + logs[0, 2]) / 2, logs[1, 1], (logs[2, 0] + logs[2, 2]) / 2, logs[3, 3]]
    columns = [(back[0, 0] + back[2, 0]) / 2, back[1, 1], (back[0, 2] + back[2, 2]) / 2, back[3, 3]]
    found = contrastive(images, texts, torch.tensor(5.0), same)
    torch.testing.assert_close(found, -(sum(rows) + sum(columns)) / 8)


def test_the_published_multi_label_loss_gives_each_noun_a_kth_and_each_image_all():
    images, nouns = unit(3, 8), unit(6, 8, seed=2)  # K = 2
    logits = 7.0 * images @ nouns.T
    logs, back = torch.log_softmax(logits, dim=1), torch.log_softmax(logits.T, dim=1)
    forth = -sum(0.5 * logs[i, 2 * i + k] for i in range(3) for k in range(2)) / 3
    home = -sum(back[j, j // 2] for j in range(6)) / 6
    torch.testing.assert_close(mean_of_logs(images, nouns, torch.tensor(7.0)), (forth + home) / 2)


def long_hand_equation_7(images, nouns, tau, own, known):
    """Sum both halves number by number, from the patent's formula.

    own, known: [i][m], whether noun m belongs to image i, and whether image i could be named by it.
    """

    def likeness(i, m):
        return math.exp(sum(float(a) * float(b) for a, b in zip(images[i], nouns[m], strict=True)) / tau)

    count, texts = range(len(images)), range(len(nouns))
    to_texts, to_image = [], []
    for i in count:
        if any(own[i]):
            above = sum(likeness(i, m) for m in texts if own[i][m])
            to_texts.append(-math.log(above / sum(likeness(i, m) for m in texts if known[i][m])))
        for m in texts:
            if own[i][m]:
                to_image.append(-math.log(likeness(i, m) / sum(likeness(j, m) for j in count if known[j][m])))
    return (sum(to_texts) / len(to_texts) + sum(to_image) / len(to_image)) / 2


def test_equation_7_is_the_patents_formula():
    images, nouns = unit(3, 8), unit(6, 8, seed=2)  # K = 2
    own = [[m // 2 == i for m in range(6)] for i in range(3)]
    wanted = long_hand_equation_7(images, nouns, 1 / 7, own, [[True] * 6] * 3)
    assert float(equation_7(images, nouns, torch.tensor(7.0))) == pytest.approx(wanted, rel=1e-5)
    # Nouns that several images share, one that is not known of an image, and an image without any.
    own = [[1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]]
    known = [[1, 1, 1, 0, 1, 1], [1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
    given = [torch.tensor(rows, dtype=torch.bool) for rows in (own, known)]
    wanted = long_hand_equation_7(images, nouns, 1 / 7, own, known)
    assert float(equation_7(images, nouns, torch.tensor(7.0), *given)) == pytest.approx(wanted, rel=1e-5)
    assert float(equation_7(images, nouns, torch.tensor(7.0), torch.zeros(3, 6, dtype=torch.bool))) == 0


def test_with_one_noun_an_image_both_forms_are_the_contrastive_loss():
    images, nouns, scale = unit(4, 8), unit(4, 8, seed=2), torch.tensor(7.0)
    for form in (equation_7, mean_of_logs):
        torch.testing.assert_close(form(images, nouns, scale), contrastive(images, nouns, scale))


def test_by_equation_7_one_noun_may_stand_for_all_and_by_the_mean_of_logs_it_may_not():
    images = torch.eye(2)
    nouns = F.normalize(torch.tensor([[1.0, 0.0], [0.1, 1.0], [0.0, 1.0], [1.0, 0.1]]), dim=-1)  # each 2nd one is wrong
    seen, all_seen = [form(images, nouns, torch.tensor(20.0)) for form in (equation_7, mean_of_logs)]
    assert float(seen) < 0.6 * float(all_seen)


@pytest.mark.parametrize(("value", "status"), [("sum", 2), ("equation_7", 1)])
def test_the_form_of_the_multi_label_loss_is_chosen_on_the_command_line(value, status, tmp_path, capsys):
    with pytest.raises((SystemExit, FileNotFoundError)) as ended:  # without data it gets no further than to look for it
        training.main(["--data", str(tmp_path), "--out", str(tmp_path / "x.pt"), "--set", f"multi_label={value}"])
    assert (status == 2) == ("multi_label is one of mean_of_logs, equation_7" in capsys.readouterr().err)
    assert (status == 2) == (getattr(ended.value, "code", None) == 2)


def test_the_loss_over_groups_is_its_formula():
    torch.manual_seed(0)
    groups, nouns = unit(2, 3, 8), unit(4, 8, seed=3)
    share = torch.rand(2, 3, 2).softmax(dim=1)
    named = torch.tensor([[[1, 0, 0, 0], [1, 1, 0, 0]], [[0, 0, 1, 0], [0, 1, 0, 0]]], dtype=torch.bool)
    known = named | torch.tensor([True, True, True, False])
    claimed, denied = grouped(groups, nouns, torch.tensor(9.0), share, named, known, least=0.4, alone=0.7)
    p = (9.0 * groups @ nouns.T).softmax(dim=-1)
    short, outside = [], []
    for b in range(2):
        for t in range(2):
            area = [sum(float(share[b, g, t] * p[b, g, c]) for g in range(3)) for c in range(4)]
            pure = [sum(float(share[b, g, t] * p[b, g, c] ** 2) for g in range(3)) / area[c] for c in range(4)]
            short += [-math.log(min(1.0, area[c] / 0.4)) - 0.7 * math.log(pure[c]) for c in range(4) if named[b, t, c]]
            for g in range(3):
                allowed = sum(float(p[b, g, c]) for c in range(4) if named[b, t, c] or not known[b, t, c])
                outside.append(-float(share[b, g, t]) * math.log(allowed))
    assert float(claimed) == pytest.approx(sum(short) / len(short), rel=1e-5)
    assert float(denied) == pytest.approx(sum(outside) / 4, rel=1e-5)


def test_groups_are_weighed_crop_by_crop():
    product = torch.zeros(1, 2, 36)
    product.view(1, 2, 6, 6)[:, 0, :3, 3:] = 1  # all of the upper right crop
    product.view(1, 2, 6, 6)[:, 1, 5, 0] = 1  # a ninth of the lower left
    torch.testing.assert_close(by_tile(product, 2)[0], torch.tensor([[0, 1.0, 0, 0], [0, 0, 1 / 9, 0]]))
    torch.testing.assert_close(by_tile(product, 1)[0, :, 0], torch.tensor([9 / 36, 1 / 36]))


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("A street by day with two cars and a traffic sign.", ["road", "car", "sign"]),
        ("Buildings, trees and fences line the road.", ["building", "tree", "fence", "road"]),
        ("a traffic light, a lamp post and a carpet", ["traffic light", "pole"]),
        ("a car, the cars, many vehicles", ["car"]),
        ("nothing that it knows", []),
    ],
)
def test_nouns_are_looked_up_longest_first(caption, found):
    assert [words.CONCEPTS[concept] for concept in words.nouns(caption)] == found


def test_a_caption_names_what_it_is_given_and_nothing_else():
    rng = np.random.default_rng(0)
    for _ in range(300):
        concepts = rng.choice(len(words.CONCEPTS), rng.integers(1, 9), replace=False)
        text = words.caption(concepts, rng, time=("", "day", "night")[rng.integers(3)])
        # "seen from a car" is how some sentences end.
        assert set(words.nouns(text.replace("seen from a car", ""))) == set(concepts.tolist()), text


def test_every_word_that_can_be_said_is_in_the_vocabulary():
    vocabulary, rng = Vocabulary(words.corpus()), np.random.default_rng(1)
    for _ in range(200):
        concepts = rng.choice(len(words.CONCEPTS), 5, replace=False)
        rows = vocabulary([words.caption(concepts, rng, "dusk"), words.prompt(int(concepts[0]), rng)])
        end = rows.argmax(dim=1)
        assert all((row[: stop + 1] > 0).all() for row, stop in zip(rows, end, strict=True))


# ------------------------------------------------------------------------------------------------ crops


def frames(count=3, seed=0):
    """Draw frames of four stripes, each of its own colour: from the left sky, road, car, and one without a label."""
    rng = np.random.default_rng(seed)
    colours = {0: (150, 190, 250), 3: (90, 90, 95), 8: (190, 30, 30), 11: (0, 0, 0)}
    labels = np.repeat(np.array([0, 3, 8, 11], np.uint8), 40)[None].repeat(120, axis=0)
    table = np.zeros((12, 3))
    for label, colour in colours.items():
        table[label] = colour
    made = []
    for index in range(count):
        noise = rng.normal(0, 6, (*labels.shape, 3))
        made.append(Frame(f"f{index}", "0016E5", (table[labels] + noise).clip(0, 255).astype(np.uint8), labels))
    return made


def scene():
    """Return a scene whose only vehicle is a truck."""
    frame = frames(1)[0]
    kinds = np.where(frame.labels == 8, 2, 0).astype(np.uint8)  # 2: one more than the truck's place in KINDS
    return Drawn(frame.image, frame.labels, kinds, "A street at night with a truck.", "night")


def crops(**choices):
    made = [real(frame) for frame in frames()]
    return Captioned(made, [generated(scene())], Cropping(**{"scenes": 0.3, "most_zoom": 2.5, **choices}), seed=0)


def test_a_caption_names_what_its_crop_shows():
    source = crops(scenes=0.0)
    for index in range(40):
        sample = source.sample(index, 64)
        assert sample.image.shape == (64, 64, 3) and sample.image.dtype == np.uint8
        (named,) = sample.named
        assert set(words.nouns(sample.caption.replace("seen from a car", ""))) == set(np.flatnonzero(named).tolist())
        assert set(np.flatnonzero(named)) <= {0, 3, 8}
        assert not sample.known[0, words.COMMON :].any()  # CamVid's labels do not tell a truck from a car


def test_the_same_seed_gives_the_same_crops_wherever_one_begins():
    a, b = crops().sample(7, 64, 2), crops().sample(7, 64, 2)
    assert a.caption == b.caption and np.array_equal(a.image, b.image) and np.array_equal(a.named, b.named)
    assert crops().sample(8, 64, 2).caption != a.caption or not np.array_equal(crops().sample(8, 64, 2).image, a.image)


def test_a_picture_of_four_crops_has_one_caption_and_four_lists():
    found = [crops().sample(index, 96, 2) for index in range(12)]
    assert all(s.image.shape == (96, 96, 3) and s.named.shape == (4, len(words.CONCEPTS)) for s in found)
    for sample in found:
        said = set(words.nouns(sample.caption.replace("seen from a car", "")))
        assert said == set(np.flatnonzero(sample.named.any(axis=0)).tolist())
    assert any((s.named[0] != s.named[3]).any() for s in found)


def test_generated_scenes_know_trucks_from_cars_and_bring_their_own_caption():
    made = Captioned([], [generated(scene())], Cropping(told=0.5, most_zoom=2.5), seed=0)
    found = [made.sample(index, 64) for index in range(40)]
    assert any(s.caption == "A street at night with a truck." for s in found)
    named = np.concatenate([s.named for s in found])
    assert named[:, 11].any() and not named[:, 8].any()
    assert all((s.known | ~s.named).all() for s in found)


def test_scenes_are_drawn_once_and_kept(tmp_path, monkeypatch):
    (one,) = drawn(1, tmp_path / "scenes.npz")
    assert one.image.shape == (360, 480, 3) and one.kinds.max() <= 7 and one.caption.endswith(".")
    monkeypatch.setattr("export.grouping.scenes.render", None)
    (again,) = drawn(1, tmp_path / "scenes.npz")
    assert np.array_equal(again.image, one.image) and again.caption == one.caption and again.time in words.TIMES


# ------------------------------------------------------------------------------------------------ the loop

BRIEF = Recipe(steps=6, batch=4, scenes=0, bf16=0, average=0.5)


def run_of(recipe=BRIEF, seed=0):
    torch.manual_seed(seed)
    learner = Learner(Vocabulary(words.corpus()), tiny)
    return Run(learner, losses(learner, crops(), recipe, seed), recipe, seed)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole = run_of()
    whole.go()
    first = run_of()
    first.go(until=3)
    first.keep(tmp_path / "checkpoint")
    second = run_of()
    torch.rand(5)  # what happened meanwhile must not matter
    second.resume(tmp_path / "checkpoint")
    second.go()
    for name, value in whole.trained.state_dict().items():
        assert torch.equal(second.trained.state_dict()[name], value), name


def test_a_step_by_equation_7_learns_and_is_another():
    found = {}
    for form in ("mean_of_logs", "equation_7"):
        run = run_of(dataclasses.replace(BRIEF, multi_label=form))
        total = run.loss(0)
        total.backward()
        found[form] = float(total)
        assert all(torch.isfinite(p.grad).all() for p in run.trained.parameters() if p.grad is not None)
    assert math.isfinite(found["equation_7"]) and found["equation_7"] < found["mean_of_logs"]
    with pytest.raises(ValueError, match="multi_label is one of mean_of_logs, equation_7, got 'sum'"):
        changed(Recipe(), ["multi_label=sum"])


def test_all_parts_of_the_network_learn():
    run = run_of()
    run.loss(0).backward()
    still = {name for name, p in run.trained.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # A bias before a batch norm, and that of the keys of an attention, change nothing.
    assert all(name.endswith(("k_proj.bias", "projection.0.bias")) for name in still), still


@pytest.mark.parametrize("changes", [{"groups": 0.0}, {"labels": 0.0, "words": 0.0}, {"same": 0}, {"bf16": 1}])
def test_every_loss_can_be_left_out_and_bf16_is_close(changes):
    plain, other = run_of(), run_of(dataclasses.replace(BRIEF, **changes))
    a, b = float(plain.loss(0).detach()), float(other.loss(0).detach())
    assert math.isfinite(b)
    if "bf16" in changes:
        assert b == pytest.approx(a, rel=0.05) and a != b
    elif "same" not in changes:
        assert b < a


def test_some_steps_lower_the_loss_and_words_find_their_pixels():
    recipe = Recipe(steps=120, batch=12, scenes=0, bf16=0, rate=3e-3, average=0.9)
    run, seen = run_of(recipe), []
    run.go(lambda _, loss: seen.append(loss))
    assert np.mean(seen[-20:]) < 0.75 * np.mean(seen[:20])
    network = run.trained.finished()
    each = judge.judge(network, frames(2, seed=5), 96)
    guessed, single, _ = judge.chance(frames(2))
    assert np.nanmean(each) > 2 * max(guessed, single)


def test_the_finished_network_knows_all_words_and_those_never_said_are_one(tmp_path):
    learner = run_of().trained.eval()
    network = learner.finished()
    with torch.no_grad():
        ids = torch.from_numpy(tokenizer()(["a photo of a car.", "a photo of a zebra.", "a photo of a walrus."]).ids)
        found, scale = TextEncoder(network)(ids)
        rows = learner.vocabulary(["a photo of a car."])
        wanted = learner.network.vit.text_projection(learner.network.text(rows))
    torch.testing.assert_close(found[:1], wanted, atol=1e-5, rtol=0)
    assert float(scale[0, 0]) == pytest.approx(30, rel=1e-4)
    table = network.vit.text_model.embeddings.token_embedding.weight
    assert table.shape[0] == 49_408 and len(torch.unique(table, dim=0)) == len(learner.vocabulary)
    grouping.save(network, tmp_path / "network.pt")
    assert torch.equal(
        grouping.load(tmp_path / "network.pt").vit.state_dict()["logit_scale"].half(), network.vit.logit_scale.half()
    )


# ------------------------------------------------------------------------------------------------ what it reaches


def test_overlaps_are_counted_pixel_by_pixel_and_the_unlabelled_do_not_count():
    truth = np.array([[0, 0, 1, 1], [1, 1, 11, 11]], np.uint8)
    found = np.array([[0, 1, 1, 1], [1, 0, 0, 1]], np.uint8)
    table = judge.confusion(found, truth)
    assert table[:2, :2].tolist() == [[1, 1], [1, 3]] and table.sum() == 6
    each = judge.overlaps(table)
    assert each[0] == pytest.approx(1 / 3) and each[1] == pytest.approx(3 / 5) and np.isnan(each[2:]).all()


def test_chance_is_what_random_labels_and_the_best_single_class_give():
    rng = np.random.default_rng(0)
    labels = rng.choice(11, (400, 500), p=np.array([30, 20, 1, 20, 8, 8, 2, 3, 5, 2, 1]) / 100).astype(np.uint8)
    guessed, single, name = judge.chance([Frame("f", "d", np.zeros((1, 1, 3), np.uint8), labels)])
    table = judge.confusion(rng.integers(0, 11, labels.shape).astype(np.uint8), labels)
    assert guessed == pytest.approx(np.nanmean(judge.overlaps(table)), rel=0.02)
    constant = judge.confusion(np.zeros_like(labels), labels)
    assert single == pytest.approx(np.nanmean(judge.overlaps(constant))) and name == "Sky"


def test_masks_are_those_of_the_written_rule():
    """Give each pixel the class with the greatest sum over groups of assignment times probability."""
    learner = run_of().trained.eval()
    network = learner.finished()
    served = ImageGrouper(network)
    texts, scale = judge.classes(network, ("sky", "road", "car"))
    image = frames(1)[0].image[:96, :128]
    found = judge.labels(served, texts, scale, image, 96)
    with torch.no_grad():
        groups, _, share = served(torch.from_numpy(image.copy())[None])
    p = (scale * groups[0] @ texts.T).softmax(dim=-1)
    full = F.interpolate(share, (96, 128), mode="bilinear", align_corners=False)[0]
    wanted = sum(full[g][..., None] * p[g] for g in range(len(p))).argmax(dim=-1)
    assert (found == wanted.numpy()).mean() > 0.999


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_trains_records_and_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    data = tmp_path / "camvid"
    for sub in ("images", "labels"):
        (data / sub).mkdir(parents=True)
    for drive, count in (("0016E5", 2), ("0001TP", 26), ("0006R0", 1)):
        for index, frame in enumerate(frames(count)):
            Image.fromarray(frame.image).save(data / "images" / f"{drive}_{index:05d}.webp", lossless=True)
            Image.fromarray(frame.labels).save(data / "labels" / f"{drive}_{index:05d}.png")
    monkeypatch.setattr(Learner.__init__, "__defaults__", (tiny, None))
    monkeypatch.setattr(training, "HEIGHT", 96)
    out = tmp_path / "grouping.pt"
    choices = ["--set", "steps=2", "--set", "batch=3", "--set", "scenes=0"]
    assert training.main(["--data", str(data), "--out", str(out), *choices]) == 0
    record = json.loads(out.with_suffix(".json").read_text())
    assert [row["frames"].split(" (")[0] for row in record["reach"]] == [
        "held-out stretches of the training drives",
        "drive 0006R0, unseen",
    ]
    assert set(record["reach"][0]) >= {"mean IoU", "labels at random", *CLASSES}
    assert record["recipe"]["batch"] == 3 and "CC BY-NC" in record["licence"]
    assert grouping.load(out).groups == 6 and not out.with_suffix(".checkpoint").exists()
    with pytest.raises(SystemExit):
        training.main(["--data", str(data), "--out", str(out), "--set", "depth=3"])
    assert "unknown depth" in capsys.readouterr().err


def test_a_recipe_is_changed_by_name():
    assert changed(Recipe(), ["groups=0", "same=0"]) == dataclasses.replace(Recipe(), groups=0.0, same=0)
