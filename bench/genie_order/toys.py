"""Defines mixtures of Gaussians in the plane whose eps and derivatives are known in closed form, as truth for solvers.

For p_0 = sum_k w_k N(mu_k, s^2 I), everything follows from V = s^2 + gamma^2 and the weights r_k of the modes at xbar.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sluice.methods.genie import schedule
from sluice.methods.genie.trajectory import Call


@dataclass(frozen=True)
class Mixture:
    """A mixture whose modes all have the same weight and spread. means: [K, D]. spread: s."""

    means: np.ndarray
    spread: float

    def eps(self, xbar: np.ndarray, gamma: float) -> np.ndarray:
        """Return -sigma times the score of p_t, at xbar [B, D]: gamma (xbar - m) / V, where m is the weighted mean of
        the modes."""
        _, mean = self._weights(xbar, gamma)
        return gamma * (xbar - mean) / (self.spread**2 + gamma**2)

    def jacobian(self, xbar: np.ndarray, gamma: float, v: np.ndarray) -> np.ndarray:
        """Return (d eps / d xbar) v, [B, D]: gamma / V (v - C v / V), where C is the covariance of the
        weighted modes."""
        variance = self.spread**2 + gamma**2
        r, mean = self._weights(xbar, gamma)
        moved = (r * (v @ self.means.T)) @ self.means - mean * (mean * v).sum(-1, keepdims=True)
        return gamma / variance * (v - moved / variance)

    def slope(self, xbar: np.ndarray, gamma: float) -> np.ndarray:
        """Return d eps / d gamma at a fixed xbar, [B, D]."""
        variance = self.spread**2 + gamma**2
        r, mean = self._weights(xbar, gamma)
        distance = self._distances(xbar)
        turn = gamma / variance**2 * ((r * distance) @ self.means - (r * distance).sum(-1, keepdims=True) * mean)
        return (xbar - mean) * (1 / variance - 2 * gamma**2 / variance**2) - gamma / variance * turn

    def along(self, xbar: np.ndarray, gamma: float, v: np.ndarray | None = None) -> np.ndarray:
        """Return the total d eps / d gamma where xbar moves by v per gamma. None moves xbar along its own trajectory, v
        = eps."""
        return self.jacobian(xbar, gamma, self.eps(xbar, gamma) if v is None else v) + self.slope(xbar, gamma)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw samples of p_0, [count, D]."""
        centres = self.means[rng.integers(0, len(self.means), count)]
        return centres + self.spread * rng.standard_normal(centres.shape)

    def __call__(self, call: Call) -> tuple[np.ndarray, np.ndarray | None]:
        """Answer as a network with an exact derivative."""
        gamma = float(schedule.gamma(call.t[0]))
        xbar = call.x * np.sqrt(1 + gamma * gamma)
        return self.eps(xbar, gamma), self.along(xbar, gamma) if call.derivative else None

    def _distances(self, xbar: np.ndarray) -> np.ndarray:
        """Return the squared distances to the modes, [B, K]."""
        return np.square(xbar[:, None] - self.means).sum(-1)

    def _weights(self, xbar: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Return r [B, K], and the weighted mean of the modes [B, D]."""
        logits = -self._distances(xbar) / (2 * (self.spread**2 + gamma**2))
        r = np.exp(logits - logits.max(-1, keepdims=True))
        r /= r.sum(-1, keepdims=True)
        return r, r @ self.means


@dataclass(frozen=True)
class Guided:
    """A conditional and an unconditional mixture as a network under guidance w; rows are ordered as `Call` says.

    exact: True gives the conditional rows the derivative of the guided eps; False gives each row that of its own
    mixture.
    """

    conditional: Mixture
    unconditional: Mixture
    w: float
    exact: bool = False

    def __call__(self, call: Call) -> tuple[np.ndarray, np.ndarray | None]:
        """Answer as a network with derivatives."""
        gamma = float(schedule.gamma(call.t[0]))
        xbar = call.x[~call.null] * np.sqrt(1 + gamma * gamma)
        both = self.conditional, self.unconditional
        eps = [one.eps(xbar, gamma) for one in both]
        if not call.derivative:
            return np.concatenate(eps), None
        slopes = [one.along(xbar, gamma) for one in both]
        if self.exact:
            slopes = [self.along(xbar, gamma), np.full_like(xbar, np.nan)]  # nobody reads the second
        return np.concatenate(eps), np.concatenate(slopes)

    def eps(self, xbar: np.ndarray, gamma: float) -> np.ndarray:
        """Return the guided eps."""
        return (1 + self.w) * self.conditional.eps(xbar, gamma) - self.w * self.unconditional.eps(xbar, gamma)

    def along(self, xbar: np.ndarray, gamma: float) -> np.ndarray:
        """Return the total derivative of the guided eps along its own trajectory."""
        v = self.eps(xbar, gamma)
        one, other = self.conditional.along(xbar, gamma, v), self.unconditional.along(xbar, gamma, v)
        return (1 + self.w) * one - self.w * other


def toy4() -> Mixture:
    """Return four modes at (+-1, +-1), s = 0.3. They are smooth, so that an order shows early."""
    return Mixture(np.array([(x, y) for x in (1.0, -1.0) for y in (1.0, -1.0)]), 0.3)


def toy64() -> Mixture:
    """Return eight rings of eight narrow modes, s = 0.01, as in the patent's FIG. 3."""
    angles = np.arange(8) * np.pi / 4
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Mixture((0.9 * ring[:, None] + 0.18 * ring).reshape(64, 2), 0.01)


def guided4(w: float = 1.0, *, exact: bool = False) -> Guided:
    """Return toy4 under guidance, where the class is its two modes on the right."""
    whole = toy4()
    return Guided(Mixture(whole.means[:2], whole.spread), whole, w, exact)


def flow(model: Mixture | Guided, xbar: np.ndarray, start: float, end: float, steps: int = 1000) -> np.ndarray:
    """Return xbar at gamma `end`, from xbar at gamma `start`, by the Runge-Kutta method of order 4 in equal steps of
    log gamma."""
    grid = np.exp(np.linspace(np.log(start), np.log(end), steps + 1))
    for here, to in pairwise(grid):
        middle = np.sqrt(here * to)
        h = np.log(to / here)
        one = here * model.eps(xbar, here)
        two = middle * model.eps(xbar + h / 2 * one, middle)
        three = middle * model.eps(xbar + h / 2 * two, middle)
        four = to * model.eps(xbar + h * three, to)
        xbar = xbar + h / 6 * (one + 2 * two + 2 * three + four)
    return xbar
