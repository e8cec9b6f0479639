"""The diffusion process of GENIE: the shares of image and noise at time t, and the grids of times for the solvers.

The process is variance preserving, t in [0, 1]: x_t = alpha(t) x_0 + sigma(t) eps with eps of unit variance. The
solvers work in the scaled state xbar = x_t / alpha(t) over gamma = sigma / alpha, where the probability flow is simply
d xbar / d gamma = eps(x_t, t). Everything here is float64: grids are computed once, and gamma spans four decades.

Sources: Dockhorn, Vahdat, Kreis, "GENIE: Higher-Order Denoising Diffusion Solvers", NeurIPS 2022; US 12,524,845;
Salimans, Ho, "Progressive Distillation", ICLR 2022 (v-prediction).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sluice.errors import InvalidArgument
from sluice.options import choice, whole

BETA_MIN, BETA_D = 0.1, 19.9  # beta(t) = BETA_MIN + BETA_D t
EARLIEST = 1e-3  # the smallest t: networks are trained from here on, and solvers end here
LATEST = 1.0  # the greatest t: pure noise, where solvers begin unless a network was trained to an earlier one
MOST_STEPS = 1000  # more are a mistake: at 1000 steps even the first-order solver is converged


def log_signal(t: ArrayLike) -> np.ndarray:
    """Return -2 log alpha(t) = log(1 + gamma^2), the integral of beta from 0 to t, of the shape of `t`."""
    t = np.asarray(t, np.float64)
    return BETA_MIN * t + 0.5 * BETA_D * t * t


def alpha(t: ArrayLike) -> np.ndarray:
    """Return the share of the image in x_t, of the shape of `t`: 1 at t = 0, 0.0066 at t = 1."""
    return np.exp(-0.5 * log_signal(t))


def sigma(t: ArrayLike) -> np.ndarray:
    """Return the standard deviation of the noise in x_t, of the shape of `t`; exact near 0, unlike 1 - alpha^2."""
    return np.sqrt(-np.expm1(-log_signal(t)))


def gamma(t: ArrayLike) -> np.ndarray:
    """Return sigma / alpha, of the shape of `t`: 0.0104860 at t = 0.001, 152.167 at t = 1."""
    return np.sqrt(np.expm1(log_signal(t)))


def time_at(gamma: ArrayLike) -> np.ndarray:
    """Return the time t at which gamma has this value, of the shape of `gamma`."""
    lam = np.log1p(np.square(np.asarray(gamma, np.float64)))
    # Not (sqrt(a^2 + b) - a) / BETA_D, which cancels for small gamma.
    return 2 * lam / (BETA_MIN + np.sqrt(BETA_MIN**2 + 2 * BETA_D * lam))


def time_slope(t: ArrayLike) -> np.ndarray:
    """Return dt / dgamma = 2 gamma / ((1 + gamma^2) beta(t)), of the shape of `t`."""
    return 2 * sigma(t) * alpha(t) / (BETA_MIN + BETA_D * np.asarray(t, np.float64))


def linear(steps: int, latest: float = LATEST) -> np.ndarray:
    """Return times from `latest` to EARLIEST in equal steps, float64 [steps + 1]."""
    return np.linspace(latest, EARLIEST, steps + 1)


def quadratic(steps: int, latest: float = LATEST) -> np.ndarray:
    """Return times from `latest` to EARLIEST whose roots have equal steps, float64 [steps + 1].

    The steps are finer towards the image, which gives better images when there are few of them.
    """
    t = np.linspace(np.sqrt(latest), np.sqrt(EARLIEST), steps + 1) ** 2
    t[[0, -1]] = latest, EARLIEST  # squaring a rounded root misses them by a bit
    return t


GRIDS: dict[str, Callable[[int, float], np.ndarray]] = {"linear": linear, "quadratic": quadratic}


def grid(name: str, steps: int, latest: float = LATEST) -> np.ndarray:
    """Return the times between which a solver steps, float64 [steps + 1], falling from `latest` to EARLIEST.

    name: a key of GRIDS. steps: 1 to MOST_STEPS.
    latest: the greatest t that the network was trained at, above EARLIEST and at most 1. The network's answers at
        greater times mean nothing: diffusers' `scaled_linear` noise ends at t = 0.73, and of ten steps that began at
        t = 1 two would lie beyond that.

    Raises InvalidArgument for an unknown name, for steps that are no whole number in that range, and for `latest`
    outside its range.
    """
    name, steps = choice(GRIDS)("grid", name), whole(1, MOST_STEPS)("steps", steps)
    if not EARLIEST < latest <= LATEST:
        raise InvalidArgument(f"a trajectory begins at a t above {EARLIEST:g}, at most {LATEST:g}; got {latest!r}")
    return GRIDS[name](steps, latest)


def eps_of_v(v: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return eps = alpha v + sigma x_t, [B, ...], for a network that predicts v = alpha eps - sigma x_0.

    v, x: [B, ...], the prediction and x_t. t: [B].
    Source: Salimans, Ho, 2022, section 4 and appendix D.
    """
    return _like(alpha(t), x) * v + _like(sigma(t), x) * x


def eps_derivative_of_v(dv: np.ndarray, v: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return d eps / d gamma along the trajectory, [B, ...], from dv = d v / d gamma along the same trajectory.

    dv, v, x: [B, ...], x being x_t. t: [B].
    This is the total derivative of `eps_of_v`, with d alpha / d gamma = -gamma alpha^3, d sigma / d gamma = alpha^3
    and d x_t / d gamma = alpha eps - gamma alpha^2 x_t.
    """
    a, s = alpha(t), sigma(t)
    eps = eps_of_v(v, x, t)
    return (
        _like(a, x) * dv
        - _like(s * a * a, x) * v
        + _like(a**3 - s * s * a, x) * x
        + _like(s * a, x) * eps
    )  # fmt: skip


def _like(factor: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Shape a factor, [B] or a number, so that it multiplies x [B, ...] without changing the type of `x`."""
    factor = np.asarray(factor).astype(x.dtype)
    return factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim)) if factor.ndim else factor
