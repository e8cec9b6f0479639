"""Defines the character of a street, which stays the same along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOARDS, RAILINGS, WALL, HEDGE = range(4)


@dataclass(frozen=True)
class Street:
    """The character of a street. Lengths are in metres.

    half: half the road's width, parking bays included. driving: -1 on the left, 1 on the right. setback: from the
    pavement to the houses. trees, fences: share of the street that has them, 0-1. fence_style: BOARDS, RAILINGS, WALL
    or HEDGE. traffic, people: factors on the usual number. kerbside: 0 no line, 1 white, 2 double yellow. tone: of the
    asphalt. open_country: share of plots without a house.
    """

    half: float
    pavement: float
    driving: int
    parking: bool
    setback: float
    trees: float
    fences: float
    fence_style: int
    bare: bool
    traffic: float
    people: float
    kerbside: int
    tone: float
    slabs: tuple[float, float, float]
    open_country: float

    @property
    def asphalt(self) -> tuple[float, float, float]:
        """Return the colour of the asphalt."""
        return (self.tone, self.tone, self.tone * 1.02)


def choose(rng: np.random.Generator) -> Street:
    """Choose the character of a street."""
    parking = rng.random() < 0.5
    tone = rng.uniform(0.30, 0.46)
    slab = rng.uniform(0.45, 0.62)
    return Street(
        half=rng.uniform(3.3, 4.2) + (2.1 if parking else 0.0) + (1.5 if rng.random() < 0.2 else 0.0),
        pavement=rng.uniform(1.8, 3.8),
        driving=-1 if rng.random() < 0.7 else 1,
        parking=parking,
        setback=0.0 if rng.random() < 0.5 else rng.uniform(1.5, 6.0),
        trees=rng.choice([0.1, 0.35, 0.8]),
        fences=rng.choice([0.1, 0.4, 0.8]),
        fence_style=int(rng.integers(4)),
        bare=rng.random() < 0.35,
        traffic=rng.uniform(0.4, 1.2),
        people=rng.choice([0.4, 1.0, 2.2]),
        kerbside=int(rng.integers(3)),
        tone=tone,
        slabs=(slab * 1.02, slab, slab * 0.95),
        open_country=rng.choice([0.0, 0.1, 0.45]),
    )
