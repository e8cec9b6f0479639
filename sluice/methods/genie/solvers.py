"""The solvers as one table, `SOLVERS`: each steps from one gamma to the next, given eps here and at earlier points.

All solve d xbar / d gamma = eps and have one signature, `step(points, to) -> xbar`. `points` are the last points of the
trajectory, the newest at the end; `to` is the gamma to go to, smaller when sampling and larger when encoding. Solvers
only multiply and add, sample by sample, so that a sample's result does not depend on its neighbours in the batch.

Sources: Song, Meng, Ermon, "DDIM", 2021 (ddim); Dockhorn et al., NeurIPS 2022 (genie); Adams and Bashforth, 1883, in
gamma (ab2); Lu et al., "DPM-Solver++", 2022, algorithm 2 (dpmpp_2m); Zhao et al., "UniPC", 2023, order 2 with
B(h) = e^h - 1, on the data prediction (unipc). Written from the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sluice.options import choice


@dataclass(frozen=True)
class Point:
    """A point of a trajectory.

    xbar, eps:  [B, ...] at this gamma.
    derivative: [B, ...] d eps / d gamma along the trajectory; None if the solver does not need it.
    estimate:   [B, ...] the denoised estimate from before xbar was corrected; None if xbar was not corrected.
    """

    gamma: float
    xbar: np.ndarray
    eps: np.ndarray
    derivative: np.ndarray | None = None
    estimate: np.ndarray | None = None

    @property
    def clean(self) -> np.ndarray:
        """Return the denoised estimate of the image, x_0 = xbar - gamma eps, [B, ...]."""
        return self.xbar - self.gamma * self.eps if self.estimate is None else self.estimate


Step = Callable[[Sequence[Point], float], np.ndarray]


def ddim(points: Sequence[Point], to: float) -> np.ndarray:
    """Step with first order, by Euler's method in gamma. Source: Song, Meng, Ermon, 2021, equation 13."""
    here = points[-1]
    return here.xbar + (to - here.gamma) * here.eps


def genie(points: Sequence[Point], to: float) -> np.ndarray:
    """Step with second order from one point, by the truncated Taylor series. Source: Dockhorn et al., 2022."""
    here = points[-1]
    h = to - here.gamma
    assert here.derivative is not None  # `Trajectory` gives it to every row that needs it
    return here.xbar + h * here.eps + (0.5 * h * h) * here.derivative


def ab2(points: Sequence[Point], to: float) -> np.ndarray:
    """Step with second order from two points, at uneven steps in gamma; the first step is Euler's."""
    if len(points) < 2:
        return ddim(points, to)
    before, here = points[-2:]
    h = to - here.gamma
    half = 0.5 * h / (here.gamma - before.gamma)
    return here.xbar + (h * (1 + half)) * here.eps - (h * half) * before.eps


def dpmpp_2m(points: Sequence[Point], to: float) -> np.ndarray:
    """Step with second order from two points, exact in the linear part over log gamma; the first step is DDIM's."""
    if len(points) < 2:
        return ddim(points, to)
    before, here = points[-2:]
    ratio = to / here.gamma
    half = 0.5 * math.log(ratio) / math.log(here.gamma / before.gamma)
    clean = (1 + half) * here.clean - half * before.clean
    return ratio * here.xbar + (1 - ratio) * clean


def unipc_corrector(points: Sequence[Point], here: Point) -> Point:
    """Improve xbar of the point `here`, which was reached from `points`, by the network's answer at `here`.

    With h the length of the step in lambda = -log gamma, D the denoised estimate and B = e^-h - 1, the update is
    B (rho_0 (D_before - D_last) / r_0 + rho_1 (D_here - D_last)). The rho make sum_i rho_i r_i^k equal to the moments
    of the exponential integral. After the first step, with one earlier point only, rho_1 = 1/2.
    """
    last = points[-1]
    ratio = here.gamma / last.gamma
    h = -math.log(ratio)
    b = math.expm1(-h)
    moved = ratio * last.xbar - b * last.clean
    new = here.clean - last.clean
    if len(points) < 2:
        return replace(here, xbar=moved - (0.5 * b) * new, estimate=here.clean)
    before = points[-2]
    r = math.log(last.gamma / before.gamma) / h  # where `before` lies, in units of h: negative
    first = b / -h - 1  # the moments of the integral: h phi_2(-h), h phi_3(-h), up to sign and factorial
    second = first / -h - 0.5
    one, two = first / b, 2 * second / b
    # rho_0 + rho_1 = one; rho_0 r + rho_1 = two
    rho_0 = (one - two) / (1 - r)
    rho_1 = one - rho_0
    xbar = moved - (b * rho_0 / r) * (before.clean - last.clean) - (b * rho_1) * new
    return replace(here, xbar=xbar, estimate=here.clean)


@dataclass(frozen=True)
class Solver:
    """A row of the table.

    order:      global order of accuracy.
    derivative: whether `step` needs d eps / d gamma.
    memory:     how many points before the newest `step` and `correct` look at.
    correct:    improves xbar of the newest point by eps there, without a network call; None for no correction.
    grid:       key of `schedule.GRIDS` on which the solver comes nearer to the converged image, from noise in 5 to 20
                steps of the shipped networks (`python -m bench genie_quality`). It is not for encoding: the linear
                grid's long step next to the picture loses it.
    """

    order: int
    step: Step
    derivative: bool = False
    memory: int = 0
    correct: Callable[[Sequence[Point], Point], Point] | None = None
    grid: str = "linear"


# dpmpp_2m and unipc are exact in the linear part over log gamma, where the last steps of the linear grid are long.
SOLVERS = {
    "ddim": Solver(1, ddim),
    "genie": Solver(2, genie, derivative=True),
    "ab2": Solver(2, ab2, memory=1),
    "dpmpp_2m": Solver(2, dpmpp_2m, memory=1, grid="quadratic"),
    # The corrector combines two earlier points and the newest into a rule of third order.
    "unipc": Solver(3, dpmpp_2m, memory=1, correct=unipc_corrector, grid="quadratic"),
}


def solver(name: str) -> Solver:
    """Return the row of this name. Raises InvalidArgument, which lists the names, for an unknown one."""
    return SOLVERS[choice(SOLVERS)("solver", name)]
