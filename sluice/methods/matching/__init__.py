"""Deep Template Matching: scores images by how well their feature maps contain the object inside a region of interest.

The cells of the query's feature map under the region are the template. An image scores by the best cosine that each of
these cells finds anywhere in the image's own map, so that a small object counts as much as a large one and its place
does not matter. The same cosines give heat maps and boxes of where the object shows again.

Read `templates` (a region becomes rows of features), `scoring` (cosines become one score), `places` (where the object
shows again) and `regions` (regions that are refused or doubtful). Source: US 2025/0265847 A1.

    >>> import numpy as np
    >>> from sluice.images import Geometry
    >>> from sluice.methods import matching
    >>> rng = np.random.default_rng(0)
    >>> query, other = matching.unit(rng.standard_normal((2, 4, 6, 32)))  # feature maps [h, w, C]
    >>> geometry = Geometry(width=96, height=64, scale_x=1, scale_y=1, left=0, top=0)  # cells of 16 x 16 pixels
    >>> cells = matching.roi_cells([16, 16, 48, 32], geometry, (4, 6))
    >>> cells  # y0, y1, x0, x1
    (1, 2, 1, 3)
    >>> templates = matching.stack([matching.template(query, cells)], shape=[(1, 2)])
    >>> [f"{matching.scores(frame, templates)[0]:.2f}" for frame in (query, other)]
    ['1.00', '0.38']
    >>> matching.window_boxes(matching.best_windows(query, templates), geometry, (4, 6)).tolist()
    [[16.0, 16.0, 48.0, 32.0]]
"""

from __future__ import annotations

from sluice.frames import COMBINATIONS, FORMS, HEATMAPS
from sluice.methods.matching.places import WITNESSES, best_windows, found_again, heat, window_boxes
from sluice.methods.matching.scoring import (
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
