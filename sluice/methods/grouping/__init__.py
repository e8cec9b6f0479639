"""GroupViT: masks from words. A network groups the patches of an image, and class names label the groups.

Source: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. Read `tokens`, `prompts`
and `vocabulary` (words), `windows` (the image is cut), `rules` (groups become scores), `painting` and `upsampling`
(scores become labels at the caller's size), `masks` (all of it in order) and `run_lengths` (masks as text).
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

__all__ = [
    "RULES",
    "VIEWS",
    "Options",
    "Segmentation",
    "class_embeddings",
    "normalised",
    "plan_of",
    "ranking",
    "segment",
    "similarity",
]
