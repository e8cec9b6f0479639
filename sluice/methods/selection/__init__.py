"""Active learning: selects the images whose objects are more uncertain than those of a pool.

Each object has four uncertainties (`mixtures.TYPES`). An uncertainty counts by its z-score, its distance from the mean
of the pool in standard deviations. An image scores by the z-scores of its objects, and the best images are picked.

Read `pool` (statistics of a pool), `scoring` (the score of an image), `choice` (the pick), `reasons` (why it was
picked), `candidates` (a pool that a caller sends) and `no_effect` (parts of a request that changed nothing); `options`
has every knob. Sources: US 12,387,481; Choi et al., "Active Learning for Deep Object Detection via Probabilistic
Modeling", ICCV 2021.

    >>> import numpy as np
    >>> from sluice.methods import selection
    >>> z = np.array([[0.5, 2.0, 0, 0], [1.0, 0.1, 0, 0], [3.0, 0.2, 0, 0]])  # z-scores of three objects, per type
    >>> images = selection.frame_z(z, counts=np.array([2, 1]), how="sum")  # the first image has two of the objects
    >>> scores = selection.aggregate(images, "mean", types=range(4))
    >>> scores.tolist()
    [0.9, 0.8]
    >>> best = selection.Best(n=1)
    >>> best.add(scores, frame=np.array([10, 11]), rank=np.array([0, 1]), drive=np.array([0, 0]))
    >>> best.frame.tolist()
    [10]
"""

from __future__ import annotations

from sluice.methods.selection.choice import Best, Selected, k_centre, place_in_group, select
from sluice.methods.selection.scoring import Rule, aggregate, frame_z, weighted

__all__ = ["Best", "Rule", "Selected", "aggregate", "frame_z", "k_centre", "place_in_group", "select", "weighted"]
