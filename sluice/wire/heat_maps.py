"""Heat maps as the tensors in which `retrieve` and `match` answer them."""

from __future__ import annotations

import numpy as np

from sluice import images
from sluice.images import Geometry
from sluice.methods import matching
from sluice.methods.matching.templates import Templates
from sluice.wire.calls import Tensors, strings


class Heats:
    """The heat maps of n images.

    A map shows one query. With several queries, a place that looks like the object of another query does not glow.
    """

    def __init__(self, n: int, templates: Templates | None, wanted: bool | str):
        """templates: of the queries, or None if there are no regions to draw. wanted: one of `matching.HEATMAPS`."""
        self.templates, self.wanted = templates, wanted
        queries = templates.queries if templates is not None and wanted == "all" else 0
        self.best, self.of = [b""] * n, np.full(n, -1, np.int32)
        self.each = np.full((n, queries), b"", object)

    def draw(self, i: int, features: np.ndarray, geometry: Geometry, query: int) -> None:
        """Draw the map of image i for the query that the image scored by, and for every other query if wanted.

        features: [h, w, C], unit length per cell.
        """
        if not self.wanted or self.templates is None:
            return
        self.of[i] = query
        for q in range(self.each.shape[1]):
            self.each[i, q] = _heat_png(features, geometry, self.templates, q)
        every = self.wanted == "all"
        self.best[i] = self.each[i, query] if every else _heat_png(features, geometry, self.templates, query)

    def tensors(self) -> Tensors:
        """Return HEATMAPS [n], HEATMAP_QUERY [n] and QUERY_HEATMAPS [n, queries], as in `ensembles/match/config.pbtxt`.

        QUERY_HEATMAPS has no columns unless the maps of all queries are wanted.
        """
        return {"HEATMAPS": strings(self.best), "HEATMAP_QUERY": self.of, "QUERY_HEATMAPS": self.each}


def _heat_png(features: np.ndarray, geometry: Geometry, templates: Templates, query: int) -> bytes:
    """Draw a query's map over the content of an image: a grey PNG, best cosine per cell, 0 to 1 as 0 to 255."""
    grid = features.shape[0], features.shape[1]
    valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    heat = matching.heat(features, templates, query, valid)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return images.png(np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8))
