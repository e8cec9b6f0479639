"""The diffusion process of GENIE: how much image and how much noise there is at time t, and the grids of the solvers.

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

BETA_MIN, BETA_D = 0.1, 19.9  # beta(t) = BETA_MIN + BETA_D t
EARLIEST = 1e-3  # the smallest t: networks are trained from here on, and solvers end here
LATEST = 1.0  # the greatest t: pure noise, where solvers begin unless a network was trained to an earlier one
MOST_STEPS = 1000  # more are a mistake: at 1000 steps even the first-order solver is converged


def log_signal(t: ArrayLike) -> np.ndarray:
    """-2 log alpha(t) = log(1 + gamma^2), the integral of beta from 0 to t."""
    t = np.asarray(t, np.float64)
    return BETA_MIN * t + 0.5 * BETA_D * t * t


def alpha(t: ArrayLike) -> np.ndarray:
    """Share of the image in x_t: 1 at t = 0, 0.0066 at t = 1."""
    return np.exp(-0.5 * log_signal(t))


def sigma(t: ArrayLike) -> np.ndarray:
    """Standard deviation of the noise in x_t; exact near 0, where 1 - alpha^2 would cancel."""
    return np.sqrt(-np.expm1(-log_signal(t)))


def gamma(t: ArrayLike) -> np.ndarray:
    """sigma / alpha: 0.0104860 at t = 0.001, 152.167 at t = 1."""
    return np.sqrt(np.expm1(log_signal(t)))


def time_at(gamma: ArrayLike) -> np.ndarray:
    """The t that has this gamma (the inverse of `gamma`)."""
    lam = np.log1p(np.square(np.asarray(gamma, np.float64)))
    # Not (sqrt(a^2 + b) - a) / BETA_D, which cancels for small gamma.
    return 2 * lam / (BETA_MIN + np.sqrt(BETA_MIN**2 + 2 * BETA_D * lam))


def time_slope(t: ArrayLike) -> np.ndarray:
    """dt / dgamma = 2 gamma / ((1 + gamma^2) beta(t)). Reference formula F6."""
    return 2 * sigma(t) * alpha(t) / (BETA_MIN + BETA_D * np.asarray(t, np.float64))


# ------------------------------------------------------------------------------------------------ grids


def linear(steps: int, latest: float = LATEST) -> np.ndarray:
    """t from `latest` to EARLIEST in equal steps, [steps + 1]."""
    return np.linspace(latest, EARLIEST, steps + 1)


def quadratic(steps: int, latest: float = LATEST) -> np.ndarray:
    """t from `latest` to EARLIEST, its root in equal steps, [steps + 1]: finer towards the image, good at few steps."""
    t = np.linspace(np.sqrt(latest), np.sqrt(EARLIEST), steps + 1) ** 2
    t[[0, -1]] = latest, EARLIEST  # the square of the rounded root is not quite it
    return t


GRIDS: dict[str, Callable[[int, float], np.ndarray]] = {"linear": linear, "quadratic": quadratic}


def grid(name: str, steps: int, latest: float = LATEST) -> np.ndarray:
    """The times between which a solver steps: float64 [steps + 1], falling from `latest` to EARLIEST.

    latest: the greatest t that the network was trained at, at most 1. Beyond it nothing is known of what it answers:
    diffusers' `scaled_linear` noise, say, ends at t = 0.73, and two of ten steps from 1 on would lie behind that.
    Raises InvalidArgument for an unknown name, and for steps that are no whole number from 1 to MOST_STEPS.
    """
    if not isinstance(name, str) or name not in GRIDS:
        raise InvalidArgument(f"grid is one of {', '.join(GRIDS)}, got {name!r}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= MOST_STEPS:
        raise InvalidArgument(f"steps is a whole number from 1 to {MOST_STEPS}, got {steps!r}")
    if not EARLIEST < latest <= LATEST:
        raise InvalidArgument(f"a trajectory begins at a t above {EARLIEST:g}, at most {LATEST:g}; got {latest!r}")
    return GRIDS[name](int(steps), latest)


# ------------------------------------------------------------------------------------------------ v-prediction


def eps_of_v(v: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """eps of a network that predicts v = alpha eps - sigma x_0: alpha v + sigma x_t.

    v, x: [B, ...]; t: [B]. Reference formula F9.
    """
    return _like(alpha(t), x) * v + _like(sigma(t), x) * x


def v_of_eps(eps: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The inverse of `eps_of_v`: (eps - sigma x_t) / alpha."""
    return (eps - _like(sigma(t), x) * x) / _like(alpha(t), x)


def eps_derivative_of_v(dv: np.ndarray, v: np.ndarray, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """d eps / d gamma along the trajectory, from dv = d v / d gamma along the same trajectory.

    The total derivative of `eps_of_v` with d alpha / d gamma = -gamma alpha^3, d sigma / d gamma = alpha^3 and
    d x_t / d gamma = alpha eps - gamma alpha^2 x_t.
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
    """[B] or a number -> one that multiplies [B, ...] without changing its type."""
    factor = np.asarray(factor).astype(x.dtype)
    return factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim)) if factor.ndim else factor
