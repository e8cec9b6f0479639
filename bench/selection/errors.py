"""Counts what a detector gets wrong in a frame: objects missed, boxes without an object, boxes in the wrong place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.mixtures.average_precision import overlaps, truth_of
from export.training import camvid
from sluice.methods.mixtures.summaries import Detections

FOUND = 0.5  # least overlap of a box with the object that it finds
NEAR = 0.1  # least overlap of a box that is only misplaced


@dataclass(frozen=True)
class Errors:
    """The errors in one frame. objects: those to label, which is what labels cost. An object with a misplaced box is no
    missed one."""

    missed: int
    false: int
    misplaced: int
    objects: int

    @property
    def all(self) -> int:
        """Return the number of errors."""
        return self.missed + self.false + self.misplaced


def errors(found: Detections, labels: np.ndarray) -> Errors:
    """Count the errors of boxes against a CamVid frame's labels, uint8 [H, W].

    Best scores first, each box takes the free object of its class that it overlaps most, if by FOUND. Of the boxes that
    are left, each that overlaps a free object by NEAR is misplaced. A box on an ignored object, or mostly on pixels
    without a label, counts neither way; all others are false.
    """
    truth = truth_of(labels)
    shared = overlaps(found.boxes, truth.boxes) * (found.classes[:, None] == truth.classes[None])
    free = ~truth.ignored
    left = [i for i in range(len(found)) if not _take(shared[i], free, FOUND)]
    misplaced = [i for i in left if _take(shared[i], free, NEAR)]
    on_ignored = (shared * truth.ignored).max(axis=1, initial=0) >= NEAR
    false = [i for i in left if i not in misplaced and not on_ignored[i] and not _unlabelled(found.boxes[i], labels)]
    return Errors(int(free.sum()), len(false), len(misplaced), int((~truth.ignored).sum()))


def _take(shared: np.ndarray, free: np.ndarray, least: float) -> bool:
    """Take the free object that a box overlaps most, if by `least`; tell whether there was one.

    shared: float [G] overlaps. free: bool [G], in which the object is marked.
    """
    best = int(np.argmax(np.where(free, shared, -1))) if len(free) else -1
    if best < 0 or not free[best] or shared[best] < least:
        return False
    free[best] = False
    return True


def _unlabelled(box: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether most pixels of a box have no label. box: [4] corners."""
    x0, y0, x1, y1 = np.round(box).astype(int)
    inside = labels[y0:y1, x0:x1]
    return bool(inside.size and (inside == camvid.UNLABELLED).mean() > 0.5)
