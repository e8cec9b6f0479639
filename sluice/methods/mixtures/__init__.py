"""Mixture-density detection: boxes with four uncertainties each from one forward pass.

Sources: US 12,387,481; Choi et al., "Active Learning for Deep Object Detection via Probabilistic Modeling", ICCV 2021.
Read `heads` (what a network gives), `uncertainty` (mean and the two variances of a mixture), `boxes` (decoding and
suppression), `objects` (all of it in order) and `summaries` (the numbers that rank an image). `options` has every knob.
"""

from __future__ import annotations

from sluice.methods.mixtures.boxes import LARGEST, decode, nms, overlaps
from sluice.methods.mixtures.heads import GREATEST, Heads
from sluice.methods.mixtures.objects import SLACK, check_labels, detections
from sluice.methods.mixtures.options import Options, Reading
from sluice.methods.mixtures.uncertainty import Mixture, mix, mix_class, mix_location

__all__ = [
    "GREATEST",
    "LARGEST",
    "SLACK",
    "Heads",
    "Mixture",
    "Options",
    "Reading",
    "check_labels",
    "decode",
    "detections",
    "mix",
    "mix_class",
    "mix_location",
    "nms",
    "overlaps",
]
