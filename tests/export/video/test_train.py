"""Training of the networks of `enhance`: losses, pairs of one place, seeds, what is judged, pruning's rounds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from export.training import dead_leaves  # noqa: E402
from export.video import (  # noqa: E402
    data,
    judge,
    motion,
    prune,
)
from export.video import losses as video_losses  # noqa: E402
from export.video import network as video  # noqa: E402
from export.video import train as training  # noqa: E402
from export.video.codec import ENCODERS, Coding, code, from_yuv420, jpeg, to_picture, to_yuv420  # noqa: E402
from export.video.codec import video as coded_video  # noqa: E402
from export.video.data import Damage, Pairs, smaller, turned  # noqa: E402
from export.video.motion import moving  # noqa: E402
from export.video.network import Design, Enhancer, Served  # noqa: E402
from export.video.train import Learner, Recipe, Task, losses  # noqa: E402
from sluice.contracts import ROOT  # noqa: E402

DATA = Path(os.environ.get("SLUICE_DATA", ROOT.parent / "shared" / "data"))
TINY = {
    1: Design("usnet", {"width": 4, "hidden": [6, 6, 6]}),
    2: Design("rrrdb", {"width": 6, "fine": 4, "growth": [[[4, 4]]]}),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def picture(height: int = 288, width: int = 416, seed: int = 0) -> np.ndarray:
    """Draw smooth patches with edges, uint8, which a codec can code and which differ from place to place."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 32 + 1, width // 32 + 1, 3))
    y, x = np.mgrid[:height, :width]
    shade = 20 * np.sin(x / 7.0 + seed)[..., None] * np.cos(y / 11.0)[..., None]
    return np.clip(coarse[y // 32, x // 32] * 0.8 + 20 + shade, 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Make groups of pictures short, since only trainings need whole ones."""
    monkeypatch.setattr(data, "GROUPS", (9,))


@pytest.fixture(scope="module")
def images():
    return [picture(seed=seed) for seed in range(3)]


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((a.astype(float) - b.astype(float)) ** 2).mean()))


# -- losses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(176, 176), (201, 187)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ms_ssim_equals_that_of_pytorch_msssim(size, channels):
    theirs = pytest.importorskip("pytorch_msssim")
    torch.manual_seed(0)
    a = torch.rand(2, channels, *size)
    for noise in (0.02, 0.3):
        b = (a + noise * torch.randn(a.shape)).clamp(0, 1)
        wanted = theirs.ms_ssim(a, b, data_range=1.0, size_average=False)
        assert (video_losses.ms_ssim(a, b) - wanted).abs().max() < 1e-5
        single, _ = video_losses.similarity(a, b, video_losses.gaussian())
        assert (single.mean(1) - theirs.ssim(a, b, data_range=1.0, size_average=False)).abs().max() < 1e-5


def test_ms_ssim_of_fewer_levels_and_of_too_small_a_picture():
    a = torch.rand(1, 1, 48, 48)
    assert float(video_losses.ms_ssim(a, a, levels=3)) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="at least 176 pixels a side for 5 levels and a window of 11, got 48"):
        video_losses.ms_ssim(a, a)


def test_the_gradient_of_ms_ssim_is_finite_for_opposite_pictures():
    a = torch.rand(1, 1, 64, 64).requires_grad_()
    video_losses.ms_ssim(a, 1 - a.detach(), levels=3).sum().backward()
    assert a.grad is not None and torch.isfinite(a.grad).all()


def test_each_branch_has_a_loss_of_its_own():
    wanted = torch.rand(1, 3, 48, 48)
    pictures = [wanted + 0.1, wanted + 0.2, wanted]
    assert float(video_losses.deep(pictures, wanted, 0.5, 0.0)) == pytest.approx(0.5 * 0.3, abs=1e-5)
    assert float(video_losses.deep(pictures[2:], wanted, 0.5, 0.1)) == pytest.approx(0, abs=1e-6)


