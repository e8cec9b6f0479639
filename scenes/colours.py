"""Holds colours as displayed by day, RGB 0-1, and varies them from one thing to the next."""

from __future__ import annotations

import numpy as np

Colour = tuple[float, float, float]


def scaled(colour: Colour, factor: float) -> Colour:
    """Return a colour made lighter (factor above 1) or darker."""
    r, g, b = colour
    return (min(0.95, r * factor), min(0.95, g * factor), min(0.95, b * factor))


def tinted(rng: np.random.Generator, colour: Colour, spread: float = 0.14) -> Colour:
    """Return a colour made lighter or darker by up to `spread`, and a little warmer or colder."""
    r, g, b = (c * t for c, t in zip(colour, 1 + rng.uniform(-0.035, 0.035, 3), strict=True))
    light = rng.uniform(1 - spread, 1 + spread)
    return (_kept(r * light), _kept(g * light), _kept(b * light))


def one_of(rng: np.random.Generator, table: tuple[Colour, ...], spread: float = 0.0) -> Colour:
    """Pick a colour of a table, and vary it by `spread`."""
    colour = table[int(rng.integers(len(table)))]
    return tinted(rng, colour, spread) if spread else colour


def _kept(value: float) -> float:
    return float(min(0.93, max(0.02, value)))
