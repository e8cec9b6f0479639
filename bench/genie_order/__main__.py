"""Measures the solvers of `sample` on mixtures whose eps has a closed form: orders, errors, inversion.

    python -m bench genie_order [--json] [--quick] [--picture docs/genie.png]

Everything is float64, from t = 1 to 0.001, with exact derivatives. Errors are the mean L2 distance in xbar to the same
trajectory by a Runge-Kutta method of order 4 whose own error is below 1e-9. Orders are slopes of log error over log N
by least squares. Intervals are over four groups of latents. --quick is for tests: it takes few latents, and its figures
are rough.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import report
from bench.genie_order import picture
from bench.genie_order.toys import Guided, Mixture, flow, guided4, toy4, toy64
from sluice.methods.genie import schedule
from sluice.methods.genie.solvers import SOLVERS, Point
from sluice.methods.genie.trajectory import Options, encode, noise, sample

STEPS = (5, 10, 20, 40, 80, 160, 320, 640)
ASYMPTOTIC = (80, 160, 320, 640)  # steps over which the order is fitted
FIRST, LAST = float(schedule.gamma(1)), float(schedule.gamma(schedule.EARLIEST))
FIRST_ALPHA, LAST_ALPHA = float(schedule.alpha(1)), float(schedule.alpha(schedule.EARLIEST))

# Errors by N of (grid, solver), measured by an independent program on other latents before this code was written.
KNOWN = {
    ("quadratic", "ddim"): (2.56e-1, 1.27e-1, 6.38e-2, 3.20e-2, 1.60e-2, 8.02e-3, 4.01e-3, 2.01e-3),
    ("quadratic", "genie"): (1.03e-1, 3.17e-2, 9.40e-3, 2.58e-3, 6.77e-4, 1.74e-4, 4.40e-5, 1.11e-5),
    ("quadratic", "ab2"): (1.83e-1, 6.31e-2, 2.02e-2, 5.91e-3, 1.62e-3, 4.24e-4, 1.09e-4, 2.75e-5),
    ("quadratic", "dpmpp_2m"): (2.55e-1, 5.50e-2, 1.24e-2, 3.02e-3, 7.15e-4, 1.74e-4, 4.29e-5, 1.07e-5),
    ("linear", "ddim"): (3.76e-1,),
    ("linear", "genie"): (1.88e-1, 7.75e-2, 1.55e-2, 3.54e-3, 8.54e-4, 2.10e-4),
}
INVERSION = {"ddim": (0.257, 0.128, 0.064), "genie": (0.040, 0.0051, 0.00064)}  # N = 10, 20, 40


class Ground:
    """A toy, latents, and the ends of their exact trajectories."""

    def __init__(self, model: Mixture | Guided, count: int, fine: int = 1000):
        self.model = model
        self.latents = noise(range(count), (2,), np.float64)
        self.truth = flow(model, self.latents / FIRST_ALPHA, FIRST, LAST, fine)

    def errors(self, options: Options) -> np.ndarray:
        """Return the L2 distance in xbar of every sample, [count]."""
        found = sample(self.model, self.latents, options) / LAST_ALPHA
        return np.asarray(np.linalg.norm(found - self.truth, axis=1))

    def curve(self, steps: Sequence[int], **choices: Any) -> np.ndarray:
        """Return the errors after each number of steps, [len(steps), count]."""
        return np.stack([self.errors(Options(steps=n, **choices)) for n in steps])


def slope(steps: Sequence[float], errors: np.ndarray) -> float:
    """Return the order: minus the slope of log error over log N, by least squares."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def groups(errors: np.ndarray, count: int = 4) -> np.ndarray:
    """Return the mean errors of groups of samples, [count, N], for errors [N, samples]."""
    return np.stack([part.mean(axis=1) for part in np.array_split(errors, count, axis=1)])


