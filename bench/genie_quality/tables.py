"""Prints distances, Fréchet distances and claims for the images of `bench genie_quality`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench import report
from bench.genie_quality.judge import Judge
from bench.genie_quality.networks import Model, pixels
from bench.genie_quality.samples import Plan
from bench.genie_quality.statistics import Estimate, Gaussian, frechet, jackknife
from sluice.methods.genie.solvers import SOLVERS
from sluice.methods.genie.trajectory import Options

Images = Mapping[Options, np.ndarray]
OURS = "genie"


class Distances:
    """The distance of each image from the converged one: root mean square over its pixels."""

    def __init__(self, made: Images, plan: Plan):
        self.made, self.truth = made, made[plan.fine]

    def each(self, options: Options) -> np.ndarray:
        """Return the distance of each image, [N]."""
        return apart(self.made[options], self.truth)

    def mean(self, options: Options) -> Estimate:
        """Return the mean distance."""
        return jackknife(mean, self.each(options))

    def ratio(self, one: Options, other: Options) -> Estimate:
        """Return the mean distance of one over that of another, paired by latent."""
        return ratio_of(np.stack([self.each(one), self.each(other)], axis=1))


class Likeness:
    """The distance of the images' features from those of real images.

    The real images are divided in two. `others` are as many as there are generated images, and tell how far real images
    lie from real images.
    """

    def __init__(self, made: Images, judge: Judge, real: np.ndarray):
        count = len(next(iter(made.values())))
        self.judge = judge
        self.features = {options: judge.features(pixels(images)) for options, images in made.items()}
        features = judge.features(real)
        self.others, self.real = features[-count:], Gaussian.of(features[:-count])

    def mean(self, features: np.ndarray) -> Estimate:
        """Return the Fréchet distance of features [N, D]."""
        return jackknife(self.frechet, features)

    def difference(self, one: Options, other: Options) -> Estimate:
        """Return the Fréchet distance of one less that of another, paired by latent."""
        pairs = np.stack([self.features[one], self.features[other]], axis=1)
        return jackknife(lambda rows: self.frechet(rows[:, 0]) - self.frechet(rows[:, 1]), pairs)

    def frechet(self, features: np.ndarray) -> float:
        """Return the Fréchet distance of features [N, D], without its interval."""
        return frechet(Gaussian.of(features), self.real)


def ratio_of(pairs: np.ndarray) -> Estimate:
    """Return the ratio of the means of two columns [N, 2]."""
    return jackknife(lambda rows: float(rows[:, 0].mean() / rows[:, 1].mean()), pairs)


def apart(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the root mean square difference of each image, [N]."""
    return np.sqrt(np.square(images - others, dtype=np.float64).reshape(len(images), -1).mean(axis=1))


def show(model: Model, plan: Plan, made: Images, exact: Images, judge: Judge, real: np.ndarray) -> None:
    """Print the tables and claims of a model.

    made: as `samples.make` returns. exact: some of genie's images with the exact derivative. real: uint8 [n, C, S, S].
    """
    whole = {options: images for options, images in made.items() if options != plan.finer}
    distances, likeness = Distances(whole, plan), Likeness(whole, judge, real)
    measures(model, plan, made, judge, likeness)
    solvers(model, plan, distances, likeness)
    analytic(model, plan, distances, likeness)
    spacings(model, plan, distances, likeness)
    grids(model, plan, distances, exact)
    equal_cost(model, plan, distances, likeness)
    claims(model, plan, distances)


def measures(model: Model, plan: Plan, made: Images, judge: Judge, likeness: Likeness) -> None:
    """Print what the two distances are measured with, and how precisely that is known."""
    part = made[plan.finer]
    fine = made[plan.fine][: len(part)]
    smallest = min(float(apart(made[plan.plain(n, plan.nfes[-1])][: len(part)], fine).mean()) for n in SOLVERS)
    floor, least = likeness.mean(likeness.others), likeness.mean(likeness.features[plan.fine])
    between = float(apart(part, fine).mean())
    told = "named rightly" if model.classes else "largest class told rightly"
    rows = [
        [f"classifier: share of unseen real images {told}", judge.accuracy, math.nan],
        [f"distance of {name(plan.finer)} to {name(plan.fine)}, {len(part)} images", between, math.nan],
        [f"the least distance below, at NFE {plan.nfes[-1]}, same images", smallest, math.nan],
        [f"Fréchet distance of {plan.images} real images to {len(likeness.others)} others", floor.value, floor.half],
        [f"Fréchet distance of {name(plan.fine)}", least.value, least.half],
    ]  # fmt: skip
    report.table(f"{model.name}: what is measured with", ["", "value", "±"], rows)


