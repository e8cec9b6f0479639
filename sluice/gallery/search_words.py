"""Ranks frames by words: the cosine of each text with each frame's embedding, alone or fused with templates.

A frame's score by words is the best (combine 'max') or the mean (combine 'mean') of its cosines with the texts. Fused,

    score = (1 - fuse) * template score + fuse * score by words,

both on the scale of a cosine, so a frame's score depends on the frame and the question alone. Only frames that have
both are ranked. Frames without an embedding of that version are counted as lacking; embeddings of another version are
never compared. The list is that of brute force, ties in the order of the ids.

A cosine is float32 arithmetic on the stored float16 vector, one sum per frame and text. It depends neither on the
frame's place nor on the rest of the request, so equal frames have equal scores to the last bit.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Search
from sluice.gallery import embeddings, snapshot
from sluice.gallery import search as finding
from sluice.gallery.admission import Admit, admit_all
from sluice.gallery.answers import Aside, Found
from sluice.gallery.intake import refuse_versions
from sluice.gallery.store import Gallery
from sluice.gallery.table import Table
from sluice.methods import matching
from sluice.methods.scan.certify import certify
from sluice.process import callers

MAX_TEXTS = 64
SPARSE = 4  # if fewer than one in so many frames are wanted, only their blocks are read


@dataclass(frozen=True)
class Words:
    """Texts as vectors, float32 [T, E] of unit length. Raises InvalidArgument for vectors that cannot be compared.

    embedder: the version of the network whose embeddings the vectors compare with.
    """

    vectors: np.ndarray
    embedder: str

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors, np.float32)
        if vectors.ndim != 2 or not 0 < len(vectors) <= MAX_TEXTS or not vectors.shape[1]:
            raise InvalidArgument(f"words are vectors of 1 to {MAX_TEXTS} texts; got {list(vectors.shape)}")
        if not np.isfinite(vectors).all():
            raise InvalidArgument("the vectors of words must be finite numbers; embed the texts again")
        object.__setattr__(self, "vectors", vectors)


def search(
    gallery: Gallery,
    words: Words,
    search: Search,
    templates: matching.Templates | None = None,
    admit: Admit = admit_all,
) -> Found:
    """Return the stored frames that words, and templates if they are given, rank best.

    search: as of `Gallery.search`; `fuse` is for words with templates. Without templates `score` is not looked at, and
    frames of every version of the feature model are ranked.
    Raises InvalidArgument for a combination that words do not have, and for words of another E than the stored
    embeddings; with templates also what `Gallery.search` raises.
    """
    started = time.perf_counter()
    _check(gallery, search, templates)

    shards = None if templates is None else finding.Look()

    def look(table: Table, connection: sqlite3.Connection) -> _View:
        return _View.of(gallery, table, connection, search, shards)

    with snapshot.opened(gallery, look) as view:
        embedder = _embedder(view.connection, words)
        by_words = np.full(view.count, np.nan, np.float32)
        if embedder is not None:
            whole = SPARSE * len(view.rows) > view.count
            for places, cosines in _cosines(view.connection, embedder, view.seqs, words, whole):
                by_words[view.rows[places]] = matching.combine(cosines, search.combine, np.zeros(cosines.shape[1], int))
        has = ~np.isnan(by_words)
        lacking = int(len(view.rows) - has[view.rows].sum())
        answer, rows = _ranked(view, by_words, has, search, gallery.threads, templates, admit)
        told = np.full((len(rows), len(words.vectors)), np.nan, np.float32)
        if embedder is not None and len(rows):
            seqs = view.table.rows["seq"][rows]
            order = np.argsort(seqs)
            for places, cosines in _cosines(view.connection, embedder, seqs[order], words, False):
                told[order[places]] = cosines
    return replace(answer, text_scores=told, lacking=lacking, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _View:
    """The parts of one moment that a search by words needs. count: rows of the table."""

    table: Table
    connection: sqlite3.Connection
    rows: np.ndarray  # int64 [m], the table's rows that passed the filters, ascending
    seqs: np.ndarray  # int64 [m], of these rows
    rank: np.ndarray  # int64 [count]
    drive: np.ndarray  # int32 [count]
    members: list[finding.Member]  # empty without templates
    aside: Aside

    @property
    def count(self) -> int:
        return len(self.rank)

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        table: Table,
        connection: sqlite3.Connection,
        search: Search,
        shards: finding.Look | None,
    ) -> _View:
        """Return the view of a moment. shards: finds the shards of the rows; None in a search by words alone."""
        if shards is not None:
            refuse_versions(table.made_by(), gallery.model, gallery.channels, gallery.mixed)
        own = None if shards is None else table.models.number.get(gallery.model or "", -1)
        rows, rank = table.select(search, own), table.rank().copy()
        members, aside = ([], Aside((), {})) if shards is None else shards.members(table, rows, rank, gallery.folder)
        drive = table.rows["drive"][: table.n].copy()
        return cls(table, connection, rows, table.rows["seq"][rows], rank, drive, members, aside)


def _ranked(
    view: _View,
    by_words: np.ndarray,
    has: np.ndarray,
    search: Search,
    threads: int,
    templates: matching.Templates | None,
    admit: Admit,
) -> tuple[Found, list[int]]:
    """Return the answer, and the table's rows of its frames.

    by_words, has: [rows of the table], the score by words and whether there is one.
    """
    if templates is not None:
        members = [kept for member in view.members if len((kept := member.only(has)).row)]
        if not members:
            return finding.nothing(len(templates.query), 0, view.aside), []
        result = finding.scan(members, templates, search, threads, by_words, admit)
        return finding.found(view.table, members, result, 0, view.aside), finding.rows_of(members, result)
    rows = view.rows[has[view.rows]]
    values, rank = by_words[rows], view.rank[rows]
    group = None if search.per_drive is None else view.drive[rows]
    best, scores = certify(
        values, values, values.__getitem__, search.k, search.threshold, rank, group, search.per_drive
    )
    chosen = rows[best].tolist()
    answer = replace(
        finding.nothing(0, 0, view.aside),
        ids=tuple(view.table.ids[row] for row in chosen),
        scores=scores.astype(np.float32),
        query=np.full(len(chosen), -1, np.int32),
        roi_scores=np.zeros((len(chosen), 0), np.float32),
        frames=tuple(view.table.described(row) for row in chosen),
        searched=len(rows),
    )
    return answer, chosen


def _cosines(
    connection: sqlite3.Connection, embedder: tuple[int, int], seqs: np.ndarray, words: Words, whole: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions in `seqs` (ascending) of frames that have an embedding, and their cosines, float32 [m, T]."""
    for places, vectors in embeddings.stream(connection, embedder, seqs, whole):
        callers.check()
        # Not a matrix product, whose last bit may depend on a row's place.
        yield places, np.einsum("me,te->mt", widened(vectors), words.vectors)


