"""Trajectories and solvers against closed-form mixtures, long-hand references and the table of known errors."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.genie_order.__main__ import KNOWN, Ground, slope
from bench.genie_order.toys import Guided, Mixture, flow, guided4, toy4, toy64
from sluice.errors import InvalidArgument
from sluice.methods.genie import schedule
from sluice.methods.genie.solvers import SOLVERS, Point, solver
from sluice.methods.genie.trajectory import Options, Trajectory, encode, noise, sample
from tests.made.v_prediction import v_of_eps

few = settings(max_examples=25, deadline=None)
names = st.sampled_from(sorted(SOLVERS))
GAMMAS = [float(schedule.gamma(t)) for t in (0.03, 0.1, 0.3, 0.6, 0.95)]


@pytest.fixture(scope="module")
def ground():
    return Ground(toy4(), 1000, fine=500)


def places(gamma, count=40):
    """Return points where trajectories are likely to be at this gamma."""
    rng = np.random.default_rng(5)
    return toy4().draw(rng, count) + gamma * rng.standard_normal((count, 2))


# ------------------------------------------------------------------------------------------------ the oracle


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("model", [toy4(), toy64()], ids=["toy4", "toy64"])
def test_the_oracle_is_minus_sigma_times_the_gradient_of_the_log_density(model, gamma):
    def log_density(xbar):
        variance = model.spread**2 + gamma**2
        return np.log(np.exp(-np.square(xbar[:, None] - model.means).sum(-1) / (2 * variance)).sum(1))

    x, h = places(gamma), 1e-5 * gamma
    moves = np.eye(2) * h
    score = np.stack([(log_density(x + m) - log_density(x - m)) / (2 * h) for m in moves], 1)
    # In xbar the score is alpha times that of x_t, and sigma / alpha = gamma.
    assert np.allclose(model.eps(x, gamma), -gamma * score, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_derivative_in_closed_form_is_that_along_a_trajectory(gamma):
    model, x, h = toy4(), places(gamma), 1e-4
    ends = [flow(model, x, gamma, gamma * (1 + s), 2) for s in (-h, h)]
    difference = (model.eps(ends[1], gamma * (1 + h)) - model.eps(ends[0], gamma * (1 - h))) / (2 * h * gamma)
    assert np.allclose(model.along(x, gamma), difference, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("t", [0.05, 0.2, 0.5, 0.9])
def test_the_derivative_from_x_and_t_in_three_terms_and_in_one_is_that_of_the_scaled_state(t):
    """Compare F4, F5 and F7: J_x eps, J_x x_t and d eps / d t, each term in closed form."""
    model = toy4()
    g, a, s = (float(f(t)) for f in (schedule.gamma, schedule.alpha, schedule.sigma))
    xbar = places(g)
    x = a * xbar
    eps = model.eps(xbar, g)

    def jacobian(v):  # d eps / d x_t = (d eps / d xbar) / alpha
        return model.jacobian(xbar, g, v) / a

    # d eps / d t at fixed x_t: xbar = x_t / alpha moves by gamma alpha^2 xbar per gamma.
    by_time = (model.jacobian(xbar, g, g * a * a * xbar) + model.slope(xbar, g)) / float(schedule.time_slope(t))
    exact = model.along(xbar, g)
    rate = float(schedule.time_slope(t))
    three = jacobian(eps) / math.sqrt(1 + g * g) - g / (1 + g * g) * jacobian(x) + by_time * rate
    merged = jacobian(eps / math.sqrt(1 + g * g) - x * g / (1 + g * g)) + by_time * rate
    k1, k2, k3 = -s * jacobian(eps), -jacobian(x), 2 * g * g / (0.1 + 19.9 * t) * by_time
    mixed = -k1 / g + g / (1 + g * g) * k2 + k3 / (g * (1 + g * g))
    for found in (three, merged, mixed):
        assert np.allclose(found, exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())
    assert all(0.05 < np.sqrt(np.square(k).mean()) < 5 for k in (k1, k2, k3)), "targets of order 1"


# ------------------------------------------------------------------------------------------------ orders and errors


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_solver_has_the_order_that_its_row_claims(ground, name):
    steps = (80, 160, 320)
    few = Ground.__new__(Ground)
    few.model, few.latents, few.truth = ground.model, ground.latents[:150], ground.truth[:150]
    errors = few.curve(steps, solver=name).mean(axis=1)
    assert slope(steps, errors) == pytest.approx(SOLVERS[name].order, abs=0.1)


@pytest.mark.parametrize(("grid", "name"), KNOWN, ids=["-".join(key) for key in KNOWN])
def test_errors_are_those_of_an_independent_program(ground, grid, name):
    steps = (5, 10, 20, 40)[: len(KNOWN[grid, name])]
    errors = ground.curve(steps, grid=grid, solver=name).mean(axis=1)
    # 10 %: other latents were drawn there, and the mean over a thousand moves by some per cent.
    assert errors == pytest.approx(KNOWN[grid, name][: len(steps)], rel=0.1)


def long_hand(name, model, xbar, gammas):
    """Solve for one sample, number by number, from the formulas as they are published."""
    seen = []
    for n, g in enumerate(gammas[:-1]):
        to = gammas[n + 1]
        h = to - g
        eps = model.eps(xbar[None], g)[0]
        if name == "ddim":
            new = xbar + h * eps
        elif name == "genie":
            new = xbar + h * eps + 0.5 * h**2 * model.along(xbar[None], g)[0]
        elif name == "ab2":
            new = xbar + h * eps
            if seen:
                new = new + h**2 / 2 * (eps - seen[-1][1]) / (g - seen[-1][0])
        else:  # dpmpp_2m, in sigma, alpha, lambda and x_t as in the paper's algorithm 2
            a, b = 1 / math.sqrt(1 + g * g), 1 / math.sqrt(1 + to * to)
            clean = xbar - g * eps
            step = -math.log(to) + math.log(g)
            if seen:
                r = (-math.log(g) + math.log(seen[-1][0])) / step
                data = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * seen[-1][2]
            else:
                data = clean
            new = ((to * b) / (g * a) * (a * xbar) - b * (math.exp(-step) - 1) * data) / b
        seen.append((g, eps, xbar - g * eps))
        xbar = new
    return xbar


@pytest.mark.parametrize("name", ["ddim", "genie", "ab2", "dpmpp_2m"])
@pytest.mark.parametrize("grid", schedule.GRIDS)
def test_a_solver_does_what_its_formula_says(name, grid):
    latents = noise(range(4), (2,), np.float64)
    found = sample(toy4(), latents, Options(solver=name, steps=6, grid=grid)) / schedule.alpha(1e-3)
    gammas = schedule.gamma(schedule.grid(grid, 6))
    for row, latent in zip(found, latents, strict=True):
        expected = long_hand(name, toy4(), latent / float(schedule.alpha(1)), gammas)
        assert row == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_the_corrector_is_exact_for_a_quadratic_in_log_gamma():
    """Compare UniC of order 2 with the exponential integral of a D that is quadratic in lambda, at any spacing."""
    data = np.polynomial.Polynomial([0.3, -1.2, 0.7])  # D(lambda)
    gammas = [9.0, 4.0, 1.5]

    def point(gamma, xbar):
        return Point(gamma, np.array([[xbar]]), np.array([[(xbar - data(-math.log(gamma))) / gamma]]))

    # d (xbar / gamma) / d lambda = D / gamma, by Gauss's rule with many nodes.
    x, w = np.polynomial.legendre.leggauss(40)
    last, here = -math.log(gammas[1]), -math.log(gammas[2])
    nodes = last + (here - last) * (x + 1) / 2
    integral = (w * np.exp(nodes) * data(nodes)).sum() * (here - last) / 2
    exact = gammas[2] * (2.0 / gammas[1] + integral)
    predicted = point(gammas[2], 55.0)  # what was predicted does not matter, only what the network said there
    corrected = SOLVERS["unipc"].correct([point(gammas[0], 7.0), point(gammas[1], 2.0)], predicted)
    assert corrected.xbar.item() == pytest.approx(exact, rel=1e-12)


def test_every_solver_is_exact_where_eps_does_not_change():
    """Follow a straight trajectory: one step is as good as many, on both grids, forwards and backwards."""

    def straight(call):
        return np.full_like(call.x, 0.5), np.zeros_like(call.x)

    start = noise(range(3), (4,), np.float64)
    ends = schedule.gamma([1, 1e-3])
    expected = (start / schedule.alpha(1) + (ends[1] - ends[0]) * 0.5) * schedule.alpha(1e-3)
    for name in SOLVERS:
        for steps in (1, 2, 7):
            found = sample(straight, start, Options(solver=name, steps=steps))
            assert np.allclose(found, expected, rtol=1e-9), (name, steps)


def test_encoding_and_decoding_come_back_as_near_as_known():
    images = toy4().draw(np.random.default_rng(0), 1000)
    for name, known in (("ddim", 0.064), ("genie", 0.00064)):
        options = Options(solver=name, steps=40)
        latents = encode(toy4(), images, options)
        assert latents.std() == pytest.approx(1, abs=0.05), "a latent looks like noise"
        again = sample(toy4(), latents, options)
        assert np.linalg.norm(again - images, axis=1).mean() == pytest.approx(known, rel=0.12)


def test_the_analytic_first_step_is_that_of_pure_noise_and_better_at_equal_calls(ground):
    assert np.allclose(toy4()(Trajectory(ground.latents, Options()).call)[0], ground.latents, atol=0.03)
    for nfe in (5, 10):
        plain = ground.errors(Options(steps=nfe)).mean()
        saved = ground.errors(Options(steps=nfe + 1, analytic_first=True)).mean()
        assert 0.6 < saved / plain < 0.97


def test_denoising_removes_the_noise_that_is_left():
    one = Mixture(np.array([[0.4, -0.2]]), 1e-6)  # a single picture
    latents = noise(range(8), (2,), np.float64)
    for name in SOLVERS:
        left = np.abs(sample(one, latents, Options(solver=name, steps=20)) - one.means).max()
        clean = np.abs(sample(one, latents, Options(solver=name, steps=20, denoise=True)) - one.means).max()
        assert clean < 1e-7 < 1e-3 < left


# ------------------------------------------------------------------------------------------------ guidance


def test_the_guided_derivative_in_closed_form_is_that_along_the_guided_trajectory():
    model = guided4(1.5)
    for gamma in GAMMAS:
        x, h = places(gamma), 1e-4
        ends = [flow(model, x, gamma, gamma * (1 + s), 2) for s in (-h, h)]
        difference = (model.eps(ends[1], gamma * (1 + h)) - model.eps(ends[0], gamma * (1 - h))) / (2 * h * gamma)
        assert np.allclose(model.along(x, gamma), difference, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("rule", "order"), [("given", 2), ("difference", 2), ("first_order", 1)])
def test_under_guidance_two_rules_keep_the_second_order_and_the_named_one_does_not(rule, order):
    guided = Ground(guided4(exact=rule == "given"), 150, fine=500)
    steps = (80, 160, 320)
    errors = guided.curve(steps, guidance=1.0, guidance_rule=rule).mean(axis=1)
    assert slope(steps, errors) == pytest.approx(order, abs=0.1)


def test_a_difference_over_the_whole_step_is_the_method_of_heun():
    model, latents = guided4(), noise(range(4), (2,), np.float64)
    found = sample(model, latents, Options(steps=5, guidance=1.0, difference=1.0))
    xbar, gammas = latents / schedule.alpha(1), schedule.gamma(schedule.grid("quadratic", 5))
    for here, to in pairwise(gammas):
        one = model.eps(xbar, here)
        xbar = xbar + (to - here) / 2 * (one + model.eps(xbar + (to - here) * one, to))
    assert np.allclose(found, xbar * schedule.alpha(1e-3), rtol=1e-8)


def test_guidance_between_equal_networks_changes_nothing():
    whole = toy4()
    latents = noise(range(5), (2,), np.float64)
    for name in ("ddim", "dpmpp_2m"):
        plain = sample(whole, latents, Options(solver=name))
        same = sample(Guided(whole, whole, 2.0), latents, Options(solver=name, guidance=2.0))
        assert np.allclose(plain, same, rtol=1e-9)


def test_a_guided_call_asks_for_the_class_first_and_then_without():
    call = Trajectory(np.zeros((3, 2)), Options(guidance=1.0)).call
    assert call.null.tolist() == [False] * 3 + [True] * 3 and len(call.x) == len(call.t) == 6
    assert not call.derivative, "the rule `difference` takes the derivative from a second call"
    assert Trajectory(np.zeros((3, 2)), Options(guidance=1.0, guidance_rule="given")).call.derivative


# ------------------------------------------------------------------------------------------------ the loop


@given(names, st.integers(1, 12), st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0]), st.data())
@few
def test_the_calls_of_a_trajectory_are_those_that_its_options_count(name, steps, first, last, w, data):
    rule = data.draw(st.sampled_from(["difference", "given", "first_order"]))
    options = Options(name, steps, analytic_first=first, denoise=last, guidance=w, guidance_rule=rule)
    calls = []

    def network(call):
        calls.append(call)
        return np.zeros_like(call.x), np.zeros_like(call.x) if call.derivative else None

    sample(network, np.ones((2, 3)), options)
    assert len(calls) == options.calls and sum(len(call.x) for call in calls) == 2 * options.nfe
    if w == 0:
        assert options.nfe == steps - first + last, "F12"
    assert any(call.derivative for call in calls) == (
        name == "genie" and steps > first and not (w > 0 and rule == "difference")
    )


@given(names, st.sampled_from(["float32", "float64"]), st.integers(1, 6), st.integers(0, 5))
@few
def test_a_sample_is_the_same_to_the_bit_in_every_batch(name, dtype, steps, place):
    options = Options(name, steps, guidance=1.0)

    def network(call):  # element by element, as far as NumPy goes: the network itself is not on trial
        eps = call.x * np.where(call.null, 0.3, 0.7).reshape(-1, 1).astype(call.x.dtype)
        return eps, eps * eps

    latents = noise(range(6), (37,), dtype)
    together = sample(network, latents, options)
    assert together.dtype == dtype
    assert (sample(network, latents[place : place + 1], options)[0] == together[place]).all()


def test_two_trajectories_share_network_calls_although_they_are_at_different_steps():
    latents = noise(range(6), (2,), np.float64)
    plans = Options("genie", 4), Options("genie", 7, grid="linear")
    alone = [sample(toy4(), part, plan) for part, plan in zip((latents[:2], latents[2:]), plans, strict=True)]

    def network(x, t):  # rows of any times
        rows = [toy4()(type(call)(x[i : i + 1], t[i : i + 1], call.null[:1], True)) for i in range(len(x))]
        return [np.concatenate(tensors) for tensors in zip(*rows, strict=True)]

    going = [Trajectory(part, plan) for part, plan in zip((latents[:2], latents[2:]), plans, strict=True)]
    while live := [one for one in going if one.call is not None]:
        calls = [one.call for one in live]
        call = calls[0]
        eps, slopes = network(np.concatenate([c.x for c in calls]), np.concatenate([c.t for c in calls]))
        at = 0
        for one, asked in zip(live, calls, strict=True):
            rows = slice(at, at := at + len(asked.x))
            one.answer(eps[rows], slopes[rows])
    for one, expected in zip(going, alone, strict=True):
        assert np.allclose(one.result, expected, rtol=1e-12)


def test_previews_approach_the_result_and_the_steps_are_counted():
    trajectory = Trajectory(noise(range(50), (2,), np.float64), Options(steps=20, denoise=True))
    assert trajectory.preview is None and trajectory.step == 0
    previews = []
    while trajectory.call is not None:
        trajectory.answer(*toy4()(trajectory.call))
        previews.append(trajectory.preview)
    assert trajectory.step == 20 and len(previews) == 21
    far = [float(np.abs(preview - trajectory.result).mean()) for preview in previews]
    assert far[0] > 0.5 and far[-1] == 0 and far[15] < 0.1 and all(np.diff(far) < 0.02)


def test_a_network_that_predicts_v_makes_the_same_images():
    model, latents = toy4(), noise(range(5), (2,), np.float64)

    def v_network(call):
        eps, slope = model(call)
        v = v_of_eps(eps, call.x, call.t)
        if slope is None:
            return v, None
        # The inverse of eps_derivative_of_v, which is linear in dv.
        a = schedule.alpha(call.t)[:, None]
        return v, (slope - schedule.eps_derivative_of_v(0 * v, v, call.x, call.t)) / a

    for name in ("ddim", "genie"):
        options = Options(name, 6, denoise=True)
        assert np.allclose(
            sample(v_network, latents, options, prediction="v_prediction"), sample(model, latents, options), rtol=1e-7
        )


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_the_state_is_never_below_float32(dtype):
    trajectory = Trajectory(np.ones((2, 3), dtype), Options())
    assert trajectory.call.x.dtype == np.float32
    trajectory.answer(np.zeros((2, 3), np.float16), np.zeros((2, 3), np.float16))
    assert trajectory.call.x.dtype == trajectory.preview.dtype == np.float32


def test_float32_is_enough_for_pictures():
    latents = noise(range(200), (2,))
    for name in SOLVERS:
        options = Options(name, 20)
        exact = sample(toy4(), latents.astype(np.float64), options)
        assert np.abs(sample(toy4(), latents, options) - exact).max() < 1e-3, "an eighth of a grey level"


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"steps": 0}, "steps is a whole number from 1 to 1000; got 0"),
        ({"steps": -3}, "got -3"),
        ({"steps": 10_000}, "got 10000"),
        ({"steps": 2.5}, "got 2.5"),
        ({"steps": True}, "got True"),
        ({"solver": "euler"}, f"solver is one of {', '.join(SOLVERS)}; got 'euler'"),
        ({"solver": None}, "got None"),
        ({"grid": "karras"}, "grid is one of linear, quadratic; got 'karras'"),
        ({"guidance": float("nan")}, "guidance is a number from 0 to 100; got nan"),
        ({"guidance": -1}, "got -1"),
        ({"guidance": "2"}, "got '2'"),
        ({"guidance_rule": "second"}, "guidance_rule is one of difference, given, first_order"),
        ({"difference": 0}, "difference is a number from 1e-06 to 1"),
        ({"denoise": 1}, "denoise is true or false; got 1"),
        ({"analytic_first": "yes"}, "analytic_first is true or false"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_in_the_callers_words(choice, reason):
    with pytest.raises(InvalidArgument) as refused:
        Options(**choice)
    assert reason in str(refused.value)


def test_an_unknown_solver_is_refused_by_the_table():
    with pytest.raises(InvalidArgument, match="solver is one of"):
        solver("heun")


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (np.array([[1.0, np.nan]]), "not all finite"),
        (np.array([[np.inf, 0]]), "not all finite"),
        (np.array([1.0, 2.0]), "a batch"),
        (np.array([["a"]]), "a batch"),
    ],
)
def test_a_start_that_is_no_batch_of_numbers_is_refused(start, reason):
    for backward in (False, True):
        with pytest.raises(InvalidArgument, match=reason):
            Trajectory(start, Options(), backward=backward)


@pytest.mark.parametrize("flag", ["denoise", "analytic_first"])
def test_flags_of_sampling_are_refused_for_encoding(flag):
    with pytest.raises(InvalidArgument, match="belong to sampling"):
        encode(toy4(), np.zeros((1, 2)), Options(**{flag: True}))


def test_a_missing_derivative_proposes_every_solver_that_needs_none(monkeypatch):
    needing_none = ", ".join(name for name in SOLVERS if name != "genie")
    monkeypatch.setitem(SOLVERS, "taylor", SOLVERS["genie"])
    with pytest.raises(InvalidArgument, match=f"solver of {needing_none}$"):
        Trajectory(np.ones((2, 3)), Options(solver="taylor")).answer(np.zeros((2, 3)))


def test_answers_that_do_not_fit_are_refused():
    def begun(**choices):
        return Trajectory(np.ones((2, 3)), Options(**choices))

    with pytest.raises(InvalidArgument, match="curvature=False for a difference, or a solver of ddim, ab2"):
        begun().answer(np.zeros((2, 3)))
    with pytest.raises(InvalidArgument, match=r"prediction must be \[2, 3\], got \[2, 4\]"):
        begun().answer(np.zeros((2, 4)), np.zeros((2, 3)))
    with pytest.raises(InvalidArgument, match=r"derivative must be \[2, 3\]"):
        begun().answer(np.zeros((2, 3)), np.zeros((1, 3)))
    with pytest.raises(InvalidArgument, match="made it no number at step 1 of 10"):
        begun(solver="ddim").answer(np.full((2, 3), np.nan))
    done = begun(solver="ddim", steps=1)
    done.answer(np.zeros((2, 3)))
    with pytest.raises(InvalidArgument, match="finished"):
        done.answer(np.zeros((2, 3)))
    with pytest.raises(InvalidArgument, match="epsilon, v_prediction"):
        Trajectory(np.ones((2, 3)), Options(), prediction="x0")


def test_a_network_that_diverges_is_told_and_not_followed():
    with pytest.raises(InvalidArgument, match="lower the guidance"):
        sample(lambda call: (call.x * 1e6, None), np.ones((1, 2)), Options("ddim", 50))


def test_a_refused_answer_may_be_given_again_rightly():
    trajectory = Trajectory(np.ones((2, 3)), Options("ddim", 2))
    with pytest.raises(InvalidArgument):
        trajectory.answer(np.zeros((5, 3)))
    trajectory.answer(np.zeros((2, 3)))
    assert trajectory.step == 1
