"""The diffusion process, its grids, latents and the way between them: against finite differences and what must hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.genie_order.toys import toy4
from sluice.errors import InvalidArgument
from sluice.methods.genie import schedule
from sluice.methods.genie.trajectory import noise, slerp
from tests.made.v_prediction import v_of_eps

times = st.floats(1e-3, 1)
seeds = st.integers(0, 2**64 - 1)
few = settings(max_examples=25, deadline=None)


def along_flow(function, t, xbar, model, h=1e-4):
    """Return d function(xbar, t) / d gamma along the exact trajectory, by central differences of relative length h."""
    from bench.genie_order.toys import flow

    here = float(schedule.gamma(t))
    values = []
    for end in (here * (1 - h), here * (1 + h)):
        values.append(function(flow(model, xbar, here, end, 1), float(schedule.time_at(end))))
    return (values[1] - values[0]) / (2 * h * here)


def test_gamma_has_its_known_values_at_both_ends():
    assert float(schedule.gamma(1)) == pytest.approx(152.167, abs=5e-4)
    assert float(schedule.gamma(1e-3)) == pytest.approx(0.0104860, abs=5e-8)


@given(times)
@few
def test_signal_and_noise_have_unit_variance_together_and_gamma_is_their_ratio(t):
    a, s, g = schedule.alpha(t), schedule.sigma(t), schedule.gamma(t)
    assert a * a + s * s == pytest.approx(1, rel=1e-14)
    assert g == pytest.approx(s / a, rel=1e-13)
    assert a == pytest.approx(math.exp(-0.5 * (0.1 * t + 0.5 * 19.9 * t * t)), rel=1e-14)


@given(st.floats(0, 1))
@few
def test_time_comes_back_from_gamma(t):
    assert float(schedule.time_at(schedule.gamma(t))) == pytest.approx(t, rel=1e-12, abs=1e-300)


@given(times)
@few
def test_the_slope_of_time_is_that_of_finite_differences_and_both_published_forms(t):
    g = float(schedule.gamma(t))
    h = 1e-5 * g
    difference = (schedule.time_at(g + h) - schedule.time_at(g - h)) / (2 * h)
    slope = float(schedule.time_slope(t))
    assert slope == pytest.approx(float(difference), rel=1e-8)
    root = math.sqrt(0.1**2 + 2 * 19.9 * math.log1p(g * g))
    assert slope == pytest.approx(2 * g / ((1 + g * g) * root), rel=1e-10)
    assert slope == pytest.approx(2 * g / ((1 + g * g) * (0.1 + 19.9 * t)), rel=1e-10)


@pytest.mark.parametrize("name", schedule.GRIDS)
@given(steps=st.integers(1, 1000))
@few
def test_a_grid_falls_from_1_to_the_earliest_time_exactly(name, steps):
    t = schedule.grid(name, steps)
    assert len(t) == steps + 1 and t[0] == 1 and t[-1] == schedule.EARLIEST
    assert (np.diff(t) < 0).all()
    even = np.diff(t if name == "linear" else np.sqrt(t))
    assert np.allclose(even, even[0], rtol=1e-9)


@pytest.mark.parametrize("steps", [0, -1, 10_000, 2.5, True, "5", None, float("nan")])
def test_steps_out_of_range_are_refused_with_the_range(steps):
    with pytest.raises(InvalidArgument, match="whole number from 1 to 1000; got"):
        schedule.grid("linear", steps)


@pytest.mark.parametrize("name", ["karras", "", None, ["linear"]])
def test_an_unknown_grid_is_refused_and_the_known_ones_are_named(name):
    with pytest.raises(InvalidArgument, match="linear, quadratic"):
        schedule.grid(name, 5)


# ------------------------------------------------------------------------------------------------ v-prediction


@given(times, st.integers(0, 2**31))
@few
def test_v_and_eps_are_two_views_of_the_same(t, seed):
    rng = np.random.default_rng(seed)
    clean, eps = rng.standard_normal((2, 3, 4))
    t = np.full(3, t)
    a, s = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    x, v = a * clean + s * eps, a * eps - s * clean
    assert np.allclose(schedule.eps_of_v(v, x, t), eps, atol=1e-13)
    # The way back divides by alpha, 0.0066 at t = 1.
    assert np.allclose(v_of_eps(eps, x, t), v, atol=1e-11)


@pytest.mark.parametrize("t", [0.05, 0.2, 0.5, 0.9])
def test_the_derivative_of_eps_follows_from_that_of_v(t):
    model = toy4()
    xbar = np.random.default_rng(3).normal(0, float(schedule.gamma(t)), (6, 2))
    here, at = float(schedule.gamma(t)), np.full(6, t)

    def v(xbar, t):
        eps = model.eps(xbar, float(schedule.gamma(t)))
        return v_of_eps(eps, xbar * schedule.alpha(t), np.full(len(xbar), t))

    found = schedule.eps_derivative_of_v(along_flow(v, t, xbar, model), v(xbar, t), xbar * schedule.alpha(t), at)
    assert np.allclose(found, model.along(xbar, here), rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------------------------ latents


@given(st.lists(seeds, min_size=1, max_size=5), st.integers(1, 40))
@few
def test_a_seed_means_the_same_noise_in_every_batch(batch, size):
    together = noise(batch, (1, size))
    assert together.dtype == np.float32 and together.shape == (len(batch), 1, size)
    for seed, row in zip(batch, together, strict=True):
        assert (noise([seed], (1, size))[0] == row).all()


def test_noise_is_standard_normal_and_seeds_are_independent():
    one = noise(range(400), (3, 16, 16), np.float64)
    count = one.size
    assert abs(one.mean()) < 4 / math.sqrt(count) and abs(one.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs((one**4).mean() - 3) < 4 * math.sqrt(96 / count)
    flat = one.reshape(400, -1)
    across = np.corrcoef(flat[:60])
    assert np.abs(across[~np.eye(60, dtype=bool)]).max() < 5.5 / math.sqrt(flat.shape[1])


def test_noise_is_the_philox_counter_by_the_algorithm():
    """Keep a seed's picture from changing unnoticed: known first words of Philox4x64-10 for key 0."""
    words = np.random.Philox(key=np.array([7, 0], np.uint64)).random_raw(2)
    one, two = [((int(word) >> 11) + 0.5) / 2**53 for word in words]
    radius = math.sqrt(-2 * math.log(one))
    expected = [radius * math.cos(2 * math.pi * two), radius * math.sin(2 * math.pi * two)]
    assert noise([7], (2,), np.float64)[0] == pytest.approx(expected, rel=1e-14)
    assert noise([0], (2,), np.float64)[0] == pytest.approx(FIRST_OF_SEED_0, rel=1e-12)


