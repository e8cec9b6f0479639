"""The rule that makes one score of the uncertainties of an image's objects.

Every value becomes a z-score, its distance from the mean of the pool's objects in standard deviations. `over_objects`
makes one number per type of an image's objects, `aggregate` one score of the types.

By default an image scores the sum over its objects of the mean over the types. An object below the pool's mean counts
against the image, so a crowd is not preferred for its number. The published form takes the greatest of both.

Sources: the greatest, Choi et al., "Active Learning for Deep Object Detection via Probabilistic Modeling", ICCV 2021,
section 3.3, and US 12,387,481, [0104] to [0112]; the mean over the types, [0087]. The sum over the objects is ours, as
`python -m bench selection` found it (docs/decisions/selection.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sluice.methods.selection.pool import Batch, Statistics


def weighted(z: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return z-scores [r, 4] under the weights [r] of their classes: times the weight above the mean, divided by it
    below.

    So a greater weight never lets an object sink, and a class of weight 0 is never chosen.
    """
    return np.where(z > 0, z * weight[:, None], z / weight[:, None])


def frame_z(z: np.ndarray, counts: np.ndarray, how: str = "max") -> np.ndarray:
    """Return the greatest value of each frame's rows per type, or their sum, float64 [f, 4]; -inf for a frame without
    rows.

    z: [r, 4]; counts: [f], rows per frame, one frame after the other. how: "max" or "sum".
    """
    best = np.full((len(counts), z.shape[1]), -np.inf)
    full = counts > 0
    if full.any():
        starts = (np.cumsum(counts) - counts)[full]
        best[full] = (np.maximum if how == "max" else np.add).reduceat(z, starts, axis=0)
    return best


def aggregate(z: np.ndarray, how: str, types: Sequence[int]) -> np.ndarray:
    """Return each image's score from its types, float64 [f].

    how: mean (as in the patent, [0087]), max (as published) or sum.
    """
    chosen = z[:, list(types)]
    if how == "max":
        return chosen.max(axis=1)
    return chosen.mean(axis=1) if how == "mean" else chosen.sum(axis=1)


@dataclass(frozen=True)
class Rule:
    """The way from the objects of images to their scores.

    of: the statistics that judge them. weight: float64 [labels], of each class. types: the columns that decide.
    over_objects, aggregate: as of `sluice.methods.selection.options.Options`.
    """

    of: Statistics
    weight: np.ndarray
    types: list[int]
    over_objects: str
    aggregate: str

    def rows(self, batch: Batch) -> np.ndarray:
        """Return the share of each row of a batch in its frame, float64 [r, 4].

        With `over_objects` "max" the share is the z-score of the row's greatest value, else the sum of the z-scores of
        the row's objects. Weights of classes turn a z-score, as of `weighted`; where objects are summed, they turn the
        sum over all objects of a class in the frame, which is all that a summary of the frame tells.
        """
        weight = self.weight[batch.kinds]
        if self.over_objects == "max":
            return weighted(self.of.z(batch.values), weight)
        if batch.mean is None or batch.objects is None:
            z = self.of.z(batch.values)
        else:
            z = self.of.z(batch.mean) * batch.objects[:, None]
        if (weight == 1).all():
            return z
        above = batch.class_sums(z) > 0
        return np.where(above, z * weight[:, None], z / weight[:, None])

    def frames(self, batch: Batch) -> np.ndarray:
        """Return one number per frame and type, float64 [f, 4]; -inf for a frame without an object."""
        if self.over_objects == "max":
            return frame_z(self.rows(batch), batch.counts)
        total = frame_z(self.rows(batch), batch.counts, "sum")
        return total / np.maximum(batch.totals(), 1)[:, None] if self.over_objects == "mean" else total

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Return the score per frame, float64 [f], from what `frames` returned."""
        return aggregate(z, self.aggregate, self.types)