def solvers(model: Model, plan: Plan, distances: Distances, likeness: Likeness) -> None:
    """Print the table of all solvers at all NFEs."""
    rows = []
    for nfe in plan.nfes:
        ours = plan.plain(OURS, nfe)
        for solver in SOLVERS:
            options = plan.plain(solver, nfe)
            row: list[Any] = [nfe, solver, *pair(distances.mean(options))]
            row += pair(distances.ratio(options, ours) if solver != OURS else None)
            row += pair(likeness.mean(likeness.features[options]))
            row += pair(likeness.difference(options, ours) if solver != OURS else None)
            rows.append(row + asked(model, likeness, distances.made[options]))
    columns = ["NFE", "solver", "distance", "±", f"times {OURS}'s", "± times", "Fréchet", "± Fréchet"]
    columns += [f"less {OURS}'s", "± less"] + ["class as asked"] * bool(model.classes)
    report.table(
        f"{model.name}: {plan.images} images, quadratic grid, distance to the converged solution and Fréchet distance "
        "to real images",
        columns,
        rows,
    )


def analytic(model: Model, plan: Plan, distances: Distances, likeness: Likeness) -> None:
    """Print what is gained when the first step saves a network call and one more step is taken for it."""
    rows = []
    for nfe in plan.saved:
        for solver in SOLVERS:
            one, other = plan.analytic(solver, nfe), plan.plain(solver, nfe)
            row = [nfe, solver, *pair(distances.mean(one)), *pair(distances.ratio(one, other))]
            rows.append(row + pair(likeness.mean(likeness.features[one])) + pair(likeness.difference(one, other)))
    columns = ["NFE", "solver", "distance", "±", "times without", "± times", "Fréchet", "± Fréchet", "less without"]
    report.table(f"{model.name}: the analytic first step and one step more, at equal NFE", [*columns, "± less"], rows)


def spacings(model: Model, plan: Plan, distances: Distances, likeness: Likeness) -> None:
    """Print both grids of all solvers, from which the default of each was chosen, and the claim for genie's."""
    rows = []
    for nfe in plan.spaced:
        for solver in SOLVERS:
            quadratic, linear = plan.grids(solver, nfe)
            row: list[Any] = [nfe, solver, SOLVERS[solver].grid]
            row += pair(distances.mean(quadratic)) + pair(distances.mean(linear))
            row += pair(distances.ratio(linear, quadratic))
            rows.append(row + pair(likeness.difference(linear, quadratic)))
    columns = ["NFE", "solver", "default", "quadratic", "±", "linear", "± linear", "linear, times quadratic", "± times"]
    report.table(
        f"{model.name}: both grids, {plan.images} images, distance to the converged solution, and the Fréchet distance "
        "on the linear grid less that on the quadratic one",
        [*columns, "Fréchet, linear less quadratic", "± less"],
        rows,
    )
    ratios = {str(nfe): distances.ratio(*plan.grids(OURS, nfe)) for nfe in plan.spaced}
    claim(
        f"{model.name}: {OURS} nearer on the linear grid than on the quadratic one, NFE {', '.join(ratios)}",
        ratios, "the quadratic grid comes nearest at NFE {}",
    )  # fmt: skip


def grids(model: Model, plan: Plan, distances: Distances, exact: Images) -> None:
    """Print both grids at the least NFE, and genie with the exact derivative, which shows what the head loses."""
    nfe, count = plan.nfes[0], len(next(iter(exact.values())))
    each = {solver: [distances.each(options)[:count] for options in plan.grids(solver, nfe)] for solver in SOLVERS}
    truth = distances.truth[:count]
    each = {f"{OURS}, exact derivative": [apart(images, truth) for images in exact.values()], **each}
    best = min(each[f"{OURS}, exact derivative"], key=np.mean)
    rows = []
    for solver, (quadratic, linear) in each.items():
        row = [solver, *pair(jackknife(mean, quadratic)), *pair(jackknife(mean, linear))]
        better = min(quadratic, linear, key=np.mean)
        rows.append(row + pair(ratio_of(np.stack([better, best], axis=1)) if better is not best else None))
    columns = ["solver", "quadratic grid", "±", "linear grid", "± linear", f"better, times exact {OURS}'s", "± times"]
    report.table(f"{model.name}: both grids at NFE {nfe}, distance, {count} images", columns, rows)


