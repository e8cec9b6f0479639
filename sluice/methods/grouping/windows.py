"""Windows: scales an image to a working size, and cuts it into overlapping windows for the grouping network.

The published evaluation scales the short side to 448 pixels, and moves a window of 448 x 448 over the image in steps of
224; the scores of all windows over a pixel are averaged. The view `whole` is one window over the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument
from sluice.options import choice

PATCH = 16  # of the published network, which takes sides that are multiples of it
MOST_WINDOWS = 64
VIEWS = ("windows", "whole")


@dataclass(frozen=True)
class Plan:
    """The windows of one image. All sizes are (height, width), all corners (top, left), in whole pixels."""

    size: tuple[int, int]  # of the caller's image
    working: tuple[int, int]  # to which the image is scaled
    window: tuple[int, int]  # of every window, multiples of the network's
    tops: tuple[int, ...]  # of the rows of windows, rising
    lefts: tuple[int, ...]  # of the columns of windows, rising

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Return (top, left) of every window, row by row."""
        return [(top, left) for top in self.tops for left in self.lefts]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.tops) * len(self.lefts)

    def crops(self, image: np.ndarray) -> np.ndarray:
        """Cut an image at the working size, uint8 [h, w, 3], into the input of the network, uint8 [windows, H, W, 3].

        Raises ValueError for another size.
        """
        if image.shape[:2] != self.working:
            raise ValueError(f"the picture should have the working size {self.working}, has {image.shape[:2]}")
        height, width = self.window
        return np.stack([image[top : top + height, left : left + width] for top, left in self.corners])

    def counts(self) -> np.ndarray:
        """Return the number of windows over each pixel of the working size, float32 [h, w], 1 or more."""
        return np.outer(_seen(self.tops, *_pair(self, 0)), _seen(self.lefts, *_pair(self, 1)))

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the window whose middle is nearest: its row of windows per y, and its column of windows per x."""
        return _nearest(self.tops, *_pair(self, 0)), _nearest(self.lefts, *_pair(self, 1))


def plan(
    height: int,
    width: int,
    view: str = "windows",
    short: int = 448,
    longest: int = 2048,
    window: int = 448,
    stride: int = 224,
    multiple: int = PATCH,
) -> Plan:
    """Choose working size and windows for an image; all lengths in pixels.

    view: one of VIEWS; 'whole' is one window over the whole image.
    short, longest: the image is scaled, up or down, until its short side is `short` or its long side `longest`.
    window, stride: the side of a window and the step to the next; the last window ends where the image ends.
    A side that one window covers is rounded to a multiple of `multiple`, as the network demands.
    Raises InvalidArgument for an unknown view, and if more than MOST_WINDOWS windows would be needed.
    """
    choice(VIEWS)("view", view)
    scale = min(longest / max(height, width), short / min(height, width))
    working, sides, starts = [], [], []
    for side in (height, width):
        scaled = int(side * scale + 0.5)
        if view == "whole" or scaled <= window:
            scaled = max(multiple, round(scaled / multiple) * multiple)
        seen = scaled if view == "whole" else min(scaled, window)
        steps = max(scaled - seen + stride - 1, 0) // stride + 1
        working.append(scaled)
        sides.append(seen)
        starts.append(tuple(min(step * stride, scaled - seen) for step in range(steps)))
    chosen = Plan((height, width), _two(working), _two(sides), *starts)
    if len(chosen) > MOST_WINDOWS:
        raise InvalidArgument(
            f"a picture of {width} x {height} needs {len(chosen)} windows of {window} at steps of {stride}, more than "
            f"the limit of {MOST_WINDOWS}; make short smaller or stride larger"
        )
    return chosen


def _two(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


def _pair(plan: Plan, axis: int) -> tuple[int, int]:
    return plan.window[axis], plan.working[axis]


def _seen(starts: tuple[int, ...], side: int, length: int) -> np.ndarray:
    """Count the windows over each place of one axis, float32 [length]."""
    seen = np.zeros(length, np.float32)
    for start in starts:
        seen[start : start + side] += 1
    return seen


def _nearest(starts: tuple[int, ...], side: int, length: int) -> np.ndarray:
    """Return the window whose middle is nearest to each place of one axis, int64 [length]."""
    distance = np.abs(np.arange(length) + 0.5 - (np.array(starts)[:, None] + side / 2))
    return distance.argmin(axis=0)
