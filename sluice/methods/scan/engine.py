"""The exact search of a gallery: the k best frames, as if every frame had been scored in float32.

The search has two steps. All frames are scored from their 8-bit codes (`scan.codes`), for all templates of all queries
in one pass, each score with a proved bound on its error. Then frames are scored from their stored float16 features, the
most promising first, until the bounds prove that no other frame can reach the list. The list is therefore that of brute
force, with ties ordered by rank, whatever the data are. Only the number of frames that are scored twice depends on the
data; if the bounds rule nothing out, the second step *is* brute force.

The exact score of a frame is computed from that frame and one query alone. So it does not depend on other frames, on
other queries or on the number of threads, and equal frames have equal scores to the last bit.

If a block has check sums (`scan.sums`), codes and features are checked as they are read. A frame whose codes are
damaged is scored from its features, so the list stays that of brute force. A frame whose features are damaged has no
score; it is left out and named, and the list is that of brute force over the other frames.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods import matching
from sluice.methods.matching.templates import Templates
from sluice.methods.scan import cold_files
from sluice.methods.scan.blocks import Block, Scope, share, take
from sluice.methods.scan.certify import certify
from sluice.methods.scan.codes import ZERO, Codes, TemplateCodes, quantise
from sluice.methods.scan.products import COSINES, Product, template_limit
from sluice.methods.scan.rescore import ALL, ExactScores
from sluice.options import choice
from sluice.process.callers import Watch

__all__ = ["ZERO", "Block", "Codes", "Result", "brute_force", "quantise", "search"]

# Most frames of one product, and of one task of a thread: measured, see docs/decisions/scan.md.
FRAMES = 64
SPAN = 512
# Bytes of a cold block that a thread reads at a time, and the threads that read while others multiply.
READ = 8 << 20
READERS = 2
# Columns of one product; more template rows are done in several products on the same frames.
COLUMNS = 512
# Maxima that a thread keeps at a time, one per frame and template row.
MAXIMA = 1 << 22
# A bound that rules nothing out. It is finite, because the difference of two infinities is no number.
WIDE = 1e30


@dataclass(frozen=True)
class Result:
    """The frames found, best first; with combine 'query' the list of query 0, then that of query 1, and so on.

    block, row: int64 [n], the place of each frame.
    scores:     float32 [n], the scores by which the list is sorted.
    query:      int32 [n], the query whose list the frame is in; -1 unless combine is 'query'.
    roi_scores: float32 [n, R], the score of each region.
    searched:   number of frames that were allowed. rescored: number of frames scored from float16 features.
    damaged:    int64 [m, 2], block and row of frames that were left out because their features are damaged.
    """

    block: np.ndarray
    row: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    roi_scores: np.ndarray
    searched: int
    rescored: int
    damaged: np.ndarray


def search(
    blocks: Sequence[Block],
    rows: Sequence[np.ndarray | None] | None,
    templates: Templates,
    *,
    k: int,
    threshold: float | None = None,
    form: str = "roi",
    combine: str = "mean",
    groups: Sequence[np.ndarray] | None = None,
    limit: int | None = None,
    rank: Sequence[np.ndarray] | None = None,
    threads: int = 2,
    bounded: bool = True,
    other: Sequence[np.ndarray] | None = None,
    share_of_other: float = 0.0,
    check: Callable[[], None] = lambda: None,
) -> Result:
    """Find the k best frames.

    rows: per block the positions allowed (filters, deletions), each once; None for all of a block, or of all blocks.
    k: most frames of a list. threshold: frames that score less are left out; None leaves none out.
    form, combine: as in `matching.scores` and `matching.combine`; combine 'query' gives k frames per query.
    groups: per block int [n], the group of each frame, such as its drive; limit: most frames of a group. None for no
        limit.
    rank: per block int [n], frames with equal scores are ordered by it, lower first; None orders by block and row.
    threads: threads that multiply.
    bounded: False scores every frame exactly, as `brute_force` does, and gives the same list.
    other: per block float32 [n], another score of each frame, known exactly, and share_of_other its share, 0 to 1.
        Frames are then sorted by (1 - share) * score + share * other, which `threshold` applies to as well.
    check: called every few hundredths of a second, maybe by another thread; an exception of it ends the search.

    Raises InvalidArgument for another form or combination and for k or limit below 1; ValueError when channels differ,
    or the form 'area' lacks `templates.cells`.
    """
    _check(blocks, templates, k, limit, form, combine)
    scope = Scope(blocks, rows)
    group = scope.gather(groups) if groups is not None and limit is not None else None
    order = scope.gather(rank) if rank is not None else None
    lists = range(templates.queries) if combine == "query" else (ALL,)
    known = scope.gather(other) if other is not None else None
    watch = Watch(check)
    exact = ExactScores(scope, templates, form, threads, watch)
    approximate, slack = scan(scope, templates, form, threads, watch) if bounded else _unknown(scope, templates)
    lower, upper = (
        _mixed(matching.combine(bound, combine, templates.query, form), known, share_of_other).reshape(-1, len(lists))
        for bound in (approximate - slack, approximate + slack)
    )

    def score(query: int, frames: np.ndarray) -> np.ndarray:
        values = matching.combine(exact(frames, query), combine, templates.query, form)
        values = _mixed(values if query == ALL else values[:, query], known, share_of_other, frames)
        return np.where(exact.damaged[frames], -np.inf, values)

    certified = partial(certify, k=k, threshold=threshold, rank=order, group=group, limit=limit)
    found = [_best(lower, upper, max(query, 0), partial(score, query), exact, certified) for query in lists]
    rescored = int(exact.seen.sum())
    frames = np.concatenate([positions for positions, _ in found])
    query_of = np.repeat(np.asarray(lists, np.int32), [len(positions) for positions, _ in found])
    roi_scores = exact(frames, ALL)
    for query in lists if combine == "query" else ():  # exactly the scores by which the list was sorted
        own = np.ix_(query_of == query, templates.query == query)
        roi_scores[own] = exact(frames[query_of == query], query)[:, templates.query == query]
    return Result(
        block=scope.block[frames],
        row=scope.row[frames],
        scores=np.concatenate([scores for _, scores in found]),
        query=query_of,
        roi_scores=roi_scores,
        searched=scope.count,
        rescored=rescored,
        damaged=np.stack([scope.block, scope.row], axis=1)[exact.damaged],
    )


brute_force = partial(search, bounded=False)


def _unknown(scope: Scope, templates: Templates) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and their slack, float32 [N, ROIs], that tell nothing, so that every frame is scored exactly."""
    shape = scope.count, len(templates.query)
    return np.zeros(shape, np.float32), np.full(shape, WIDE)


