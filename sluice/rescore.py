"""The exact score of single frames, in float32 from their stored float16 features.

A frame is scored alone and for one query at a time, always by the same product of the same shape. So a score depends
on nothing else: not on neighbours, on the count of threads or on what was asked along with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sluice import matching
from sluice.matching import Templates
from sluice.pool import Pool, share
from sluice.products import Product


class ExactScores:
    """Scores of single frames from their stored float16 features, in float32; `seen` [N] says which were asked for."""

    def __init__(self, pool: Pool, templates: Templates, form: str, threads: int) -> None:
        self._pool, self._form, self._threads = pool, form, threads
        self.seen = np.zeros(pool.count, bool)
        # Query by query, so that a query's scores are the same whatever is asked along with it.
        self._queries = [_only(templates, query) for query in range(templates.queries)]
        self._own = [np.flatnonzero(templates.query == query) for query in range(templates.queries)]
        self._per_cell = form in ("image", "mean")

    def __call__(self, frames: np.ndarray, query: int = -1, count: bool = True) -> np.ndarray:
        """Score frames [m] of the pool for the regions of one query, or of all (-1): [m, R], NaN elsewhere."""
        if count:
            self.seen[frames] = True
        scores = np.full((len(frames), sum(map(len, self._own))), np.nan, np.float32)
        queries = range(len(self._queries)) if query < 0 else (query,)

        def worker() -> Callable[[int], None]:
            products = {q: self._products(q) for q in queries}

            def work(i: int) -> None:
                block, row = self._pool.blocks[self._pool.block[frames[i]]], self._pool.row[frames[i]]
                valid = None if block.valid is None else np.asarray(block.valid[row], bool)
                for q in queries:
                    scores[i, self._own[q]] = self._one(
                        products[q], block.exact[row], valid, self._queries[q]
                    )

            return work

        share(range(len(frames)), worker, self._threads)
        return scores

    def _products(self, query: int) -> list[Product]:
        """Return one product for all rows, or one for each region where maxima over its rows are wanted."""
        right = self._queries[query].rows.T
        cuts = self._queries[query].starts[1:] if self._per_cell else np.empty(0, int)
        return [Product(part, exact=True) for part in np.split(right, cuts, axis=1)]

    def _one(
        self, products: list[Product], features: np.ndarray, valid: np.ndarray | None, templates: Templates
    ) -> np.ndarray:
        best = [np.empty(product.right.shape[1], np.float32) for product in products]
        cells = np.empty(len(features), np.float32) if self._per_cell else None
        means = np.empty(len(products))
        for p, product in enumerate(products):
            product(features, best[p], cells)
            if cells is not None:
                means[p] = (cells if valid is None else cells[valid]).mean(dtype=np.float64)
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
