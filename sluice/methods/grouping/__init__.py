"""GroupViT: masks from words.

A network groups the patches of an image, and a text encoder turns class names into vectors of the same space. The
cosine of group and name labels each group, and its pixels with it. The network was trained on images with captions
alone, so a class needs no drawn masks, only a name.

Read `tokens`, `prompts` and `vocabulary` (names become input of the text encoder), `windows` (the image is cut),
`rules` (groups become scores), `painting` and `upsampling` (scores become labels at the caller's size), `masks` (all
steps in order) and `run_lengths` (masks as text). Source: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text
Supervision", CVPR 2022, and its published evaluation.

    >>> import numpy as np
    >>> from sluice.methods import grouping
    >>> options = grouping.Options(view="whole", short=32)
    >>> plan = grouping.plan_of(64, 64, options)  # an image of 64 x 64 pixels, seen at 32 x 32
    >>> left = np.array([[1.0, 0.0], [1.0, 0.0]])  # share of the first group in each patch
    >>> grouped = grouping.Grouped(
    ...     groups=np.eye(2)[None], embedding=np.array([[0.6, 0.8]]), assignment=np.stack([left, 1 - left])[None]
    ... )
    >>> classes = grouping.class_embeddings(np.array([[0.0, 3.0], [2.0, 0.0]]), templates=1)
    >>> found = grouping.segment(grouped, classes, scale=10.0, plan=plan, options=options)
    >>> found.labels[0, ::16].tolist(), found.pixels.tolist()  # class k has the label k + 1, the background 0
    ([2, 2, 1, 1], [0, 2048, 2048])
"""

from __future__ import annotations

from sluice.methods.grouping.masks import (
    RULES,
    VIEWS,
    Options,
    Segmentation,
    class_embeddings,
    normalised,
    plan_of,
    ranking,
    segment,
    similarity,
)
from sluice.methods.grouping.rules import Grouped

__all__ = [
    "RULES",
    "VIEWS",
    "Grouped",
    "Options",
    "Segmentation",
    "class_embeddings",
    "normalised",
    "plan_of",
    "ranking",
    "segment",
    "similarity",
]
