"""Heat maps as the tensors in which `retrieve` and `match` answer them."""

from __future__ import annotations

import numpy as np

from sluice import images
from sluice.images import Geometry
from sluice.methods import matching
from sluice.methods.matching.templates import Templates
from sluice.wire.calls import Tensors, strings


class Heats:
    """The heat maps of n images, as the tensors in which both verbs answer them.

    A map shows one query: where several are looked for, a place that looks like another query's object does not glow.
    wanted: one of `matching.HEATMAPS`.
    """

    def __init__(self, n: int, templates: Templates | None, wanted: bool | str):
        self.templates, self.wanted = templates, wanted
        queries = templates.queries if templates is not None and wanted == "all" else 0
        self.best, self.of = [b""] * n, np.full(n, -1, np.int32)
        self.each = np.full((n, queries), b"", object)

    def draw(self, i: int, features: np.ndarray, geometry: Geometry, query: int) -> None:
        """Draw the map of image i, features [h, w, C], for the query that it scored by; of all others where wanted."""
        if not self.wanted or self.templates is None:
            return
        self.of[i] = query
        for q in range(self.each.shape[1]):
            self.each[i, q] = _heat_png(features, geometry, self.templates, q)
        every = self.wanted == "all"
        self.best[i] = self.each[i, query] if every else _heat_png(features, geometry, self.templates, query)

    def tensors(self) -> Tensors:
        """HEATMAPS [n], HEATMAP_QUERY [n], QUERY_HEATMAPS [n, queries or 0], as in `ensembles/match/config.pbtxt`."""
        return {"HEATMAPS": strings(self.best), "HEATMAP_QUERY": self.of, "QUERY_HEATMAPS": self.each}


def _heat_png(features: np.ndarray, geometry: Geometry, templates: Templates, query: int) -> bytes:
    """Encode a query's map over the content of an image: a grey PNG, best cosine of each cell, 0..1 as 0..255."""
    grid = features.shape[0], features.shape[1]
    valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    heat = matching.heat(features, templates, query, valid)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return images.png(np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8))