def test_psnr_counts_shares_of_an_error_and_none_below_its_least():
    wanted = torch.zeros(2, 3, 8, 8)
    poor, half = (video_losses.decibels(wanted + error, wanted) for error in (0.2, 0.1))
    assert float(poor - half) == pytest.approx(20 * np.log10(2), abs=1e-2)
    both = torch.cat([wanted[:1] + 0.1, wanted[1:]])
    assert float(video_losses.decibels(both, wanted)) == pytest.approx((float(half) - 50) / 2, abs=1e-3)


def test_sharpening_steepens_an_edge_and_leaves_noise():
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 0.8
    step = video_losses.blurred(torch.nn.functional.pad(step, (2,) * 4, mode="reflect"), video_losses.gaussian(5, 1.5))
    found = video_losses.sharpened(step + 0.1, 0.5)
    assert found.diff(dim=3).max() > 1.1 * step.diff(dim=3).max()
    noise = 0.5 + 0.01 * torch.rand(1, 3, 32, 32)
    assert torch.equal(video_losses.sharpened(noise, 0.5), noise)


def test_the_critic_and_the_network_share_no_gradient():
    critic = video_losses.Critic(4)
    found, wanted = torch.rand(1, 3, 16, 16).requires_grad_(), torch.rand(1, 3, 16, 16)
    fooled, told = video_losses.adversarial(critic, found, wanted)
    fooled.backward()
    assert found.grad is not None and found.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    found.grad = None
    told.backward()
    assert found.grad is None and all(parameter.grad is not None for parameter in critic.parameters())


# -- pairs -------------------------------------------------------------------------------------------------------------


def test_planes_of_a_video_and_back_cost_chroma_alone(images):
    back = from_yuv420(to_yuv420(images[0]))
    assert back.shape == images[0].shape and decibels(back, images[0]) > 30
    grey = np.repeat(images[0].mean(2).astype(np.uint8)[..., None], 3, 2)
    assert np.abs(from_yuv420(to_yuv420(grey)).astype(int) - grey).max() <= 1


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_gives_the_frames_of_a_clip_in_order(images, encoder, live):
    clip = moving(images[:1], (96, 128), 8, np.random.default_rng(3))
    good, poor = (coded_video(clip, Coding(crf=crf, encoder=encoder, live=live)) for crf in (12, 40))
    assert len(good) == len(poor) == 8 and good[0].shape == (96, 128, 3)
    for index, frame in enumerate(good):
        match = [decibels(frame, other) for other in clip]
        assert np.argmax(match) == index and match[index] > 28
        assert decibels(poor[index], clip[index]) < match[index]


@pytest.mark.parametrize("preset", data.PRESETS)
def test_a_clip_has_an_intra_frame_per_group_and_a_camera_looks_only_back(images, preset):
    clip = [to_picture(one) for one in moving(images[:1], (64, 96), 12, np.random.default_rng(3))]
    for encoder in ("x264", "x265", "mpeg4"):
        found = code(clip, Coding(preset=preset, encoder=encoder, group=6))
        assert [found.kinds[i] for i in (0, 6)] == ["I", "I"] and set(found.kinds[1:6]) <= {"P", "B"}
        live = code(clip, Coding(preset=preset, encoder=encoder, group=12, live=True))
        assert live.kinds == ["I", *["P"] * 11] and live.bits > 0


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_bitrate_is_kept_to_about_what_is_asked(images, encoder):
    clip = moving(images[1:2], (64, 96), 30, np.random.default_rng(4))
    scores = [decibels(coded_video(clip, Coding(bits=bits, encoder=encoder))[-1], clip[-1]) for bits in (0.05, 1.0)]
    assert scores[0] < scores[1]


def test_odd_frames_are_refused_by_the_codec(images):
    with pytest.raises(ValueError, match="even size for YUV 4:2:0, got 31 x 20"):
        coded_video([images[0][:20, :31]], Coding())


def test_dead_leaves_are_flat_in_the_given_colours_and_the_same_again():
    sources = [np.array([[[200, 10, 30], [0, 90, 250]]], np.uint8)]
    found = dead_leaves.pictures(6, (90, 120), sources, seed=4)
    assert [one.shape for one in found] == [(90, 120, 3)] * 6 and not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found, dead_leaves.pictures(6, (90, 120), sources, seed=4))
    shares = np.array([[(one == colour).all(axis=2).mean() for colour in sources[0][0]] for one in found])
    assert (shares.sum(1) > 0.5).all() and (shares.sum(1) < 1).all(), "flat, but for the edges"
    assert (shares.mean(0) > 0.15).all()