FIRST_OF_SEED_0 = [0.15853383451844044, 2.982879282617075]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "3", None])
def test_a_seed_beyond_64_bits_is_refused(seed):
    with pytest.raises(InvalidArgument, match="18446744073709551615"):
        noise([0, seed], (2,))


@given(st.integers(0, 2**31), st.floats(0, 1))
@few
def test_slerp_keeps_the_length_and_the_angle_is_in_proportion(seed, share):
    a, b = np.random.default_rng(seed).standard_normal((2, 12))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    (way,) = slerp(a, b, [share])
    assert np.linalg.norm(way) == pytest.approx(1, rel=1e-12)
    whole = math.acos(np.clip(a @ b, -1, 1))
    assert math.acos(np.clip(a @ way, -1, 1)) == pytest.approx(share * whole, abs=1e-6)


def test_slerp_begins_and_ends_at_the_two_latents():
    a, b = noise([1, 2], (3, 8, 8))
    way = slerp(a, b, [0, 0.5, 1])
    assert way.shape == (3, 3, 8, 8) and way.dtype == np.float32
    assert np.allclose(way[0], a, atol=1e-6) and np.allclose(way[2], b, atol=1e-6)
    assert np.allclose(slerp(a, a, [0.3])[0], a)


def test_slerp_refuses_what_has_no_way_between():
    a = noise([1], (8,))[0]
    for one, other, shares, reason in (
        (a, -a, [0.5], "opposite"),
        (a, a[:4], [0.5], "one shape"),
        (a, a * 0, [0.5], "not all zero"),
        (a, a * np.nan, [0.5], "finite"),
        (a, a, [1.5], "from 0 to 1"),
        (a, a, [float("nan")], "from 0 to 1"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            slerp(one, other, shares)
