"""Active learning: select the images whose most uncertain objects stand out from the pool's.

Sources: US 12,387,481; Choi et al., "Active Learning for Deep Object Detection via Probabilistic Modeling", ICCV 2021.
Read `pool` (statistics of a pool), `choice` (z-scores, their aggregate, the pick), `candidates` (a pool that a caller
sends) and `no_effect` (parts of a request that changed nothing). `options` has every knob.
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