def test_windows_lie_inside_the_image_and_move(images):
    random = np.random.default_rng(5)
    for _ in range(20):
        clip = moving(images, (128, 192), 8, random)
        assert all(frame.shape == (128, 192, 3) and frame.dtype == np.uint8 for frame in clip)
        assert all((a != b).any() for a, b in itertools.pairwise(clip))
    with pytest.raises(ValueError, match="an image of at least 600 x 128, got 416 x 288"):
        moving(images[:1], (128, 600), 2, random)


def test_a_thing_passes_and_noise_is_new_in_each_frame(images, monkeypatch):
    def clips(passing, noisy):
        monkeypatch.setattr(motion, "PASSING", passing)
        monkeypatch.setattr(motion, "NOISY", noisy)
        return np.stack(moving([images[0]], (64, 96), 3, np.random.default_rng(1))).astype(int)

    still, passed, noisy = clips(0, 0), clips(1, 0), clips(0, 1)
    differs = (passed != still).any(axis=(0, 3))
    assert 0.02 < differs.mean() < 0.6
    noise = noisy - still
    assert noise.std() > 0.2 and abs(noise.mean()) < 0.3 and (noise[0] != noise[1]).mean() > 0.1


def test_what_is_brought_down_still_holds_a_window(images):
    random = np.random.default_rng(2)
    sizes = [data.shrunk(images[0], (200, 300), random).shape for _ in range(30)]
    assert all(200 <= height <= 288 and 300 <= width <= 416 for height, width, _ in sizes) and len(set(sizes)) > 5


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_both_crops_of_a_pair_show_the_same_place(images, scale, share):
    """Scale the clean crop to the coded one's size: it must be nearer at its own place than one or two pixels away."""
    damage = Damage(jpeg=(70, 80), crf=(14, 18), bits=(1.0, 2.0), video=share, grey=0.3, scale=scale)
    pairs = Pairs(images, damage, side=64, count=4, seed=0)
    coded, wanted = pairs.batch(0, 6)
    assert coded.shape == (6, 3, 64, 64) and wanted.shape == (6, 3, 64 * scale, 64 * scale)
    for given, clean in zip(coded, wanted, strict=True):
        a = given.permute(1, 2, 0).numpy()
        b = smaller((clean.permute(1, 2, 0).numpy() * 255).astype(np.uint8), scale) / 255
        shifts = [(y, x) for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)]
        errors = {(y, x): ((a[2:-2, 2:-2] - b[2 + y : 62 + y, 2 + x : 62 + x]) ** 2).mean() for y, x in shifts}
        assert min(errors, key=errors.__getitem__) == (0, 0)


