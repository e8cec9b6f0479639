"""Compares moments merged image by image, in any order and by several workers, with those of all objects at once."""

from __future__ import annotations

import numpy as np

from bench import report
from sluice.methods.mixtures.summaries import COLUMNS, Detections, Moments, Summary

IMAGES = 10_000
ORDERS = 20
LABELS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")
# Each merge rounds a few times, by at most 1.1e-16; over 10,000 merges these errors add up like a random walk.
MARK = 1e-13


def pool(rng: np.random.Generator, images: int) -> list[Detections]:
    """Draw images with 0 to 30 objects. Uncertainties span several powers of ten, as a network's do; some images lie
    far off."""
    found = []
    for _ in range(images):
        m = int(rng.integers(0, 31))
        rows = np.zeros((m, COLUMNS), np.float32)
        rows[:, 0] = rng.integers(0, len(LABELS), m)
        rows[:, 1] = rng.uniform(0.5, 1, m)
        rows[:, 6:] = np.exp(rng.normal(rng.normal(-3, 2), 1, (m, 10)))
        found.append(Detections.from_array(rows))
    return found


def together(parts: list[Moments], rng: np.random.Generator) -> Moments:
    """Merge all parts in a random order: up to 64 workers take random shares, then the workers are merged in turn."""
    order = rng.permutation(len(parts))
    cuts = np.sort(rng.integers(0, len(parts) + 1, int(rng.integers(0, 64))))
    whole = Moments()
    for share in np.split(order, cuts):
        worker = Moments()
        for i in share:
            worker = worker.merge(parts[i])
        whole = whole.merge(worker)
    return whole


def difference(one: Moments, other: Moments) -> float:
    """Return the greatest relative difference of mean, m2 and standard deviation; infinite if the counts differ."""
    if one.n != other.n:
        return float("inf")
    pairs = ((one.mean, other.mean), (one.m2, other.m2), (one.std(), other.std()))
    return max(float((np.abs(a - b) / np.abs(b)).max()) for a, b in pairs)


def truth(values: np.ndarray) -> Moments:
    """Return what `Moments.of` does, computed in long double and rounded once at the end."""
    values = values.astype(np.longdouble)
    mean = values.mean(axis=0)
    return Moments(len(values), mean.astype(np.float64), np.square(values - mean).sum(axis=0).astype(np.float64))


def measure(seed: int = 0) -> None:
    """Print the greatest relative difference over several orders, and the claim."""
    rng = np.random.default_rng(seed)
    images = pool(rng, IMAGES)
    values = np.concatenate([image.types() for image in images])
    batch = Moments.of(values)
    # The moments go through the text that `detect` gives to callers, because a caller merges what came over the wire.
    parts = [Summary.from_json(Summary.of(image, LABELS).to_json()).whole.moments for image in images]
    merged = [together(parts, rng) for _ in range(ORDERS)]
    worst = [difference(one, batch) for one in merged]
    report.claim(
        f"moments of {IMAGES:,} images ({batch.n:,} objects) merged in {ORDERS} orders",
        max(worst),
        MARK,
        max(worst) <= MARK,
        "greatest relative difference from all at once",
        [min(worst), max(worst)],
    )
    exact = truth(values)
    report.say(
        f"from the same sums in 64 bits of mantissa the merged ones differ by at most "
        f"{max(difference(one, exact) for one in merged):.1e}, those of all at once by {difference(batch, exact):.1e}"
    )
