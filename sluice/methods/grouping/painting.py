"""Maps of classes at the working size into the picture of labels at the caller's, and which group each pixel is in.

Every map is resized and held against the best so far, then dropped: the memory is a few pictures, however many classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from sluice.methods.grouping.upsampling import Upsampling, bands, overtake, reach
from sluice.methods.grouping.windows import Plan


class Rule(Protocol):
    """What `sluice.methods.grouping.rules` offers."""

    classes: np.ndarray  # int64, rising: the classes that can win
    boxes: np.ndarray  # int64 [classes, 4]: first and last row and column of the working size where they can

    @property
    def groups(self) -> list[np.ndarray]:
        """The group of each pixel, uint8 [H, W] a window."""

    def layer(self, index: int) -> np.ndarray:
        """Score of one class, float32 [h, w]."""

    def ground(self) -> np.ndarray | None:
        """Score of the background, float32 [h, w], or None."""

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Of rows of the result, given the best score there."""

    def named(self) -> tuple[np.ndarray, np.ndarray]:
        """Class and score of each group, [W, G] each."""


@dataclass(frozen=True)
class Painted:
    """A picture of labels, H x W.

    labels: uint8, or uint16 beyond 255 classes: 0 is background, k the class k - 1.
    best:   float32, score of the best class, also where that is not enough and the label is 0.
    """

    rule: Rule
    labels: np.ndarray
    best: np.ndarray

    @cached_property
    def confidence(self) -> np.ndarray:
        """The best score as the rule's confidence, float32 [H, W], 0 to 1; made when it is first asked for."""
        confidence = np.empty_like(self.best)
        for start, stop in bands(len(confidence)):
            confidence[start:stop] = self.rule.confidence(self.best[start:stop], start, stop)
        return confidence


def paint(rule: Rule, classes: int, size: tuple[int, int]) -> Painted:
    """The best class at every pixel; ties go to the background, then to the first.

    classes: C, of which the labels' type is made. size: (H, W) of the result.
    """
    labels = np.zeros(size, np.uint8 if classes < 256 else np.uint16)
    best = np.full(size, -np.inf, np.float32)
    for index, (top, bottom, left, right) in zip(rule.classes, rule.boxes, strict=True):
        working = rule.layer(index)
        rows = reach(top, bottom, working.shape[0], size[0])
        columns = reach(left, right, working.shape[1], size[1])
        layer = Upsampling(working, size, columns)
        for start, stop in bands(rows.stop, rows.start):
            overtake(best[start:stop, columns], labels[start:stop, columns], layer.rows(start, stop), index + 1)
    ground = rule.ground()
    if ground is not None:
        layer = Upsampling(ground, size)
        for start, stop in bands(size[0]):
            labels[start:stop][layer.rows(start, stop) >= best[start:stop]] = 0
    return Painted(rule, labels, best)


def group_map(groups: list[np.ndarray], per_window: int, plan: Plan, size: tuple[int, int]) -> np.ndarray:
    """The group of each pixel, uint16 [H, W]: window * per_window + group. Where windows overlap, that of the window
    whose middle is nearest.

    groups: uint8 [h, w] a window, 0 to per_window - 1.
    """
    row, column = plan.nearest()
    working = np.empty(plan.working, np.uint16)
    for window, ((top, left), own) in enumerate(zip(plan.corners, groups, strict=True)):
        y = np.flatnonzero(row == window // len(plan.lefts))
        x = np.flatnonzero(column == window % len(plan.lefts))
        if len(y) and len(x):
            number = own[y[0] - top : y[-1] + 1 - top, x[0] - left : x[-1] + 1 - left].astype(np.uint16)
            working[y[0] : y[-1] + 1, x[0] : x[-1] + 1] = number + window * per_window
    y, x = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for old, new in zip(plan.working, size, strict=True)
    )
    return working[y[:, None], x[None, :]]