def test_a_batch_depends_on_the_seed_and_the_step_alone(images):
    pairs, again = (Pairs(images, Damage(), side=32, count=2, seed=7) for _ in range(2))
    pairs.batch(0, 2)
    for a, b in zip(pairs.batch(5, 3), again.batch(5, 3), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(pairs.batch(6, 3)[0], pairs.batch(5, 3)[0])
    assert not torch.equal(Pairs(images, Damage(), 32, 2, 8).batch(5, 3)[0], pairs.batch(5, 3)[0])


def test_what_no_codec_has_seen_is_only_made_smaller(images):
    pairs = Pairs(images, Damage(coded=0.0, scale=2), side=32, count=5, seed=0)
    assert pairs.clips is None
    low, high = pairs.batch(0, 4)
    for a, b in zip(low, high, strict=True):
        wanted = smaller((b.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), 2)
        assert np.array_equal((a.permute(1, 2, 0).numpy() * 255).round(), wanted)


def test_crops_that_do_not_fit_the_grid_are_refused(images):
    with pytest.raises(ValueError, match="multiple of 8 pixels, at most 128, got 36"):
        Pairs(images, Damage(), side=36, count=0, seed=0)


def test_both_are_turned_alike():
    a = np.arange(48).reshape(4, 4, 3)
    seen = {tuple(turned(a, a, np.random.default_rng(seed))[0].ravel()) for seed in range(60)}
    assert len(seen) == 8
    for seed in range(5):
        first, second = turned(a, a + 1, np.random.default_rng(seed))
        assert np.array_equal(first + 1, second)


# -- training ----------------------------------------------------------------------------------------------------------


def test_the_record_has_the_commands_of_all_stages(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "clean", lambda *_: images)
    recipe = Recipe(batch=1, side=16, structure=0.0)
    monkeypatch.setitem(training.TASKS, "tiny", Task(TINY[2], Damage(scale=2, coded=0.0), recipe))
    given = ["--model", "tiny", "--data", "d", "--set", "steps=1", "--out"]
    first, last = str(tmp_path / "first.pt"), str(tmp_path / "last.pt")
    assert training.main([*given, first]) == 0 and training.main([*given, last, "--start", first]) == 0
    stage = "python -m export.video.train --model tiny --data d --set steps=1 --out"
    record = json.loads((tmp_path / "last.json").read_text())
    assert record["command"] == f"{stage} {first} && {stage} {last} --start {first}"


@pytest.mark.parametrize("scale", [1, 2])
def test_a_few_steps_lower_the_loss_and_come_out_the_same_again(scale, images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "clean", lambda *_: images)
    recipe = Recipe(steps=40 if scale == 1 else 24, batch=4, side=48, clips=1, scenes=0, bf16=0, rate=3e-3, average=0.5)
    task = Task(TINY[scale], Damage(scale=scale, coded=1.0 if scale == 1 else 0.0), recipe)
    made = [training.train(task, tmp_path, tmp_path / f"{n}.pt", 0, None, None) for n in (1, 2)]
    for a, b in zip(made[0].network.parameters(), made[1].network.parameters(), strict=True):
        assert torch.equal(a, b)
    pairs = Pairs(images, task.damage, 48, 1, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        first, last = (
            np.mean([float(losses(Learner(network, False), pairs, recipe, None)(step)) for step in range(12)])
            for network in (TINY[scale].build(), made[0].network.train())
        )
    assert last < first
    record = json.loads((tmp_path / "1.json").read_text())
    assert record["recipe"]["steps"] == recipe.steps and "CC BY-NC" in record["licence"] and record["parameters"] > 0
    assert video.load(tmp_path / "1.pt").design == TINY[scale]
    training.train(task, tmp_path, tmp_path / "3.pt", 0, tmp_path / "1.pt", None)
    assert json.loads((tmp_path / "3.json").read_text())["recipe"]["start"] == "1.pt"
    assert json.loads((tmp_path / "3.json").read_text())["before"]["recipe"] == record["recipe"]


def test_features_adversary_and_sharp_targets_are_there_by_choice(images):
    pairs = Pairs(images, Damage(scale=2, coded=0.0), 32, 0, 0)
    learner = Learner(TINY[2].build(), adversary=True)
    recipe = Recipe(batch=2, side=32, structure=0.0, bf16=0)
    plain = losses(learner, pairs, recipe, None)(0).item()
    assert losses(learner, pairs, dataclasses.replace(recipe, sharpen=1.0), None)(0).item() != plain
    extractor = torch.nn.Conv2d(3, 4, 3)
    loss = losses(learner, pairs, dataclasses.replace(recipe, feature=1.0, adversary=0.1), extractor)(0)
    loss.backward()
    assert loss.item() > plain
    assert all(parameter.grad is not None for parameter in learner.network.parameters())
    assert learner.critic is not None and all(p.grad is not None for p in learner.critic.parameters())


@pytest.mark.parametrize("name", training.TASKS)
def test_every_task_fits_its_network(name):
    task = training.TASKS[name]
    network = task.design.build()
    assert int(getattr(network, "scale", 1)) == task.damage.scale
    assert (task.damage.scale == 2) == name.startswith("frame_upscaler")


# -- judging -----------------------------------------------------------------------------------------------------------


def test_the_resize_of_the_benchmarks_equals_pillows_inside():
    image = picture(64, 96, seed=3)
    found = judge.resized(image, (32, 48))
    assert np.abs(found.astype(int) - smaller(image, 2))[3:-3, 3:-3].max() <= 1
    flat = np.full((9, 7, 3), 77, np.uint8)
    assert (judge.resized(flat, (18, 14)) == 77).all()


def test_psnr_and_luma_are_those_of_the_literature():
    assert judge.luma(np.array([255, 255, 255], np.uint8)) == pytest.approx(235, abs=1e-2)
    assert judge.luma(np.array([0, 0, 0], np.uint8)) == 16
    a, b = np.zeros((8, 8)), np.full((8, 8), 5.0)
    b[0] = 200
    assert judge.psnr(a, b, 2) == pytest.approx(10 * np.log10(255**2 / 25))


@pytest.mark.data
def test_decoded_jpeg_and_bicubic_have_the_published_figures():
    """Compare with LIVE1 at quality 10 to 40: 27.77, 30.07, 31.41, 32.35 dB; Set5 bicubic x2: 33.66 dB."""
    folder = DATA / "restoration"
    if not folder.exists():
        pytest.skip(f"{folder} is missing; set SLUICE_DATA")
    found = [judge.deblocking(lambda rgb: rgb, folder / "live1", quality)["plain, dB"] for quality in (10, 20, 30, 40)]
    assert found == pytest.approx([27.77, 30.07, 31.41, 32.35], abs=0.02)
    nearest = judge.enlarging(lambda rgb: np.repeat(np.repeat(rgb, 2, 0), 2, 1), folder / "set5")
    assert nearest["plain, dB"] == pytest.approx(33.66, abs=0.05) and nearest["gain, dB"] < -1


def test_a_network_is_judged_as_it_is_served(images):
    class Nothing(torch.nn.Module):
        def forward(self, x):
            return x

    enhance = judge.enhancing(Served(Enhancer(TINY[1], Nothing())))
    assert np.array_equal(enhance(images[0]), images[0])
    assert jpeg(images[0], 10).shape == images[0].shape
    coded = data.clips(images, 1, Damage(scale=2), 0)
    twice = judge.of_clips(lambda rgb: judge.resized(rgb, (256, 384)), coded, "clips")
    assert twice["set"] == "clips" and twice["gain, dB"] == 0 and 10 < twice["plain, dB"] < 50


# -- pruning -----------------------------------------------------------------------------------------------------------


def test_sharpness_is_one_for_the_truth_less_for_a_blur_and_none_for_noise():
    torch.manual_seed(0)
    wanted = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float() / 255
    assert prune.sharpness(wanted, wanted) == pytest.approx(1)
    blur = torch.nn.functional.avg_pool2d(wanted, 3, 1, 1)
    assert 0.1 < prune.sharpness(blur, wanted) < 0.8
    assert abs(prune.sharpness(torch.rand(wanted.shape), wanted)) < 0.3


@pytest.mark.parametrize("scale", [1, 2])
def test_rounds_of_pruning_make_the_network_smaller_until_it_is_no_longer_sharp(images, scale):
    recipe = Recipe(steps=2, batch=2, side=32, structure=0.0, clips=0, bf16=0)
    damage = Damage(scale=scale, coded=0.0 if scale == 2 else 1.0, video=0.0)
    pairs, held_out = (Pairs(images, damage, 32, 0, seed) for seed in (0, 1))
    torch.manual_seed(0)
    enhancer = Enhancer(TINY[scale], TINY[scale].build())
    smaller_one, table = prune.prune(enhancer, pairs, held_out, recipe, 0.3, 2, threshold=0.0)
    sizes = [row["parameters"] for row in table]
    assert len(sizes) == 3 and sizes[0] > sizes[1] > sizes[2]
    assert table[-1]["multiply-adds a pixel"] < table[0]["multiply-adds a pixel"]
    assert smaller_one.design != TINY[scale]
    kept, table = prune.prune(enhancer, pairs, held_out, recipe, 0.3, 4, threshold=2.0)
    assert len(table) == 2 and kept is enhancer
