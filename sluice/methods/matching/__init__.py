"""Deep Template Matching: rank images by how well their feature maps contain the object inside a region of interest.

Source: US 2025/0265847 A1. Read `templates` (a region becomes rows of features), `scoring` (cosines become one score),
`places` (where the object is) and `regions` (which regions are refused or doubtful).
"""

from __future__ import annotations

from sluice.methods.matching.places import WITNESSES, best_windows, found_again, heat, window_boxes
from sluice.methods.matching.scoring import (
    COMBINATIONS,
    FORMS,
    HEATMAPS,
    PART,
    SAME,
    check_form,
    combine,
    form_scores,
    image_scores,
    parts,
    scores,
    scoring_query,
    similarity,
    top,
)
from sluice.methods.matching.templates import SLIVER, Templates, roi_cells, stack, stride_of, template, unit

__all__ = [
    "COMBINATIONS",
    "FORMS",
    "HEATMAPS",
    "PART",
    "SAME",
    "SLIVER",
    "WITNESSES",
    "Templates",
    "best_windows",
    "check_form",
    "combine",
    "form_scores",
    "found_again",
    "heat",
    "image_scores",
    "parts",
    "roi_cells",
    "scores",
    "scoring_query",
    "similarity",
    "stack",
    "stride_of",
    "template",
    "top",
    "unit",
    "window_boxes",
]