def main(argv: list[str]) -> int:
    """Measure everything, print tables and claims, and draw the picture if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m bench genie_order", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few latents, to see that it runs")
    parser.add_argument("--picture", type=Path, help="write the picture of toy64 there (PNG)")
    parsed = report.parse(parser, argv)
    count = 200 if parsed.quick else 4000
    ground = Ground(toy4(), count)
    orders(ground)
    stiff(max(count // 8, 100))
    analytic_first(ground)
    local(count // 4)
    inversion(ground)
    guidance(count // 4)
    if parsed.picture:
        picture.draw(parsed.picture, count=600 if parsed.quick else 6000)
        report.say(f"picture: {parsed.picture}")
    return 0


def orders(ground: Ground) -> None:
    """Print every solver on both grids of toy4, and the claims about order and errors."""
    curves = {(grid, name): ground.curve(STEPS, grid=grid, solver=name) for grid in schedule.GRIDS for name in SOLVERS}
    tail = [STEPS.index(n) for n in ASYMPTOTIC]
    for grid in schedule.GRIDS:
        rows = []
        for name in SOLVERS:
            errors = curves[grid, name].mean(axis=1)
            rows.append([name, *errors, slope(ASYMPTOTIC, errors[tail])])
        over = f"order, N = {ASYMPTOTIC[0]} to {ASYMPTOTIC[-1]}"
        report.table(f"toy4, {grid} grid: mean L2 error by steps N", ["solver", *map(str, STEPS), over], rows)
    for name, order, mark in (("ddim", 1.0, 0.1), ("genie", 2.0, 0.1)):
        curve = curves["quadratic", name]
        value = slope(ASYMPTOTIC, curve.mean(axis=1)[tail])
        spread = [slope(ASYMPTOTIC, means[tail]) for means in groups(curve)]
        report.claim(
            f"global order of {name}, toy4, quadratic grid, N = {ASYMPTOTIC[0]} to {ASYMPTOTIC[-1]}",
            value, order, abs(value - order) <= mark, f"(within {mark} of the mark)", [min(spread), max(spread)],
        )  # fmt: skip
    for (grid, name), known in KNOWN.items():
        curve = curves[grid, name][: len(known)]
        off = np.abs(curve.mean(axis=1) / known - 1)
        spread = [float(np.abs(means / known - 1).max()) for means in groups(curve)]
        at = STEPS[int(off.argmax())]
        report.claim(
            f"errors of {name}, toy4, {grid} grid, against the known table, N = {STEPS[0]} to {STEPS[len(known) - 1]}",
            float(off.max()), 0.05, bool(off.max() <= 0.05), f"greatest relative difference, at N = {at}",
            [min(spread), max(spread)],
        )  # fmt: skip


def stiff(count: int) -> None:
    """Print errors on toy64, whose modes are as narrow as the noise that is left at the end."""
    ground = Ground(toy64(), count)
    steps = (5, 10, 25, 50)
    rows = [
        [grid, name, *ground.curve(steps, grid=grid, solver=name).mean(axis=1)]
        for grid in schedule.GRIDS
        for name in SOLVERS
    ]
    report.table("toy64: mean L2 error by steps N", ["grid", "solver", *map(str, steps)], rows)


def analytic_first(ground: Ground) -> None:
    """Print what is gained when the first step saves a network call and one more step is taken for it."""
    rows, ratios = [], []
    for name in SOLVERS:
        for nfe in (5, 10, 20):
            plain = ground.errors(Options(solver=name, steps=nfe)).mean()
            saved = ground.errors(Options(solver=name, steps=nfe + 1, analytic_first=True)).mean()
            rows.append([name, nfe, plain, saved, saved / plain - 1])
            ratios += [saved / plain - 1] if name == "genie" else []
    columns = ["solver", "NFE", "plain", "analytic first step, one step more", "change"]
    report.table("toy4, quadratic grid, at equal NFE", columns, rows)
    report.claim(
        "genie with the analytic first step at equal NFE of 5, 10, 20: change of the error",
        max(ratios), 0, max(ratios) < 0, "at the worst (negative: less error)", [min(ratios), max(ratios)],
    )  # fmt: skip


def local(count: int) -> None:
    """Print the local order, of one step of length dt from a point of an exact trajectory: 2 for DDIM, 3 for GENIE."""
    lengths = (0.04, 0.02, 0.01, 0.005, 0.0025, 0.00125)
    rows: list[list[Any]] = []
    found: dict[str, list[float]] = {"ddim": [], "genie": []}
    for title, model in (("toy4", toy4()), ("toy64", toy64())):
        latents = noise(range(count if title == "toy4" else count // 4), (2,), np.float64) / FIRST_ALPHA
        for t in (0.5, 0.2, 0.1):
            here = float(schedule.gamma(t))
            xbar = flow(model, latents, FIRST, here, 400)
            point = Point(here, xbar, model.eps(xbar, here), model.along(xbar, here))
            ends = [float(schedule.gamma(t - dt)) for dt in lengths]
            truths = [flow(model, xbar, here, end, 100) for end in ends]
            for name in found:
                pairs = zip(ends, truths, strict=True)
                errors = [np.linalg.norm(SOLVERS[name].step([point], end) - true, axis=1).mean() for end, true in pairs]
                order = slope(lengths[-3:], 1 / np.array(errors[-3:]))
                found[name].append(order)
                rows.append([title, t, name, *errors, order])
    columns = ["toy", "t", "solver", *(f"dt {dt}" for dt in lengths), "order, last three"]
    report.table("error of one step of length dt from t", columns, rows)
    for name, order in (("ddim", 2.0), ("genie", 3.0)):
        worst = max(found[name], key=lambda p: abs(p - order))
        report.claim(
            f"local order of {name}, both toys, t = 0.5, 0.2, 0.1", worst, order, abs(worst - order) <= 0.1,
            "the furthest (within 0.1 of the mark)", [min(found[name]), max(found[name])],
        )  # fmt: skip


def inversion(ground: Ground) -> None:
    """Encode images and decode them again, and print how far from the originals they end."""
    steps = (5, 10, 20, 40, 80)
    model = toy4()
    images = model.draw(np.random.default_rng(0), len(ground.latents))
    found = {}
    for name in SOLVERS:
        curve = []
        for n in steps:
            options = Options(solver=name, steps=n)
            again = sample(model, encode(model, images, options), options)
            curve.append(float(np.linalg.norm((again - images) / LAST_ALPHA, axis=1).mean()))
        found[name] = curve
    rows = [[name, *curve] for name, curve in found.items()]
    report.table("toy4, quadratic grid: encode, then decode; mean L2 by N", ["solver", *map(str, steps)], rows)
    for name, known in INVERSION.items():
        off = max(abs(a / b - 1) for a, b in zip(found[name][1:4], known, strict=True))
        # The known figures have two digits.
        report.claim(
            f"round trip of {name} against the known figures, N = 10, 20, 40", off, 0.1, off <= 0.1,
            "greatest relative difference (the mean is that of a heavy tail: a few samples between two modes)",
        )  # fmt: skip


def guidance(count: int) -> None:
    """Print which rule for the derivative keeps the order under classifier-free guidance with w = 1."""
    ground, exact = Ground(guided4(), count), Ground(guided4(exact=True), count)
    rules: dict[str, tuple[Ground, dict[str, Any]]] = {
        "genie, given (exact)": (exact, {"guidance_rule": "given"}),
        "genie, difference": (ground, {"guidance_rule": "difference"}),
        "genie, first_order": (ground, {"guidance_rule": "first_order"}),
        **{name: (ground, {"solver": name}) for name in SOLVERS if name != "genie"},
    }
    rows, promised = [], []
    for title, (at, choices) in rules.items():
        errors = groups(at.curve(STEPS, guidance=1.0, **choices))
        tail = [STEPS.index(n) for n in ASYMPTOTIC]
        means = errors.mean(axis=0)
        orders_found = [slope(ASYMPTOTIC, one[tail]) for one in errors]
        order = slope(ASYMPTOTIC, means[tail])
        nfe = Options(steps=10, guidance=1.0, **choices).nfe / 10
        rows.append([title, nfe, *means, order])
        if title.startswith("genie"):
            promised.append((title, order, 1.0 if "first" in title else 2.0, [min(orders_found), max(orders_found)]))
    columns = ["solver and rule", "evaluations a step", *map(str, STEPS), "order"]
    report.table("toy4, class of two modes, guidance w = 1, quadratic grid: mean L2 error by N", columns, rows)
    for title, order, mark, spread in promised:
        name = f"order under guidance w = 1, {title}"
        report.claim(name, order, mark, abs(order - mark) <= 0.1, "(within 0.1 of the mark)", spread)
