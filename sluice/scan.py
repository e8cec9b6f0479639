"""The exact search of a gallery: the k best frames, as if every frame had been scored in float32.

Two steps. All frames are scored from their 8-bit codes (`sluice.quantise`), for all templates of all queries in one
pass; each score comes with a proved bound on its error. Then frames are scored from their stored float16 features,
the most promising first, until no frame that is left can reach the list: its bound says so. The list is therefore
that of brute force, ties by rank, whatever the data; only the count of frames scored twice depends on it, and where
the bound rules nothing out, the second step *is* brute force.

A frame's exact score is computed from that frame and one query alone, so it does not depend on its neighbours, on
what else was asked or on the count of threads, and equal frames have equal scores to the last bit.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sluice import matching, reading
from sluice.certify import certify
from sluice.errors import InvalidArgument
from sluice.matching import Templates
from sluice.pool import Block, Pool, share, take
from sluice.products import Product, template_limit
from sluice.quantise import ZERO, Codes, TemplateCodes, quantise
from sluice.rescore import ExactScores

__all__ = ["ZERO", "Block", "Codes", "Result", "brute_force", "quantise", "search"]

# One product takes so many frames that its cosines stay in the cache, and a limited count of them; a thread takes a
# span of frames at a time. Measured, see docs/decisions/scan.md.
COSINES = 600_000
FRAMES = 64
SPAN = 512
# What a thread reads of a cold block at a time, bytes, and the threads that read while others multiply.
READ = 8 << 20
READERS = 2
# Columns of one product; more rows of templates are done in several products on the same frames.
COLUMNS = 512


@dataclass(frozen=True)
class Result:
    """The frames found, best first; with combine 'query' the list of query 0, then that of query 1, and so on.

    block, row: [n] int64, where the frame lies. scores: [n] float32. query: [n] int32, -1 unless combine is 'query'.
    roi_scores: [n, R] float32. searched: frames that were allowed. rescored: frames scored from float16.
    """

    block: np.ndarray
    row: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    roi_scores: np.ndarray
    searched: int
    rescored: int


def search(
    blocks: Sequence[Block],
    rows: Sequence[np.ndarray | None] | None,
    templates: Templates,
    *,
    k: int,
    threshold: float | None = None,
    form: str = "roi",
    combine: str = "max",
    groups: Sequence[np.ndarray] | None = None,
    limit: int | None = None,
    rank: Sequence[np.ndarray] | None = None,
    threads: int = 2,
) -> Result:
    """Find the k best frames.

    rows: per block the positions allowed, each once (filters, deletions); None for all of a block, or of all blocks.
    threshold: frames that score less are left out.
    form, combine: as in `matching.scores` and `matching.combine`; combine 'query' gives k frames for each query.
    groups: per block [n] int, the group of each frame (its drive); limit: no more than so many frames of a group.
    rank: per block [n] int, frames with equal scores come in its order, lower first; None: by block and row.
    Raises InvalidArgument for another form or combination, or k or limit below 1; ValueError when channels differ.
    """
    return _search(blocks, rows, templates, k, threshold, form, combine, groups, limit, rank, threads, scan)


def brute_force(
    blocks: Sequence[Block],
    rows: Sequence[np.ndarray | None] | None,
    templates: Templates,
    *,
    k: int,
    threshold: float | None = None,
    form: str = "roi",
    combine: str = "max",
    groups: Sequence[np.ndarray] | None = None,
    limit: int | None = None,
    rank: Sequence[np.ndarray] | None = None,
    threads: int = 2,
) -> Result:
    """Do what `search` does by scoring every frame in float32: what tests and benchmarks compare it with."""

    def unbounded(pool: Pool, templates: Templates, form: str, threads: int) -> tuple[np.ndarray, np.ndarray]:
        shape = pool.count, len(templates.query)
        return np.zeros(shape, np.float32), np.full(shape, np.inf)

    return _search(
        blocks, rows, templates, k, threshold, form, combine, groups, limit, rank, threads, unbounded
    )


def _search(
    blocks: Sequence[Block],
    rows: Sequence[np.ndarray | None] | None,
    templates: Templates,
    k: int,
    threshold: float | None,
    form: str,
    combine: str,
    groups: Sequence[np.ndarray] | None,
    limit: int | None,
    rank: Sequence[np.ndarray] | None,
    threads: int,
    bounds: Callable[[Pool, Templates, str, int], tuple[np.ndarray, np.ndarray]],
) -> Result:
    _check(blocks, templates, k, limit, form, combine)
    pool = Pool(blocks, rows)
    group = pool.gather(groups) if groups is not None and limit is not None else None
    order = pool.gather(rank) if rank is not None else None
    lists = range(templates.queries) if combine == "query" else (-1,)
    exact = ExactScores(pool, templates, form, threads)
    approximate, slack = bounds(pool, templates, form, threads)
    lower, upper = (
        matching.combine(bound, combine, templates.query, form).reshape(pool.count, len(lists))
        for bound in (approximate - slack, approximate + slack)
    )
    found = []
    for query in lists:

        def score(frames: np.ndarray, query: int = query) -> np.ndarray:
            values = matching.combine(exact(frames, query), combine, templates.query, form)
            return values if query < 0 else values[:, query]

        column = max(query, 0)
        found.append(certify(lower[:, column], upper[:, column], score, k, threshold, order, group, limit))
    frames = np.concatenate([positions for positions, _ in found])
    return Result(
        block=pool.block[frames],
        row=pool.row[frames],
        scores=np.concatenate([scores for _, scores in found]),
        query=np.repeat(np.asarray(lists, np.int32), [len(positions) for positions, _ in found]),
        roi_scores=exact(frames, -1, count=False),
        searched=pool.count,
        rescored=int(exact.seen.sum()),
    )


def _check(
    blocks: Sequence[Block], templates: Templates, k: int, limit: int | None, form: str, combine: str
) -> None:
    matching.check_form(form)
    if form == "area" and templates.cells is None:
        raise ValueError("the form 'area' needs the cells of each query's map; give cells to matching.stack")
    if combine not in matching.COMBINATIONS:
        raise InvalidArgument(f"combine must be one of {', '.join(matching.COMBINATIONS)}; got {combine!r}")
    if k < 1 or (limit is not None and limit < 1):
        raise InvalidArgument(f"k and the limit of a group must be 1 or more; got k {k}, limit {limit}")
    for block in blocks:
        if block.codes.shape[2] != templates.rows.shape[1]:
            raise ValueError(
                f"the gallery has {block.codes.shape[2]} channels, the template {templates.rows.shape[1]}; "
                "both must come from the same version of the feature extractor"
            )


def scan(pool: Pool, templates: Templates, form: str, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Score all frames of a pool from their codes.

    Returns the scores [N, R] float32 and their bounds [N, R] float64: |score - exact score| <= bound.
    """
    per_cell = form in ("image", "mean")
    coded = TemplateCodes.of(templates, shared=per_cell, limit=template_limit())
    # One product a region where its maximum over the columns must be the region's.
    cuts = templates.starts[1:] if per_cell else np.arange(COLUMNS, len(templates.rows), COLUMNS)
    parts = np.split(np.arange(len(templates.rows)), cuts)
    weight = coded.scale / templates.sizes[templates.roi]
    area = templates.cells if form == "area" else 1
    scores = np.empty((pool.count, len(templates.query)), np.float32)

    files = reading.sources([block.codes for block in pool.blocks])
    cold = any(file is not None for file in files)
    core = threading.Semaphore(threads)

    def worker() -> Callable[[tuple[int, int, int, int]], None]:
        products = [Product(coded.codes[:, part], exact=False) for part in parts]
        buffer = mmap.mmap(-1, reading.room(1, READ)) if cold else None

        def work(task: tuple[int, int, int, int]) -> None:
            b, start, end, first = task
            block, rows = pool.blocks[b], pool.rows[b][start:end]
            codes, own, file = block.codes, rows, files[b]
            if file is not None and buffer is not None and rows[-1] - rows[0] < 2 * len(rows):
                if len(buffer) < (needed := reading.room(rows[-1] + 1 - rows[0], file.size)):
                    buffer.resize(needed)
                codes, own = file.read(rows[0], rows[-1] + 1, buffer), rows - rows[0]
            with core:
                values = multiply(products, block, codes, own, rows)
            scores[first : first + len(rows)] = values

        return work

    def multiply(
        products: list[Product], block: Block, codes: np.ndarray, own: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Score frames `own` of `codes`, which are the frames `rows` of the block: [m, R]."""
        step = int(np.clip(COSINES // (max(map(len, parts)) * codes.shape[1]), 1, FRAMES))
        best = [np.empty((len(rows), len(part)), np.int32) for part in parts]
        means = np.empty((len(rows), len(parts)))
        for i in range(0, len(rows), step):
            taken = take(codes, own[i : i + step])
            cells = np.empty(taken.shape[:2], np.int32) if per_cell else None
            for p, product in enumerate(products):
                product(taken, best[p][i : i + step], cells)
                if cells is not None:
                    means[i : i + step, p] = _mean_cells(cells, block, rows[i : i + step])
        by_row = np.concatenate(best, axis=1) if len(best) > 1 else best[0]
        values = np.add.reduceat(by_row * weight, templates.starts, axis=1)
        if per_cell:
            means *= coded.scale[templates.starts]
            values = means if form == "image" else (values + means) / 2
        return values * np.asarray(take(block.scale, rows), np.float64)[:, None] / area

    try:
        share(_spans(pool, threads, files), worker, threads + READERS * cold)
    finally:
        reading.close(files)
    error = pool.gather([block.error for block in pool.blocks])
    return scores, coded.slack(error, templates, form)


def _spans(
    pool: Pool, threads: int, files: Sequence[reading.Source | None]
) -> Iterable[tuple[int, int, int, int]]:
    """Cut the pool into (block, start, end in the block's rows, first frame), several for each thread."""
    first = 0
    for b, (rows, file) in enumerate(zip(pool.rows, files, strict=True)):
        if file is None:
            span = int(np.clip(pool.count // (8 * threads), FRAMES, SPAN))
        else:
            span = int(np.clip(READ // file.size, 1, SPAN))
        for start in range(0, len(rows), span):
            yield b, start, min(start + span, len(rows)), first + start
        first += len(rows)


def _mean_cells(cells: np.ndarray, block: Block, rows: np.ndarray) -> np.ndarray:
    """Return the mean [m] of what each cell found [m, P] over the cells on the picture."""
    if block.valid is None:
        return cells.mean(axis=1, dtype=np.float64)
    valid = np.asarray(take(block.valid, rows), bool)
    return (cells * valid).sum(axis=1, dtype=np.float64) / valid.sum(axis=1)
