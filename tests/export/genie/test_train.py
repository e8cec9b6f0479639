"""Distillation against closed forms, the training loop, its data, and both commands from end to end."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402

from export.genie import (  # noqa: E402
    files,
    process,
    train_score,
)
from export.genie import train_head as distil  # noqa: E402
from export.genie.data import Pictures, batch, digits, folder, streets  # noqa: E402
from export.genie.network import ScoreNetwork, light, mixed, with_head  # noqa: E402
from export.genie.train_head import HeadRecipe, derivative, target  # noqa: E402
from export.training import loop  # noqa: E402
from export.training.loop import Recipe, Run  # noqa: E402
from export.training.options import changed  # noqa: E402
from sluice.contracts import ROOT  # noqa: E402

DATA = Path(os.environ.get("SLUICE_DATA", ROOT.parent / "shared" / "data"))


pytestmark = pytest.mark.usefixtures("one_thread")


# ------------------------------------------------------------------------------------------------ the closed form


@dataclasses.dataclass(frozen=True)
class Mixture:
    """p_0 = sum of w_k N(mu_k, s^2 I) on images of two pixels, whose eps and derivative are known (reference 1.1)."""

    means: torch.Tensor  # [K, 2]
    weights: torch.Tensor  # [K]
    s: float = 0.3

    def moments(self, bar, g):
        """Return V, m and the values that follow from the responsibilities, at xbar [B, 2] and gamma [B, 1]."""
        v = self.s**2 + g**2
        d = (bar[:, None] - self.means).square().sum(-1)
        r = torch.softmax(self.weights.log() - d / (2 * v), dim=1)
        return v, r, d, r @ self.means

    def eps(self, x, t):
        """Return eps at x [B, 1, 1, 2] and t [B], as a score network does."""
        g = process.gamma(t)[:, None]
        bar = x.flatten(1) / process.alpha(t)[:, None]
        v, _, _, m = self.moments(bar, g)
        return (g * (bar - m) / v).view_as(x)

    def derivative(self, x, t):
        """Return d eps / d gamma along the trajectory, computed without automatic differentiation."""
        g = process.gamma(t)[:, None]
        bar = x.flatten(1) / process.alpha(t)[:, None]
        v, r, d, m = self.moments(bar, g)
        eps = g * (bar - m) / v
        c = torch.einsum("bk,ki,kj->bij", r, self.means, self.means) - m[:, :, None] * m[:, None, :]
        along = g / v * (eps - torch.einsum("bij,bj->bi", c, eps) / v)
        dm = g / v**2 * ((r * d) @ self.means - (r * d).sum(1, keepdim=True) * m)
        return (along + (bar - m) * (1 / v - 2 * g**2 / v**2) - g / v * dm).view_as(x)


TOY = Mixture(
    torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64),
    torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
)


def points(count=64, seed=0):
    """Draw x_t [count, 1, 1, 2] from the mixture at times t [count] over the whole range of t."""
    random = torch.Generator().manual_seed(seed)
    t = torch.linspace(1e-3, 1, count, dtype=torch.float64)
    x0 = TOY.means[torch.randint(4, (count,), generator=random)]
    x0 = x0 + TOY.s * torch.randn(count, 2, generator=random, dtype=torch.float64)
    noise = torch.randn(count, 2, generator=random, dtype=torch.float64)
    x = process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise
    return x.view(count, 1, 1, 2), t


def terms(score, x, t):
    """Return J eps, J x and d eps / d t by three separate products."""
    still, moving = torch.zeros_like(t), torch.ones_like(t)
    eps = score(x, t)
    jvp = lambda dx, dt: torch.func.jvp(score, (x, t), (dx, dt))[1]  # noqa: E731
    return jvp(eps, still), jvp(x, still), jvp(torch.zeros_like(x), moving)


def test_one_product_gives_the_closed_form_of_the_derivative():
    x, t = points()
    eps, found = derivative(TOY.eps, x, t)
    assert torch.equal(eps, TOY.eps(x, t))
    assert (found - TOY.derivative(x, t)).abs().max() < 1e-9 * TOY.derivative(x, t).abs().max()
    torch.testing.assert_close(found, TOY.derivative(x, t), rtol=1e-9, atol=1e-9)


def test_one_time_may_stand_for_all_images():
    x, _ = points(8)
    t = torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(derivative(TOY.eps, x, t.expand(8))[1], derivative(TOY.eps, x, t.repeat(8))[1])


def test_the_merged_direction_equals_the_three_terms_of_the_chain_rule():
    x, t = points()
    je, jx, dt = terms(TOY.eps, x, t)
    g = process.gamma(t).view(-1, 1, 1, 1)
    beta = 0.1 + 19.9 * t.view(-1, 1, 1, 1)
    wanted = je / torch.sqrt(1 + g**2) - jx * g / (1 + g**2) + dt * 2 * g / ((1 + g**2) * beta)
    torch.testing.assert_close(derivative(TOY.eps, x, t)[1], wanted, rtol=1e-9, atol=1e-9)


def test_the_heads_exact_images_give_the_derivative_and_are_of_order_one_at_every_time():
    x, t = points(256)
    even = dataclasses.replace(TOY, weights=torch.full((4,), 0.25, dtype=torch.float64))
    je, jx, dt = terms(even.eps, x, t)
    over = lambda v: v.view(-1, 1, 1, 1)  # noqa: E731
    k1 = -over(process.sigma(t)) * je
    k2 = -jx
    k3 = over(2 * process.gamma(t) ** 2 / (0.1 + 19.9 * t)) * dt
    torch.testing.assert_close(mixed(k1, k2, k3, t), even.derivative(x, t), rtol=1e-9, atol=1e-9)
    for k in (k1, k2, k3):
        for part in k.chunk(4):
            assert 0.05 < part.square().mean().sqrt() < 4


def test_the_derivative_is_the_slope_of_eps_on_a_trajectory_that_was_integrated():
    x, t = points(32)
    t = t.clamp(0.05, 0.95)
    g = process.gamma(t).view(-1, 1, 1, 1)
    bar = x / process.alpha(t).view(-1, 1, 1, 1)

    def eps(bar, g):
        a = 1 / torch.sqrt(1 + g**2)
        return TOY.eps(bar * a, process.time_at(torch.log1p(g.flatten() ** 2)))

    def moved(h):
        """Take one Runge-Kutta step of d xbar / d gamma = eps."""
        a = eps(bar, g)
        b = eps(bar + h / 2 * a, g + h / 2)
        c = eps(bar + h / 2 * b, g + h / 2)
        d = eps(bar + h * c, g + h)
        return bar + h / 6 * (a + 2 * b + 2 * c + d)

    h = 1e-4 * g
    slope = (eps(moved(h), g + h) - eps(moved(-h), g - h)) / (2 * h)
    torch.testing.assert_close(derivative(TOY.eps, x, t)[1], slope, rtol=2e-6, atol=2e-6)


def test_a_guided_eps_has_the_derivative_of_its_own_trajectory_not_the_sum_of_two():
    x, t = points(32)
    t = t.clamp(0.05, 0.6)
    w = 1.0
    other = dataclasses.replace(TOY, weights=TOY.weights.flip(0), s=0.5)

    def guided(x, t):
        return (1 + w) * TOY.eps(x, t) - w * other.eps(x, t)

    found = derivative(guided, x, t)[1]
    g, bar = process.gamma(t).view(-1, 1, 1, 1), x / process.alpha(t).view(-1, 1, 1, 1)

    def at(h):
        """Return the point of the guided trajectory at h, to second order in h."""
        gh = g + h
        e = guided(x, t)
        return guided((bar + h * e) / torch.sqrt(1 + gh**2), process.time_at(torch.log1p(gh.flatten() ** 2)))

    h = 1e-5 * g
    torch.testing.assert_close(found, (at(h) - at(-h)) / (2 * h), rtol=1e-5, atol=1e-5)
    simple = (1 + w) * TOY.derivative(x, t) - w * other.derivative(x, t)
    assert (found - simple).abs().max() > 0.1


# ------------------------------------------------------------------------------------------------ networks


def tiny(classes=0, **changes):
    torch.manual_seed(1)
    design = light((8, 16), 1, classes, size=8, patch=2)
    return ScoreNetwork(dataclasses.replace(design, **changes)).eval()


def batch_of(network, count=4):
    random = torch.Generator().manual_seed(5)
    x = torch.randn(count, 1, 8, 8, generator=random)
    t = torch.linspace(0.05, 0.95, count)
    return x, t, torch.arange(count) % network.design.labels if network.design.labels else None


class Stub(ScoreNetwork):
    """A score network whose eps is the closed form; its features and embedding are of no account."""

    def parts(self, x, t, labels=None):
        return TOY.eps(x, t), torch.zeros(len(x), 8, 4, 4), torch.zeros(len(x), 32)


def test_the_target_of_a_network_is_the_closed_form_and_the_head_is_given_the_predicted_eps():
    stub = Stub(light((8, 16), 1, 0, size=8))
    x, t = points(16)
    (given_x, eps, _, _, _), wanted = target(stub, x, t, None)
    assert torch.equal(given_x, x) and torch.equal(eps, TOY.eps(x, t))
    torch.testing.assert_close(wanted, TOY.derivative(x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_target_of_a_u_net_is_the_slope_of_its_eps_along_its_own_direction(prediction, classes):
    network = tiny(classes, prediction=prediction)
    x, t, labels = batch_of(network)
    (_, eps, _, _, _), wanted = target(network, x, t, labels)
    g, bar = process.gamma(t), x / process.alpha(t).view(-1, 1, 1, 1)
    late, early = t + 5e-4, t - 5e-4  # diffusers' time embedding is float32: smaller steps drown in its rounding

    def at(t):
        gt = process.gamma(t)
        moved = bar + (gt - g).view(-1, 1, 1, 1) * eps
        return network(moved * process.alpha(t).view(-1, 1, 1, 1), t, labels)

    with torch.no_grad():
        slope = (at(late) - at(early)) / (process.gamma(late) - process.gamma(early)).view(-1, 1, 1, 1)
    scaled = [(v * g.view(-1, 1, 1, 1)).flatten(1) for v in (wanted, slope)]
    assert bool(((scaled[0] - scaled[1]).norm(dim=1) < 0.01 * scaled[0].norm(dim=1) + 5e-4).all())


def test_the_derivatives_of_both_predictions_agree_where_the_networks_do():
    raw, network = tiny(prediction="epsilon"), tiny(prediction="v_prediction")
    x, t, _ = batch_of(network)

    def eps(x, t):
        a, s = (f(t).view(-1, 1, 1, 1) for f in (process.alpha, process.sigma))
        return a * raw(x, t) + s * x

    with torch.no_grad():
        _, wanted = derivative(eps, x, t)
    torch.testing.assert_close(target(network, x, t, None)[1], wanted, rtol=1e-3, atol=1e-5)


def test_adding_one_image_to_all_three_changes_nothing_and_the_first_two_differ_by_the_damped_term_alone():
    x, t = points(64)
    je, jx, dt = terms(TOY.eps, x, t)
    s, a = (f(t).view(-1, 1, 1, 1) for f in (process.sigma, process.alpha))
    k1, k2 = -s * je, -jx
    x0 = (x - s * TOY.eps(x, t)) / a
    _, jx0 = torch.func.jvp(lambda x: TOY.eps(x, t), (x,), (x0,))
    torch.testing.assert_close(k2 - k1, -a * jx0, rtol=1e-9, atol=1e-9)
    k3 = 2 * process.gamma(t).view(-1, 1, 1, 1) ** 2 / (0.1 + 19.9 * t.view(-1, 1, 1, 1)) * dt
    shifted = mixed(k1 - k1, k2 - k1, k3 - k1, t)
    torch.testing.assert_close(shifted, TOY.derivative(x, t), rtol=1e-9, atol=1e-9)


def test_what_the_head_does_not_know_is_damped_near_the_last_time():
    network = with_head(tiny(), 8)
    torch.nn.init.normal_(network.head.leave.weight, std=0.1)
    x, _, _ = batch_of(network, 2)
    t = torch.tensor([0.3, 1.0])
    with torch.no_grad():
        sizes = (process.gamma(t) * network.both(x, t)[1].flatten(1).norm(dim=1)).tolist()
    assert sizes[1] < 0.05 * sizes[0]


def test_no_gradient_reaches_the_score_network():
    network = with_head(tiny(), 8)
    recipe = HeadRecipe(steps=2, batch=4, targets=8)
    distil.losses(network, some(), recipe, 0)(0).backward()
    assert all(p.grad is None for p in network.unet.parameters())
    assert network.head.leave.weight.grad.abs().max() > 0


def test_attention_does_not_stand_in_the_way_of_the_derivative():
    network = tiny()
    blocks = {"down_block_types": ["AttnDownBlock2D"] * 2, "up_block_types": ["AttnUpBlock2D"] * 2}
    wide = {**network.design.unet, **blocks, "attention_head_dim": 8}
    attentive = ScoreNetwork(dataclasses.replace(network.design, unet=wide)).eval()
    x, t, _ = batch_of(attentive)
    assert bool(torch.isfinite(target(attentive, x, t, None)[1]).all())


# ------------------------------------------------------------------------------------------------ training


def some(labels=False, count=40):
    """Draw pictures with something to learn: bright squares on dark ground."""
    rng = np.random.default_rng(0)
    images = np.zeros((count, 1, 8, 8), np.uint8)
    for image in images:
        y, x = rng.integers(0, 4, 2)
        image[0, y : y + 4, x : x + 4] = rng.integers(150, 256)
    return Pictures(torch.from_numpy(images), torch.arange(count) % 3 if labels else None)


def history(run, **choices):
    losses = []
    run.go(lambda _, loss: losses.append(loss), **choices)
    return losses


def test_a_few_steps_of_distillation_lower_the_loss():
    network = tiny()
    base = Recipe(steps=60, batch=16, rate=3e-3)
    Run(network, train_score.losses(network, some(), base, 0), base, 0).go()  # a trajectory worth following
    network = with_head(network, 16)
    recipe = HeadRecipe(steps=120, batch=16, rate=5e-3, targets=512, bf16=0)
    run = Run(network.head, distil.losses(network, some(), recipe, 0), recipe, 0)
    losses = history(run)
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    rows = distil.judge(network, some(), recipe, batches=2)
    assert max(row["missed"] for row in rows[:4]) < 0.8


def test_targets_are_made_once_and_are_those_of_the_network():
    network, recipe = with_head(tiny(3), 8), HeadRecipe(batch=4, targets=70)
    targets = distil.Targets.make(network, some(True), recipe, 3)
    assert [len(tensor) for tensor in targets.given] == [70] * 5 and len(targets.wanted) == 70
    drawn, _ = targets.some(70, torch.Generator().manual_seed(0))
    assert [tensor.dtype for tensor in drawn] == [torch.float32] * 5
    # The same seed makes the same pictures, and the head is given what the network says of them.
    pictures = [distil.noised(some(True), recipe, network.design.null, distil.generator(3, i), n)
                for i, n in enumerate((64, 6))]  # fmt: skip
    again, labels = torch.cat([p[0] for p in pictures]), torch.cat([p[2] for p in pictures])
    torch.testing.assert_close(targets.given[0], again)
    own_eps, own = derivative(lambda x, t: network(x, t, labels), again, targets.given[4])
    torch.testing.assert_close(targets.given[1], own_eps.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(targets.wanted, own.detach(), rtol=1e-3, atol=1e-4)


def test_a_new_head_misses_all_of_the_derivative():
    rows = distil.judge(with_head(tiny(), 8), some(), HeadRecipe(batch=16), batches=1)
    assert [row["missed"] for row in rows] == [1.0] * 6
    assert rows[0]["from t"] == 0 and rows[-1]["to t"] == 1


def test_a_few_steps_lower_the_loss_of_the_score_network():
    network, recipe = tiny(3), Recipe(steps=60, batch=16, rate=3e-3)
    losses = history(Run(network, train_score.losses(network, some(True), recipe, 0), recipe, 0))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_loss_of_a_network_that_knows_the_noise_is_zero(monkeypatch):
    network, recipe = tiny(), Recipe(steps=2, batch=8)
    drawn = []
    plain = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **k: drawn.append(plain(*a, **k)) or drawn[-1])
    monkeypatch.setattr(network, "parts", lambda x, t, labels: (drawn[-1], None, None))
    assert float(train_score.losses(network, some(), recipe, 0)(0)) == 0


@pytest.mark.parametrize("kind", ["score", "head"])
def test_a_run_that_was_stopped_ends_where_one_that_was_not_does(tmp_path, kind):
    def begin():
        network = tiny(3)
        if kind == "score":
            recipe = Recipe(steps=8, batch=4)
            return Run(network, train_score.losses(network, some(True), recipe, 7), recipe, 7)
        torch.manual_seed(4)
        network, recipe = with_head(network, 8), HeadRecipe(steps=8, batch=4, targets=16)
        return Run(network.head, distil.losses(network, some(True), recipe, 7), recipe, 7)

    whole = begin()
    whole.go()
    first = begin()
    first.go(until=3)
    first.keep(tmp_path / "c")
    second = begin()
    second.resume(tmp_path / "c")
    assert second.step == 3
    second.go()
    for name, value in whole.trained.state_dict().items():
        assert torch.equal(value, second.trained.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_or_seed_is_refused(tmp_path):
    network, recipe = tiny(), Recipe(steps=2, batch=2)
    Run(network, lambda step: torch.zeros(()), recipe, 0).keep(tmp_path / "c")
    for other in (
        Run(network, lambda step: torch.zeros(()), dataclasses.replace(recipe, batch=3), 0),
        Run(network, lambda step: torch.zeros(()), recipe, 1),
    ):
        with pytest.raises(SystemExit, match="another recipe or seed"):
            other.resume(tmp_path / "c")


def test_the_averaged_weights_are_what_a_run_leaves():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    recipe = Recipe(steps=3, batch=1, average=0.5)
    run = Run(network, lambda step: -network.weight.sum(), recipe, 0)
    seen = []
    run.go(lambda r, _: seen.append(float(r.trained.weight.detach())))
    wanted = 0.0
    for step, value in enumerate(seen, 1):
        keep = min(0.5, (1 + step) / (10 + step))
        wanted = keep * wanted + (1 - keep) * value
    assert float(network.weight.detach()) == pytest.approx(wanted, rel=1e-5) and seen[-1] > wanted > 0


def test_the_log_says_the_time_left_and_the_checkpoint_is_kept(tmp_path, capsys):
    from export.training.loop import Progress

    run = Run(torch.nn.Linear(1, 1), lambda step: torch.zeros((), requires_grad=True), Recipe(steps=4), 0)
    run.go(Progress(tmp_path / "c", 0, shown=2, every=2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2/4", "4/4"] and all("left" in line for line in lines)
    assert torch.load(tmp_path / "c", weights_only=True)["step"] == 2


def test_the_times_of_a_batch_are_spread_over_all_of_the_range():
    t = train_score.moments(100, torch.Generator().manual_seed(0))
    assert t.min() >= 1e-3 and t.max() <= 1
    assert torch.bincount(((t - 1e-3) / 0.999 * 100).long().clamp(0, 99), minlength=100).max() <= 2
    assert not bool((t.diff() > 0).all())


def test_a_recipe_is_changed_by_name_and_an_unknown_name_is_refused():
    recipe = changed(HeadRecipe(), ["steps=7", "rate=0.5"])
    assert (recipe.steps, recipe.rate, recipe.width) == (7, 0.5, HeadRecipe().width)
    with pytest.raises(ValueError, match="unknown stepps; the recipe has steps, batch"):
        changed(HeadRecipe(), ["stepps=7"])


# ------------------------------------------------------------------------------------------------ data


def draw(pictures, seed, step, null=None, drop=0.0, count=6):
    return batch(pictures, count, null, drop, loop.generator(seed, step))


def test_a_batch_depends_on_seed_and_step_alone():
    a, la = draw(some(True), 1, 5)
    b, lb = draw(some(True), 1, 5)
    assert torch.equal(a, b) and torch.equal(la, lb)
    assert not torch.equal(a, draw(some(True), 1, 6)[0]) and not torch.equal(a, draw(some(True), 2, 5)[0])
    assert a.min() == -1 and 0 < a.max() <= 1


def test_the_null_label_takes_its_share():
    _, labels = draw(some(True), 0, 0, null=3, drop=0.25, count=2000)
    assert 0.2 < float((labels == 3).float().mean()) < 0.3
    assert set(labels.tolist()) == {0, 1, 2, 3}
    assert draw(some(), 0, 0)[1] is None


def test_mirrored_pictures_are_as_many_as_others_where_they_are_as_good():
    pictures = Pictures(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), None, flip=True)
    images, _ = draw(pictures, 0, 0, count=1000)
    assert 0.45 < float((images[:, 0, 0, 0] > 0).float().mean()) < 0.55


def digits_file(path, count=24):
    rng = np.random.default_rng(0)
    np.savez(
        path, x_train=rng.integers(0, 256, (count, 28, 28), np.uint8), y_train=(np.arange(count) % 10).astype("u1")
    )
    return path


def test_digits_are_padded_to_32_pixels_and_keep_their_class(tmp_path):
    pictures = digits(digits_file(tmp_path / "d.npz"))
    assert pictures.images.shape == (24, 1, 32, 32) and pictures.classes == 10
    edge = pictures.images.clone()
    edge[:, :, 2:30, 2:30] = 0
    assert int(edge.max()) == 0 and pictures.labels[13] == 3
    with pytest.raises(FileNotFoundError, match=r"found no n\.npz"):
        digits(tmp_path / "n.npz")


def test_a_folder_of_pictures_is_read_with_its_folders_as_classes(tmp_path):
    for index, name in enumerate(("ape", "bee")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 10), (index * 100, 0, 0)).save(tmp_path / name / "a.png")
    pictures = folder(tmp_path, 16, 3)
    assert pictures.images.shape == (2, 3, 16, 16) and pictures.labels.tolist() == [0, 1]
    assert pictures.images[1, 0].unique().tolist() == [100]
    flat = folder(tmp_path / "bee", 16, 1)
    assert flat.labels is None and flat.images.shape == (1, 1, 16, 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected pictures"):
        folder(tmp_path / "empty", 16, 3)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "camvid").exists(), reason="needs CamVid in the data folder (SLUICE_DATA)")
def test_street_crops_come_from_the_training_drives_and_are_the_same_every_time(tmp_path, monkeypatch):
    from export.training import camvid

    frames = camvid.read(DATA / "camvid", ("0001TP",))
    asked = []
    monkeypatch.setattr(camvid, "read", lambda folder, drives: asked.append(drives) or frames)
    one, two = (streets(DATA / "camvid", 12, 0, 3, tmp_path / "s.npz") for _ in range(2))
    assert asked == [("0016E5", "0001TP")] * 2
    assert one.images.shape == (12, 3, 32, 32) and one.flip and one.labels is None
    assert torch.equal(one.images, two.images)
    assert float(one.images.float().flatten(1).std(1).min()) > 5  # no crop is empty


# ------------------------------------------------------------------------------------------------ the commands


def test_both_commands_train_a_network_of_digits_that_the_exporter_can_load(tmp_path, capsys):
    data = str(digits_file(tmp_path / "d.npz"))
    steps = ["--set", "steps=2", "--set", "batch=8", "--threads", "1"]
    base, both = tmp_path / "base.pt", tmp_path / "both.pt"
    assert train_score.main(["--model", "digits", "--data", data, "--out", str(base), *steps]) == 0
    steps += ["--set", "targets=16"]
    assert distil.main(["--model", "digits", "--data", data, "--score", str(base), "--out", str(both), *steps]) == 0
    network = files.load(both)
    assert network.head is not None and network.design.null == 10 and network.design.classes == 10
    for name, value in files.load(base).unet.state_dict().items():
        assert torch.equal(value, network.unet.state_dict()[name]), "the score network stays as it is"
    facts = json.loads(both.with_suffix(".json").read_text())
    assert facts["head"]["steps"] == 2 and len(facts["reach"]) == 6 and "MNIST" in facts["data"]
    assert both.stat().st_size < 12e6
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_head_is_distilled_for_a_checkpoint_of_diffusers(tmp_path):
    torch.manual_seed(0)
    UNet2DModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
    ).save_pretrained(tmp_path / "net")
    DDPMScheduler(prediction_type="v_prediction").save_pretrained(tmp_path / "net")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (16, 16), (200, 10, 90)).save(tmp_path / "pictures" / "a.png")
    command = ["--model", "folder", "--data", str(tmp_path / "pictures"), "--score", str(tmp_path / "net")]
    few = [word for choice in ("steps=2", "batch=2", "targets=4") for word in ("--set", choice)]
    assert distil.main([*command, "--out", str(tmp_path / "o.pt"), *few]) == 0
    design = files.load(tmp_path / "o.pt").design
    assert design.prediction == "v_prediction" and design.noise["num_train_timesteps"] == 1000
    assert design.head_width == HeadRecipe().width


def test_missing_data_or_weights_end_the_command_with_one_line(tmp_path, capsys):
    for score, data in (("none.pt", "d.npz"), ("none", "none.npz")):
        with pytest.raises(SystemExit) as end:
            distil.main(
                ["--model", "digits", "--data", str(tmp_path / data), "--score", str(tmp_path / score), "--out", "o.pt"]
            )
        assert end.value.code == 1 and "not found" in capsys.readouterr().err
