"""GENIE: new pictures from noise in few network calls, and the way back from a picture to its latent.

A `Trajectory` takes a batch of images through the steps of a solver. It calls no network: it states its next question
(`Call`), is given the answer and goes on. So the code that drives a trajectory decides when a network runs, looks for
cancellation between two calls and sends previews. It may put the calls of several trajectories into one network batch,
because each sample's numbers depend on that sample alone:

    trajectory = Trajectory(noise(seeds, (3, 32, 32)), Options(solver="genie", steps=5))
    while (call := trajectory.call) is not None:        # None when the trajectory is finished
        eps, derivative = network(call)                 # or rows of a larger batch
        trajectory.answer(eps, derivative)
        show(trajectory.step, trajectory.preview)       # the image as it is expected now
    images = trajectory.result                          # about -1 to 1, as the network was trained

`sample` and `encode` are that loop. A trajectory begins at the latest t that its network was trained at, which is 1
for the networks trained here. The state is xbar = x_t / alpha(t), float32 or float64; at t = 1 it is about 150, where
float16 would round to 0.1.

Sources: Dockhorn, Vahdat, Kreis, "GENIE: Higher-Order Denoising Diffusion Solvers", NeurIPS 2022; US 12,524,845;
Ho, Salimans, "Classifier-free diffusion guidance", 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.genie import schedule
from sluice.methods.genie.latents import noise, slerp
from sluice.methods.genie.solvers import SOLVERS, Point
from sluice.options import check_options, choice, flag, number, option, whole

__all__ = ["Call", "Network", "Options", "Trajectory", "encode", "noise", "sample", "slerp"]

RULES = ("difference", "given", "first_order")
PREDICTIONS = ("epsilon", "v_prediction")

# xbar begins at about 150 and ends at about 1. A network whose state grows beyond this diverges, and gives no picture.
GREATEST = 1e6


@dataclass(frozen=True)
class Options:
    """The choices for solving a trajectory.

    Raises InvalidArgument for a value that does not exist or is out of its range.
    """

    solver: str = option("genie", choice(SOLVERS))
    steps: int = option(10, whole(1, schedule.MOST_STEPS))  # intervals of the grid
    grid: str = option("quadratic", choice(schedule.GRIDS))  # in t; from seeds the verb `sample` takes the solver's own
    # Whether the first step takes eps = x_1, which is exact for pure noise and saves a network call.
    analytic_first: bool = option(False, flag)
    # Whether the noise that is left after the last step (1 % of the contrast) is removed, by one more call.
    denoise: bool = option(False, flag)
    # w of eps = (1 + w) eps_conditional - w eps_unconditional. 0 means no guidance; above 0 a call evaluates two rows
    # per sample.
    guidance: float = option(0.0, number(0, 100))
    # The source of d eps / d gamma of the guided eps, for solvers that need this derivative.
    #   difference   a second call at the share `difference` of the step; keeps order 2 with any network
    #   given        the conditional rows of the answer, exact or from a head distilled for this w; keeps order 2
    #   first_order  (1 + w) d_conditional - w d_unconditional; costs no call, but is only of order 1
    guidance_rule: str = option("difference", choice(RULES))
    # Whether the derivative comes from the network, exact or from its curvature head. False takes the derivative from a
    # second call per step, at the share `difference` of the step, which keeps order 2 and needs no head.
    curvature: bool = option(True, flag)
    # Share of the step. Every share keeps the order: 1 is Heun's method, 1/2 the midpoint rule. A small share is nearer
    # to the exact derivative; one that is too small drowns in the rounding of the network.
    difference: float = option(0.1, number(1e-6, 1))

    def __post_init__(self) -> None:
        check_options(self)
        if SOLVERS[self.solver].derivative and self.guidance > 0 and not self.curvature and self._from_network:
            raise InvalidArgument(
                f"guidance_rule {self.guidance_rule} takes the derivative from a curvature head, and there is none or "
                "curvature is false; leave guidance_rule at difference"
            )

    @property
    def differs(self) -> bool:
        """Tell whether each step asks for a second call, from which the derivative is taken."""
        guided = self.guidance > 0 and not self._from_network
        return SOLVERS[self.solver].derivative and (guided or not self.curvature)

    @property
    def derivative(self) -> str | None:
        """Name the source of the derivative, `head` or `difference`; None for solvers that need no derivative."""
        return ("difference" if self.differs else "head") if SOLVERS[self.solver].derivative else None

    @property
    def _from_network(self) -> bool:
        return self.guidance_rule != "difference"

    @property
    def calls(self) -> int:
        """Count the network calls of a trajectory, which come one after the other.

        Each step makes one call, or two where the derivative is taken by difference; an analytic first step makes none,
        and denoising adds one.
        """
        asked = self.steps - self.analytic_first
        return asked * (2 if self.differs else 1) + self.denoise

    @property
    def nfe(self) -> int:
        """Count the network evaluations per image: `calls`, or twice that under guidance, which evaluates two rows."""
        return self.calls * (2 if self.guidance > 0 else 1)


@dataclass(frozen=True)
class Call:
    """A question of a trajectory of B samples to its network.

    x:          [R, ...] x_t, in the network's own scale. R is B, or under guidance 2 B: the B rows with their classes,
                then the same B rows without.
    t:          float64 [R], the same time in every row.
    null:       bool [R]; True where the row is to be evaluated without its class.
    derivative: whether d eps / d gamma is wanted as well.
    """

    x: np.ndarray
    t: np.ndarray
    null: np.ndarray
    derivative: bool


# Call -> the network's prediction [R, ...], and its derivative by gamma along the trajectory, None if not wanted.
Network = Callable[[Call], tuple[np.ndarray, np.ndarray | None]]
_Answer = tuple[np.ndarray, np.ndarray | None]
_Loop = Generator[Call, _Answer, np.ndarray]


class Trajectory:
    """The way of B samples through the steps of a solver; the loop that drives it is in the module's docstring.

    call:    the pending question; None when the trajectory is finished.
    step:    number of steps done.
    preview: [B, ...] the denoised estimate at the newest point; None before the first answer.
    result:  [B, ...] the images, or the latents when encoding; None before the end.
    """

    def __init__(
        self,
        start: np.ndarray,
        options: Options,
        *,
        backward: bool = False,
        prediction: str = "epsilon",
        latest: float = schedule.LATEST,
    ):
        """Begin a trajectory.

        start:      [B, ...] numbers: latents of unit variance, or images of about -1 to 1 if `backward`.
        backward:   True goes from images to latents (encoding), False from latents to images (sampling).
        prediction: the quantity that the network answers with, `epsilon` or `v_prediction`.
        latest:     the greatest t that the network was trained at; the latents are x_t there.

        Raises InvalidArgument for a start that is no batch of finite numbers, for an unknown prediction, and for
        `analytic_first` or `denoise` when encoding.
        """
        choice(PREDICTIONS)("prediction", prediction)
        if backward and (options.analytic_first or options.denoise):
            raise InvalidArgument(
                "analytic_first and denoise belong to sampling; leave them out to encode, and to decode its result"
            )
        start = np.asarray(start)
        if start.dtype.kind not in "fiu" or start.ndim < 2:
            raise InvalidArgument(f"a batch [B, ...] of numbers is needed, got {start.dtype} {list(start.shape)}")
        if not np.isfinite(start).all():
            raise InvalidArgument("the values to start from are not all finite numbers")
        self.options, self.prediction = options, prediction
        self.dtype = np.promote_types(start.dtype, np.float32)  # never below float32
        times = schedule.grid(options.grid, options.steps, latest)
        self.times = times[::-1] if backward else times
        self.gammas = [float(g) for g in schedule.gamma(self.times)]
        self.step = 0
        self.preview: np.ndarray | None = None
        self.result: np.ndarray | None = None
        self._derivative_expected = False
        self._loop = self._solve(start.astype(self.dtype))
        self.call: Call | None = None
        self._advance(None)

    def answer(self, predicted: np.ndarray, derivative: np.ndarray | None = None) -> None:
        """Answer the pending call and go on to the next.

        predicted:  [R, ...] the network's prediction, rows as in the call.
        derivative: [R, ...] its derivative by gamma along the trajectory; ignored if the call did not want it.

        Raises InvalidArgument for another shape, for a derivative that is missing, for answers that make the state
        infinite or NaN, and when the trajectory is finished.
        """
        call = self.call
        if call is None:
            raise InvalidArgument("the trajectory is finished; begin another one")
        for name, given in (("prediction", predicted), ("derivative", derivative if call.derivative else predicted)):
            if given is None:
                raise InvalidArgument(
                    f"solver {self.options.solver} needs the derivative of eps, which this network does not give; "
                    "take one with a curvature head, curvature=False for a difference, or a solver of "
                    + ", ".join(name for name, row in SOLVERS.items() if not row.derivative)
                )
            if np.shape(given) != call.x.shape:
                raise InvalidArgument(f"{name} must be {list(call.x.shape)}, got {list(np.shape(given))}")
        eps = np.asarray(predicted, self.dtype)
        slope = np.asarray(derivative, self.dtype) if call.derivative else None
        if self.prediction == "v_prediction":
            if slope is not None:
                slope = schedule.eps_derivative_of_v(slope, eps, call.x, call.t)
            eps = schedule.eps_of_v(eps, call.x, call.t)
        self._advance((eps, slope))

    def _advance(self, answer: _Answer | None) -> None:
        try:
            self.call = next(self._loop) if answer is None else self._loop.send(answer)
        except StopIteration as end:
            self.call, self.result = None, end.value

    def _solve(self, start: np.ndarray) -> _Loop:
        options, row = self.options, SOLVERS[self.options.solver]
        xbar = start / float(schedule.alpha(self.times[0]))
        points: list[Point] = []
        for n in range(options.steps):
            here, to = self.gammas[n], self.gammas[n + 1]
            if n == 0 and options.analytic_first:
                # p(x_1) = N(0, I) up to 1 part in 43,000, for which eps is x_1 along the whole step. For a network
                # whose noise ends earlier this is as exact as that noise is pure.
                point = Point(here, xbar, start, np.zeros_like(start) if row.derivative else None)
            else:
                point = yield from self._look(xbar, here, to if row.derivative else None)
            if row.correct and points:
                point = row.correct(points, point)
            self.preview = point.clean
            points = [*points, point][-(row.memory + 1) :]
            xbar = row.step(points, to)
            self._check(xbar)
            self.step = n + 1
        if options.denoise:
            point = yield from self._look(xbar, self.gammas[-1], None)
            if row.correct:
                point = row.correct(points, point)
            # x_0 = xbar - gamma eps. After a correction too: eps is nearly the same at the corrected xbar.
            self.preview = point.xbar - point.gamma * point.eps
            return self.preview
        return xbar * float(schedule.alpha(self.times[-1]))

    def _look(self, xbar: np.ndarray, here: float, to: float | None) -> Generator[Call, _Answer, Point]:
        """Ask for the guided eps at gamma `here`, and for its derivative if a gamma `to` is given to step to."""
        options = self.options
        w = options.guidance
        wanted = to is not None and not options.differs
        eps, slope = yield self._ask(xbar, here, wanted)
        if w > 0:
            eps = _guided(eps, w)
            if slope is not None:
                b = len(xbar)
                slope = slope[:b] if options.guidance_rule == "given" else _guided(slope, w)
        if to is not None and options.differs:
            # d xbar / d gamma = eps, so at h ahead on the tangent eps has changed by h times its total derivative.
            h = options.difference * (to - here)
            ahead, _ = yield self._ask(xbar + h * eps, here + h, False)
            slope = ((_guided(ahead, w) if w > 0 else ahead) - eps) / h
        return Point(here, xbar, eps, slope)

    def _ask(self, xbar: np.ndarray, gamma: float, derivative: bool) -> Call:
        # alpha = 1 / sqrt(1 + gamma^2)
        x = xbar * float(1 / np.sqrt(1 + gamma * gamma))
        b = len(x)
        null = np.zeros(b, bool)
        if self.options.guidance > 0:
            x, null = np.concatenate([x, x]), np.repeat([False, True], b)
        return Call(x, np.full(len(x), schedule.time_at(gamma)), null, derivative)

    def _check(self, xbar: np.ndarray) -> None:
        # NaN compares false, so this one comparison finds NaN, infinity and a state that runs away.
        if not (np.abs(xbar) < GREATEST).all():
            raise InvalidArgument(
                f"the network's answers took the state beyond {GREATEST:g} or made it no number at step "
                f"{self.step + 1} of {self.options.steps}; lower the guidance, or take another solver or more steps"
            )


def _guided(rows: np.ndarray, w: float) -> np.ndarray:
    """Combine rows [2 B, ...], the B conditional ones first, as (1 + w) conditional - w unconditional, [B, ...].

    Source: Ho, Salimans, 2022, equation 6.
    """
    b = len(rows) // 2
    return (1 + w) * rows[:b] - w * rows[b:]


def sample(
    network: Network,
    latents: np.ndarray,
    options: Options,
    *,
    prediction: str = "epsilon",
    latest: float = schedule.LATEST,
) -> np.ndarray:
    """Return images [B, ...] of about -1 to 1, made from latents.

    latents: [B, ...] of unit variance, as `noise`, `slerp` or `encode` give them.
    prediction, latest: as for `Trajectory`, which also says what is raised.
    """
    return _run(network, Trajectory(latents, options, prediction=prediction, latest=latest))


def encode(
    network: Network,
    images: np.ndarray,
    options: Options,
    *,
    prediction: str = "epsilon",
    latest: float = schedule.LATEST,
) -> np.ndarray:
    """Return latents [B, ...] from images [B, ...] of -1 to 1; `sample` leads back to the images.

    The same equation is solved on the reversed grid. prediction, latest: as for `Trajectory`.
    """
    return _run(network, Trajectory(images, options, backward=True, prediction=prediction, latest=latest))


def _run(network: Network, trajectory: Trajectory) -> np.ndarray:
    while trajectory.call is not None:
        trajectory.answer(*network(trajectory.call))
    assert trajectory.result is not None
    return trajectory.result
