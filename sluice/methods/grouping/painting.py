"""Painting: from one map of scores per class at the working size to the map of labels at the caller's size.

Every map is resized, compared with the best score so far and dropped. So the memory is that of a few maps, however many
classes there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from sluice.methods.grouping.upsampling import Upsampling, bands, overtake, reach
from sluice.methods.grouping.windows import Plan


class Rule(Protocol):
    """The interface of the rules in `grouping.rules`: scores of classes at the working size h x w.

    classes: int64 [n], the classes that can win somewhere, rising.
    boxes:   int64 [n, 4], first row, last row, first column and last column of the working size where each can win.
    by_group: True if the rule itself decides which groups are background; False leaves this to `grouping.segment`,
             which decides by pixel.
    """

    classes: np.ndarray
    boxes: np.ndarray
    by_group: bool

    @property
    def groups(self) -> list[np.ndarray]:
        """Return the group of each pixel, one uint8 [h, w] per window."""

    def layer(self, index: int) -> np.ndarray:
        """Return the score of one class, float32 [h, w]."""

    def ground(self) -> np.ndarray | None:
        """Return the score of the background, float32 [h, w]; None if the rule has no background."""

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the confidence, 0 to 1, of rows start to stop of the result, given the best scores there."""

    def named(self) -> tuple[np.ndarray, np.ndarray]:
        """Return class and score of each group, [V, G] each."""


@dataclass(frozen=True)
class Painted:
    """A map of labels, with the scores behind it.

    labels: uint8 [H, W], or uint16 beyond 255 classes: 0 is background, k the class k - 1.
    best:   float32 [H, W], score of the best class at every pixel, also at pixels that became background because the
            score is below the threshold.
    """

    rule: Rule
    labels: np.ndarray
    best: np.ndarray

    @cached_property
    def confidence(self) -> np.ndarray:
        """Return the rule's confidence in the best class, float32 [H, W], 0 to 1; made when first asked for."""
        confidence = np.empty_like(self.best)
        for start, stop in bands(len(confidence)):
            confidence[start:stop] = self.rule.confidence(self.best[start:stop], start, stop)
        return confidence


def paint(rule: Rule, classes: int, size: tuple[int, int]) -> Painted:
    """Find the best class at every pixel; ties go to the background, then to the first class.

    classes: C; up to 255 classes the labels are uint8. size: (H, W) of the result.
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
    """Return the group of each pixel, uint16 [H, W]: window * per_window + group.

    groups: one uint8 [h, w] per window, 0 to per_window - 1. size: (H, W) of the result.
    Where windows overlap, the window whose middle is nearest counts.
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
