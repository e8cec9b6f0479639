"""Computes the Fréchet distance between sets of features, and the intervals of figures over the choice of seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.intervals import STUDENT


@dataclass(frozen=True)
class Gaussian:
    """mean [D] and covariance [D, D], float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Gaussian:
        """Fit to features [n, D], n at least 2."""
        features = np.asarray(features, np.float64)
        return cls(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))


def frechet(one: Gaussian, other: Gaussian) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians, |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2).

    Few samples make the distance too large, by about as much for all sets of one size, so compare sets of equal size.
    Sources: Dowson, Landau, 1982; Heusel et al., "GANs trained by a two time-scale update rule", 2017.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # A covariance of few samples has directions without any spread, whose eigenvalues round to just below 0.
    shared = np.sqrt(np.linalg.eigvalsh(root @ other.covariance @ root).clip(0)).sum()
    moved = np.square(one.mean - other.mean).sum()
    return float(moved + np.trace(one.covariance) + np.trace(other.covariance) - 2 * shared)


@dataclass(frozen=True)
class Estimate:
    """A figure and half of its 95 % interval."""

    value: float
    half: float

    @property
    def interval(self) -> list[float]:
        """Return the ends of the interval."""
        return [self.value - self.half, self.value + self.half]


GROUPS = 8  # of seeds


def jackknife(statistic: Callable[[np.ndarray], float], samples: np.ndarray, count: int = GROUPS) -> Estimate:
    """Return a statistic of all samples, and its interval over the choice of seeds: each group of samples is left out
    once.

    samples: [N, ...], N a multiple of `count`. statistic: samples -> a number; for paired figures both sides stand in
    one sample. For a mean this is the usual interval of the mean of the groups' means, by Student's t. Source: Efron,
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
    """
    group = np.repeat(np.arange(count), len(samples) // count)
    without = [statistic(samples[group != i]) for i in range(count)]
    spread = math.sqrt((count - 1) * float(np.var(without)))
    return Estimate(statistic(samples), STUDENT[min(count, len(STUDENT)) - 1] * spread)