def equal_cost(model: Model, plan: Plan, distances: Distances, likeness: Likeness) -> None:
    """Print all solvers at equal cost: the time of so many evaluations of the network, where genie with its head takes
    fewer steps."""
    rows = []
    for nfe in plan.nfes:
        ours = plan.affordable(nfe)
        for solver in SOLVERS:
            options = ours if solver == OURS else plan.plain(solver, nfe)
            cost = options.nfe * (1 + plan.head * (solver == OURS))
            row: list[Any] = [nfe, solver, options.steps, cost, *pair(distances.mean(options))]
            row += pair(distances.ratio(options, ours) if solver != OURS else None)
            rows.append(row + pair(likeness.mean(likeness.features[options])))
    columns = ["cost", "solver", "steps", "cost used", "distance", "±", f"times {OURS}'s", "± times", "Fréchet"]
    report.table(
        f"{model.name}: at equal cost, in evaluations of the network without its head, which adds {plan.head:.1%}; "
        f"{plan.images} images, quadratic grid",
        [*columns, "± Fréchet"],
        rows,
    )


def mean(rows: np.ndarray) -> float:
    """Return the mean of all rows."""
    return float(rows.mean())


def claims(model: Model, plan: Plan, distances: Distances) -> None:
    """Print the claims that genie is nearest at the least NFE, and nowhere behind ddim."""
    least = plan.nfes[0]
    against = {n: distances.ratio(plan.plain(n, least), plan.plain(OURS, least)) for n in SOLVERS if n != OURS}
    claim(
        f"{model.name}: {OURS} at NFE {least} nearer to the converged solution than every other solver",
        against, "the nearest of the others is {}",
    )  # fmt: skip
    ours = plan.affordable(least)
    claim(
        f"{model.name}: the same at equal cost, {OURS} in {ours.steps} steps",
        {n: distances.ratio(plan.plain(n, least), ours) for n in SOLVERS if n != OURS},
        f"the head adds {plan.head:.1%} to an evaluation; the nearest of the others is {{}}",
    )
    better = {n: min(plan.grids(n, least), key=lambda options: distances.each(options).mean()) for n in SOLVERS}
    claim(
        f"{model.name}: the same, every solver on the grid that suits it better",
        {f"{n}, {better[n].grid}": distances.ratio(better[n], better[OURS]) for n in SOLVERS if n != OURS},
        f"{OURS} on the {better[OURS].grid} grid, the nearest of the others is {{}}",
    )
    behind = {str(n): distances.ratio(plan.plain("ddim", n), plan.plain(OURS, n)) for n in plan.nfes}
    claim(f"{model.name}: {OURS} never behind ddim, NFE {least} to {plan.nfes[-1]}", behind, "the least is at NFE {}")


def claim(title: str, ratios: Mapping[str, Estimate], where: str) -> None:
    """Print one claim. ratios: the other's distance over ours; the claim holds if all intervals lie above 1."""
    worst = min(ratios, key=lambda key: ratios[key].value)
    holds = all(ratio.interval[0] > 1 for ratio in ratios.values())
    report.claim(
        title, ratios[worst].value, 1.0, holds, f"times {OURS}'s distance", ratios[worst].interval, where.format(worst)
    )


def pair(estimate: Estimate | None) -> list[Any]:
    """Return a figure and half of its interval as two cells, empty ones for None."""
    return [math.nan, math.nan] if estimate is None else [estimate.value, estimate.half]


def asked(model: Model, likeness: Likeness, images: np.ndarray) -> list[Any]:
    """Return the share of images that the classifier names as the class that was asked for; nothing for a model without
    classes."""
    labels = model.labels(len(images))
    return [] if labels is None else [float((likeness.judge.classes(pixels(images)) == labels).mean())]


def name(options: Options) -> str:
    """Return the words for options."""
    return f"{options.solver} in {options.steps} steps"
