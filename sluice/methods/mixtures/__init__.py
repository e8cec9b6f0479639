"""Mixture-density detection: boxes with four uncertainties each from one forward pass.

A network gives, for every prior box, a mixture of Gaussians per coordinate and per class. The variance of a mixture
splits into an aleatoric part, which lies in the data, and an epistemic part, which more labels can reduce. So each
detected box carries four uncertainties, and a few moments of them summarise an image for active learning.

Read `heads` (the raw output of a network, checked), `uncertainty` (mean and the two variances of a mixture), `boxes`
(decoding and suppression), `objects` (from heads to detections) and `summaries` (the numbers that rank an image);
`options` has every knob. Sources: US 12,387,481; Choi et al., "Active Learning for Deep Object Detection via
Probabilistic Modeling", ICCV 2021.

    >>> import numpy as np
    >>> from sluice.methods import mixtures
    >>> location = np.zeros((1, 1, 2, 4))  # one image, one prior box, two components, cx cy w h
    >>> heads = mixtures.Heads(
    ...     priors=np.array([[32, 32, 16, 16]]),
    ...     location_mean=location, location_variance=location, location_weight=location,
    ...     class_mean=np.array([[[[-3.0, 3.0], [-1.0, 1.0]]]]),  # logits of background and object, per component
    ...     class_variance=None, class_weight=np.zeros((1, 1, 2)),
    ... )
    >>> [found] = mixtures.detections(heads)
    >>> found.boxes.tolist(), found.classes.tolist(), f"{found.scores[0]:.2f}"
    ([[24.0, 24.0, 40.0, 40.0]], [0], '0.94')
    >>> {name: f"{value:.3f}" for name, value in zip(mixtures.TYPES, found.types()[0])}  # nan: no class variances
    {'location_aleatoric': '0.500', 'location_epistemic': '0.000', 'class_aleatoric': 'nan', 'class_epistemic': '0.003'}
"""

from __future__ import annotations

from sluice.methods.mixtures.boxes import LARGEST, decode, nms, overlaps
from sluice.methods.mixtures.heads import GREATEST, Heads
from sluice.methods.mixtures.objects import SLACK, check_labels, detections
from sluice.methods.mixtures.options import Options, Reading
from sluice.methods.mixtures.summaries import ENTROPY, TYPES, Detections, Moments, Part, Summary
from sluice.methods.mixtures.uncertainty import Mixture, mix, mix_class, mix_location

__all__ = [
    "ENTROPY",
    "GREATEST",
    "LARGEST",
    "SLACK",
    "TYPES",
    "Detections",
    "Heads",
    "Mixture",
    "Moments",
    "Options",
    "Part",
    "Reading",
    "Summary",
    "check_labels",
    "decode",
    "detections",
    "mix",
    "mix_class",
    "mix_location",
    "nms",
    "overlaps",
]
