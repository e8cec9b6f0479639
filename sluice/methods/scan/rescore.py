"""Exact scores of single frames, in float32 from their stored float16 features.

A frame is scored alone, by a product whose shape depends on the list alone. So a score does not depend on the other
frames or on the number of threads, and if each query has a list of its own, not on the other queries either.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sluice.methods import matching
from sluice.methods.matching.templates import Templates
from sluice.methods.scan.blocks import Scope, share
from sluice.methods.scan.products import Product

# Stands for all queries where the number of a query is expected.
ALL = -1

# Multiplications per frame from which two threads are faster than one: measured, 25 µs of product.
HEAVY = 1_000_000
# Columns of one product; with a map of 8,000 cells it takes 17 MB.
COLUMNS = 512


class ExactScores:
    """Scores of single frames of a scope, for the regions of one query or of all.

    seen:    bool [N], the frames that have been scored.
    damaged: bool [N], those of them whose features are damaged; their scores are unknown, and given as 0.
    """

    def __init__(self, scope: Scope, templates: Templates, form: str, threads: int, watch: Callable[[], None]) -> None:
        self._scope, self._templates, self._form, self._threads = scope, templates, form, threads
        self._watch = watch
        self._per_cell = form in ("image", "mean")
        self.seen = np.zeros(scope.count, bool)
        self.damaged = np.zeros(scope.count, bool)

    def __call__(self, frames: np.ndarray, query: int) -> np.ndarray:
        """Score frames [m] of the scope: float32 [m, R], NaN for the regions of other queries than `query`.

        query: number of a query, or ALL.
        """
        self.seen[frames] = True
        scores = np.full((len(frames), len(self._templates.query)), np.nan, np.float32)
        own = slice(None) if query == ALL else self._templates.query == query
        templates = self._templates if query == ALL else _only(self._templates, query)
        # A product of a whole map with all rows of many regions would take gigabytes. The cuts depend on the templates
        # alone, so they are the same for every frame.
        cuts = np.arange(COLUMNS, len(templates.rows), COLUMNS)
        if self._per_cell:
            cuts = np.union1d(cuts, templates.starts[1:])
        parts = np.split(templates.rows.T, cuts, axis=1)
        regions = templates.roi[np.concatenate([[0], cuts]).astype(int)] if self._per_cell else None

        def worker() -> Callable[[int], None]:
            products = [Product(part, exact=True) for part in parts]

            def work(i: int) -> None:
                block, row = self._scope.blocks[self._scope.block[frames[i]]], self._scope.row[frames[i]]
                valid = None if block.valid is None else np.asarray(block.valid[row], bool)
                if block.sums is not None and block.sums.broken_exact(block.exact[row], row):
                    self.damaged[frames[i]], scores[i, own] = True, 0
                    return
                scores[i, own] = self._one(products, regions, block.exact[row], valid, templates)

            return work

        share(range(len(frames)), worker, self._threads if self._heavy(frames, templates) else 1, self._watch)
        return scores

    def _heavy(self, frames: np.ndarray, templates: Templates) -> bool:
        """Tell whether the frames are enough work for threads, which otherwise wait for the interpreter's lock."""
        if len(frames) < 4:
            return False
        cells = self._scope.blocks[self._scope.block[frames[0]]].exact.shape[1]
        return cells * templates.rows.size >= HEAVY

    def _one(
        self,
        products: list[Product],
        regions: np.ndarray | None,
        features: np.ndarray,
        valid: np.ndarray | None,
        templates: Templates,
    ) -> np.ndarray:
        """Score one frame from its features, float16 [P, C]: float32 [R].

        regions: per product the region of its columns; None if the form needs no maxima of cells.
        valid: bool [P], the cells on the image; None means all cells.
        """
        best = [np.empty(product.right.shape[1], np.float32) for product in products]
        cells = np.empty(len(features), np.float32) if regions is not None else None
        means = np.empty(len(templates.query))
        whole = np.empty(0, np.float32)
        for p, product in enumerate(products):
            self._watch()
            product(features, best[p], cells)
            if regions is None or cells is None:
                continue
            whole = np.maximum(whole, cells) if p and regions[p - 1] == regions[p] else cells.copy()
            if p + 1 == len(products) or regions[p + 1] != regions[p]:  # the last part of its region
                means[regions[p]] = (whole if valid is None else whole[valid]).mean(dtype=np.float64)
        by_row = np.concatenate(best) if len(best) > 1 else best[0]
        return matching.form_scores(by_row, means if self._per_cell else None, templates, self._form)


def _only(templates: Templates, query: int) -> Templates:
    """Return the regions of one query as templates of their own."""
    own = np.flatnonzero(templates.query == query)
    rows = np.isin(templates.roi, own)
    return Templates(
        templates.rows[rows],
        np.searchsorted(own, templates.roi[rows]).astype(np.int32),
        np.zeros(len(own), np.int32),
        None if templates.cells is None else templates.cells[own],
    )
