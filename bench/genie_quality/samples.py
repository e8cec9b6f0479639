"""Makes every image that `bench genie_quality` looks at: the same latents by every solver, on all cores."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.genie_quality.networks import Model, exact
from sluice.methods.genie.solvers import SOLVERS
from sluice.methods.genie.trajectory import Options, noise, sample

BATCH = 64  # images at most; a batch goes through its trajectory on one core


FINE, FINER = Options(solver="unipc", steps=100), Options(solver="ab2", steps=200)


@dataclass(frozen=True)
class Plan:
    """The images that are made of each latent.

    images: how many latents. nfes: of every solver. saved: NFEs at which the analytic first step is tried as well, with
    one step more. fine: the options that stand for the converged solution. finer: another solver's options, with which
    the first batch is checked against `fine`. exact: for how many latents genie is tried with the exact derivative as
    well, at the least NFE, on both grids. head: what the curvature head adds to the time of an evaluation, as a share
    of the network's time; at equal cost genie takes fewer steps for it.
    """

    images: int
    nfes: Sequence[int] = (5, 10, 15, 20, 25)
    saved: Sequence[int] = (5,)
    fine: Options = FINE
    finer: Options = FINER
    exact: int = 128
    head: float = 0.0

    def affordable(self, nfe: int) -> Options:
        """Return genie in as many steps as cost no more than `nfe` evaluations of the network without the head."""
        return Options(solver="genie", steps=max(1, math.floor(nfe / (1 + self.head) + 1e-9)))

    def plain(self, solver: str, nfe: int) -> Options:
        """Return a solver's options at an NFE, on the quadratic grid."""
        return Options(solver=solver, steps=nfe)

    @property
    def spaced(self) -> list[int]:
        """Return the NFEs at which both grids are tried: the least, and twice and four times as many."""
        return [nfe for nfe in self.nfes if nfe in (self.nfes[0], 2 * self.nfes[0], 4 * self.nfes[0])]

    def grids(self, solver: str, nfe: int) -> list[Options]:
        """Return a solver's options at an NFE, on the quadratic and on the linear grid."""
        plain = self.plain(solver, nfe)
        return [plain, replace(plain, grid="linear")]

    def analytic(self, solver: str, nfe: int) -> Options:
        """Return a solver's options with the analytic first step and one step more."""
        return Options(solver=solver, steps=nfe + 1, analytic_first=True)

    def options(self) -> list[Options]:
        """Return the options that all latents go through, those that take longest first."""
        found = [self.plain(name, nfe) for nfe in self.nfes for name in SOLVERS]
        found += [options for nfe in self.spaced for name in SOLVERS for options in self.grids(name, nfe)[1:]]
        found += [self.analytic(name, nfe) for nfe in self.saved for name in SOLVERS]
        found += [self.affordable(nfe) for nfe in self.nfes]
        return sorted(dict.fromkeys([self.fine, *found]), key=lambda options: -options.nfe)


def make(model: Model, plan: Plan, processors: int | None = None) -> dict[Options, np.ndarray]:
    """Return images [N, C, S, S] of every option; those of `plan.finer` for the first batch only. Prints the time that
    is left."""
    latents, labels = noise(range(plan.images), model.shape), model.labels(plan.images)
    cuts = range(0, plan.images, BATCH)
    work = [(plan.finer, 0), *((options, cut) for options in plan.options() for cut in cuts)]
    total, begun = sum(options.nfe for options, _ in work), time.monotonic()

    def one(item: tuple[Options, int]) -> np.ndarray:
        options, cut = item
        part = None if labels is None else labels[cut : cut + BATCH]
        return sample(model.network(part), latents[cut : cut + BATCH], options)

    found: dict[Options, list[np.ndarray]] = {}
    done = 0
    with ThreadPoolExecutor(processors or len(os.sched_getaffinity(0))) as pool:
        for (options, _), images in zip(work, pool.map(one, work), strict=True):
            found.setdefault(options, []).append(images)
            before, done = done, done + options.nfe
            if done * 20 // total > before * 20 // total:
                left = (time.monotonic() - begun) * (total - done) / done / 60
                print(
                    f"{model.name}: {done / total:.0%} of the images, {left:.1f} min left", file=sys.stderr, flush=True
                )
    return {options: np.concatenate(parts) for options, parts in found.items()}


def make_exact(model: Model, plan: Plan, weights: Path) -> dict[Options, np.ndarray]:
    """Return genie's images of the first latents at the least NFE, with the exact derivative. Slow, because torch
    computes it."""
    count, labels = min(plan.exact, plan.images), model.labels(plan.images)
    found = {}
    for options in plan.grids("genie", plan.nfes[0]):
        parts = []
        for cut in range(0, count, BATCH):
            latents = noise(range(cut, min(cut + BATCH, count)), model.shape)
            network = exact(weights, None if labels is None else labels[cut : cut + len(latents)])
            parts.append(sample(network, latents, options))
        found[options] = np.concatenate(parts)
    return found