def _best(
    lower: np.ndarray,
    upper: np.ndarray,
    column: int,
    score: Callable[[np.ndarray], np.ndarray],
    exact: ExactScores,
    certified: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best frames of a list and their scores, as `certify` does.

    lower, upper: bounds [N, lists], of which `column` is the list's. The bounds of frames that turn out to be damaged
    become -inf, and the list is found anew, for such frames must not rule out others.
    certified: `certify` with its other arguments.
    """
    while True:
        damaged = exact.damaged.copy()
        best = certified(lower[:, column], upper[:, column], score)
        if np.array_equal(damaged, exact.damaged):
            return best
        lower[exact.damaged] = upper[exact.damaged] = -np.inf


def _mixed(
    scores: np.ndarray, other: np.ndarray | None, share: float, frames: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """Mix the share of another score into scores [m] or [m, lists]; the result rises with them, so bounds stay bounds.

    other: float32 [N]; None leaves the scores as they are. frames: positions [m] of the scores' frames in `other`.
    """
    if other is None:
        return scores
    own = other[frames].astype(np.float64).reshape(-1, *[1] * (scores.ndim - 1))
    return ((1 - share) * scores.astype(np.float64) + share * own).astype(np.float32)


def _check(blocks: Sequence[Block], templates: Templates, k: int, limit: int | None, form: str, combine: str) -> None:
    """Raise what `search` says that it raises."""
    matching.check_form(form)
    if form == "area" and templates.cells is None:
        raise ValueError("the form 'area' needs the cells of each query's map; give cells to matching.stack")
    choice(matching.COMBINATIONS)("combine", combine)
    if k < 1 or (limit is not None and limit < 1):
        raise InvalidArgument(f"k and the limit of a group must be 1 or more; got k {k}, limit {limit}")
    for block in blocks:
        if block.codes.shape[2] != templates.rows.shape[1]:
            raise ValueError(
                f"the gallery has {block.codes.shape[2]} channels, the template {templates.rows.shape[1]}; "
                "both must come from the same version of the feature extractor"
            )


def scan(
    scope: Scope, templates: Templates, form: str, threads: int, watch: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """Score all frames of a scope from their codes.

    form: as in `matching.scores`. watch: called between products; an exception of it ends the work.
    Returns the scores float32 [N, R] and their bounds float64 [N, R], with |score - exact score| <= bound.
    """
    work = _Pass(scope, templates, form, watch)
    core = threading.Semaphore(threads)  # of all threads this many multiply at a time, while the others read
    files = cold_files.sources([block.codes for block in scope.blocks])
    cold = any(file is not None for file in files)

    def worker() -> Callable[[tuple[int, int, int, int]], None]:
        products = work.products()
        buffer = mmap.mmap(-1, cold_files.room(1, READ)) if cold else None  # whole pages, as O_DIRECT takes them

        def span(task: tuple[int, int, int, int]) -> None:
            nonlocal buffer
            b, start, end, first = task
            codes, rows, file = scope.blocks[b].codes, scope.rows[b][start:end], files[b]
            places = rows
            if file is not None and buffer is not None and rows[-1] - rows[0] < 2 * len(rows):
                if len(buffer) < (needed := cold_files.room(rows[-1] + 1 - rows[0], file.size)):
                    buffer = mmap.mmap(-1, needed)
                codes, places = file.read(rows[0], rows[-1] + 1, buffer), rows - rows[0]
            with core:
                work(products, scope.blocks[b], rows, codes, places, first)

        return span

    try:
        share(_spans(scope, threads, files, len(templates.rows)), worker, threads + READERS * cold, watch)
    finally:
        cold_files.close(files)
    slack = work.slack()
    work.scores[work.broken], slack[work.broken] = 0, WIDE
    return work.scores, slack


class _Pass:
    """One pass over the codes of a scope for all templates; its threads share it.

    scores: float32 [N, R], filled as the pass goes on. broken: bool [N], frames whose codes are damaged.
    """

    def __init__(self, scope: Scope, templates: Templates, form: str, watch: Callable[[], None]) -> None:
        self._scope, self._templates, self._form, self._watch = scope, templates, form, watch
        self._per_cell = form in ("image", "mean")
        self._coded = TemplateCodes.of(templates, shared=self._per_cell, limit=template_limit())
        # One product per region if the maximum over its columns must be that of the region.
        cuts = templates.starts[1:] if self._per_cell else np.arange(COLUMNS, len(templates.rows), COLUMNS)
        self._parts = np.split(np.arange(len(templates.rows)), cuts)
        self._weight = self._coded.scale / templates.sizes[templates.roi]
        self._area = templates.cells if form == "area" else 1
        self.scores = np.empty((scope.count, len(templates.query)), np.float32)
        self.broken = np.zeros(scope.count, bool)

    def products(self) -> list[Product]:
        """Make the products that one thread needs, since a product is for one thread."""
        return [Product(self._coded.codes[:, part], exact=False) for part in self._parts]

    def slack(self) -> np.ndarray:
        """Return the bounds of the scores, float64 [N, R]."""
        error = self._scope.gather([block.error for block in self._scope.blocks])
        return self._coded.slack(error, self._templates, self._form)

    def __call__(
        self,
        products: list[Product],
        block: Block,
        rows: np.ndarray,
        codes: np.ndarray,
        places: np.ndarray,
        first: int,
    ) -> None:
        """Score the frames `rows` of a block, whose codes are codes[places], and enter the scores from `first` on."""
        cosines = max(map(len, self._parts)) * codes.shape[1]
        step = int(np.clip(COSINES // cosines, 1, FRAMES))
        best = [np.empty((len(rows), len(part)), np.int32) for part in self._parts]
        means = np.empty((len(rows), len(self._parts)))
        for i in range(0, len(rows), step):
            taken = take(codes, places[i : i + step])
            if block.sums is not None:
                self.broken[first + i : first + i + len(taken)] = block.sums.broken_codes(taken, rows[i : i + step])
            cells = np.empty(taken.shape[:2], np.int32) if self._per_cell else None
            for p, product in enumerate(products):
                self._watch()
                product(taken, best[p][i : i + step], cells)
                if cells is not None:
                    means[i : i + step, p] = _mean_cells(cells, block, rows[i : i + step])
        by_row = np.concatenate(best, axis=1) if len(best) > 1 else best[0]
        values = np.add.reduceat(by_row * self._weight, self._templates.starts, axis=1)
        if self._per_cell:
            means *= self._coded.scale[self._templates.starts]
            values = means if self._form == "image" else (values + means) / 2
        scale = np.asarray(take(block.scale, rows), np.float64)[:, None]
        self.scores[first : first + len(rows)] = values * scale / self._area


def _spans(
    scope: Scope, threads: int, files: Sequence[cold_files.Source | None], columns: int
) -> Iterable[tuple[int, int, int, int]]:
    """Cut the scope into tasks (block, start, end in the block's rows, number of the first frame), several per thread.

    files: as `cold_files.sources` gives them.
    columns: number of template rows; a thread keeps one number per frame of its task and row.
    """
    first = 0
    for b, (rows, file) in enumerate(zip(scope.rows, files, strict=True)):
        if file is None:
            span = int(np.clip(scope.count // (8 * threads), FRAMES, SPAN))
        else:
            span = int(np.clip(READ // file.size, 1, SPAN))
        span = max(1, min(span, MAXIMA // columns))
        for start in range(0, len(rows), span):
            yield b, start, min(start + span, len(rows)), first + start
        first += len(rows)


def _mean_cells(cells: np.ndarray, block: Block, rows: np.ndarray) -> np.ndarray:
    """Return the mean of the cells' maxima [m, P] over the cells on the image, float64 [m]."""
    if block.valid is None:
        return cells.mean(axis=1, dtype=np.float64)
    valid = np.asarray(take(block.valid, rows), bool)
    return (cells * valid).sum(axis=1, dtype=np.float64) / valid.sum(axis=1)
