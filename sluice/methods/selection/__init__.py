"""Active learning: selects the images whose most uncertain objects stand out from those of a pool.

Each object has four uncertainties (`mixtures.TYPES`). An uncertainty counts by its z-score, its distance from the mean
of the pool in standard deviations. An image scores by its most uncertain objects, and the best images are picked.

Read `pool` (statistics of a pool), `choice` (z-scores, their aggregate, the pick), `candidates` (a pool that a caller
sends) and `no_effect` (parts of a request that changed nothing); `options` has every knob. Sources: US 12,387,481; Choi
et al., "Active Learning for Deep Object Detection via Probabilistic Modeling", ICCV 2021.

    >>> import numpy as np
    >>> from sluice.methods import selection
    >>> z = np.array([[0.5, 2.0, 0, 0], [1.0, 0.1, 0, 0], [3.0, 0.2, 0, 0]])  # z-scores of three objects, per type
    >>> images = selection.frame_z(z, counts=np.array([2, 1]))  # the first image has two of the objects
    >>> scores = selection.aggregate(images, "max", types=range(4))
    >>> scores.tolist()
    [2.0, 3.0]
    >>> best = selection.Best(n=1)
    >>> best.add(scores, frame=np.array([10, 11]), rank=np.array([0, 1]), drive=np.array([0, 0]))
    >>> best.frame.tolist()
    [11]
"""

from __future__ import annotations

from sluice.methods.selection.choice import (
    Best,
    Selected,
    aggregate,
    frame_z,
    k_centre,
    place_in_group,
    select,
    weighted,
)

__all__ = ["Best", "Selected", "aggregate", "frame_z", "k_centre", "place_in_group", "select", "weighted"]
