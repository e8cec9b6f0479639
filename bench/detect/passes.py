"""Compares one pass of the mixture-density detector with other ways to an uncertainty: the same work, in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from bench import report
from bench.detect.networks import PASSES, Contender

PLAIN_MARK = 1.35  # published: 0.031 s against 0.023 s
DROPOUT_MARK = 10.0  # published: 0.416 s against 0.031 s


@dataclass
class Times:
    """Seconds of each turn, for the network alone and for the steps after it, and the objects found per image."""

    network: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    objects: list[float] = field(default_factory=list)

    @property
    def whole(self) -> np.ndarray:
        """Return the seconds of each turn, network and all steps after it."""
        return np.add(self.network, self.after)


def race(contenders: Sequence[Contender], canvases: np.ndarray, batch: int, rounds: int) -> dict[str, Times]:
    """Give each contender the same `batch` images of `canvases` uint8 [n, H, W, 3], round after round.

    Each round begins with another contender, so that none always follows the same one. The first round is not counted.
    """
    times = {contender.name: Times() for contender in contenders}
    for r in range(rounds + 1):
        images = canvases[np.arange(r * batch, (r + 1) * batch) % len(canvases)]
        for i in range(len(contenders)):
            contender = contenders[(r + i) % len(contenders)]
            begin = time.perf_counter()
            outputs = contender.network(images)
            middle = time.perf_counter()
            found = contender.after(outputs)
            end = time.perf_counter()
            turn = times[contender.name]
            if r:
                turn.network.append(middle - begin)
                turn.after.append(end - middle)
                turn.objects.append(sum(map(len, found)) / batch)
    return times


def measure(contenders: Sequence[Contender], canvases: np.ndarray, rounds: int) -> list[float]:
    """Print both comparisons, image by image and eight at once, and their claims.

    Returns the seconds of the network with mixture heads for each single image.
    """
    single: list[float] = []
    for batch, turns in ((1, 3 * rounds), (8, rounds)):
        times = race(contenders, canvases, batch, turns)
        ours, plain, dropout, ensemble = times.values()
        rows = [
            [
                name,
                1000 * median(t.network) / batch,
                1000 * median(t.after) / batch,
                1000 * median(t.whole) / batch,
                median(t.whole / plain.whole),
                float(np.mean(t.objects)),
            ]
            for name, t in times.items()
        ]
        single = single or ours.network
        at_once = "one image at a time" if batch == 1 else f"{batch} images at once"
        report.table(
            f"an image with its uncertainty, one thread, {at_once}, median of {turns}",
            ["", "network, ms", "after it, ms", "whole, ms", "times the plain one", "objects per image"],
            rows,
        )
        _claim(f"one pass with mixture heads, {at_once}", ours, plain, PLAIN_MARK, "times the plain detector")
        _claim(
            f"dropout of {PASSES} passes, {at_once}", dropout, ours, DROPOUT_MARK, "times one pass with mixture heads"
        )
        share = ensemble.whole / ours.whole
        report.say(f"the ensemble takes {median(share):.2f} times as long as one pass with mixture heads, {at_once}")
        # Dropout layers cost a little themselves; the claim must also hold for passes as cheap as plain ones.
        bare = PASSES * np.array(plain.network) / ours.whole
        report.say(f"{PASSES} plain passes and nothing after them would take {median(bare):.1f} times as long")
    return single


def _claim(name: str, one: Times, other: Times, mark: float, unit: str) -> None:
    ratio = one.whole / other.whole
    value = median(ratio)
    holds = value >= mark if mark == DROPOUT_MARK else value <= mark
    report.claim(name, value, mark, holds, unit, [min(ratio), max(ratio)])