def widened(halves: np.ndarray) -> np.ndarray:
    """Return finite float16 as float32, three times as fast as NumPy.

    Exponent and fraction are moved. Then an exact product, also for subnormal numbers, corrects the exponent's bias.
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # the sign, which was copied into the upper bits, and the 28 bits behind these
    numbers = bits.view(np.float32)
    numbers *= np.float32(2.0**112)
    return numbers


def _embedder(connection: sqlite3.Connection, words: Words) -> tuple[int, int] | None:
    """Return the number and E of the words' network, or None. Raises InvalidArgument for words of another E."""
    embedder = embeddings.embedder_of(connection, words.embedder)
    if embedder is not None and embedder[1] != words.vectors.shape[1]:
        raise InvalidArgument(
            f"the stored embeddings have {embedder[1]} numbers, those of the texts {words.vectors.shape[1]}; embed "
            "the texts with the text encoder that belongs to the image network"
        )
    return embedder


def _check(gallery: Gallery, search: Search, templates: matching.Templates | None) -> None:
    """Raise InvalidArgument for options that do not go with words."""
    if search.combine == "query":
        raise InvalidArgument("combine 'query' gives a list a query; with words it is 'max' or 'mean'")
    if templates is None:
        if search.fuse is not None:
            raise InvalidArgument("fuse is the share of the words beside templates; give regions of interest, too")
        return
    if search.score == "area":
        raise InvalidArgument("the score 'area' is no cosine and cannot be fused with words; use roi, image or mean")
    gallery.check_templates(templates)
