"""Looking at frames that are stored already: which ones a detector has not scored or a network has not embedded, and
what it found in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.errors import InvalidArgument
from sluice.gallery import embeddings, scores
from sluice.gallery.answers import check_page, ids_of
from sluice.gallery.catalogue import transaction, translated
from sluice.gallery.embeddings import Embedding
from sluice.gallery.scores import Score
from sluice.gallery.store import Gallery


def score(gallery: Gallery, ids: Sequence[str], found: Sequence[Score]) -> list[str]:
    """Store what a detector found in frames, in one commit, in place of what was stored of them before.

    Returns the ids that are there; one that is not (it was deleted meanwhile) is left out.
    Raises InvalidArgument for a version of a detector that is stored with other classes; Full, ReadOnly, Busy.
    """
    ids = ids_of(ids)
    if len(ids) != len(found):
        raise InvalidArgument(f"score needs one score an id; got {len(ids)} ids and {len(found)} scores")
    gallery._may_write()
    done = []
    with gallery._write_lock, translated(), transaction(gallery._editor):
        for id_, one in zip(ids, found, strict=True):
            row = gallery._editor.execute("SELECT seq FROM frames WHERE id = ?", (id_,)).fetchone()
            if row:
                scores.write(gallery._editor, one.detector, [(row[0], one.objects)])
                done.append(id_)
    return done


def unscored(gallery: Gallery, detector: str, cursor: str | None = None, limit: int = 100) -> dict[str, Any]:
    """A page of the ids of frames that this version of a detector has not looked at, in the order in which they were
    stored: {"ids", "next": cursor or None, "unscored": how many there are in all}.

    cursor, limit: as of `Gallery.list`. Frames that are scored meanwhile shift nothing.
    """
    check_page(cursor, limit)
    with gallery._read_lock, translated():
        rows = scores.unscored(gallery._reader, detector, int(cursor or 0), limit + 1)
        left = scores.count_unscored(gallery._reader, detector)
    more = str(rows[limit - 1][0]) if len(rows) > limit else None
    return {"ids": [id_ for _, id_ in rows[:limit]], "next": more, "unscored": left}


def detectors(gallery: Gallery) -> dict[str, int]:
    """How many frames each version of a detector has scored."""
    with gallery._read_lock, translated():
        return scores.counts(gallery._reader)


def embed(gallery: Gallery, ids: Sequence[str], embedded: Sequence[Embedding]) -> list[str]:
    """Store embeddings of frames, in one commit, in place of what was stored of them before.

    Returns the ids that are there; one that is not (it was deleted meanwhile) is left out.
    Raises InvalidArgument for a version of a network that is stored with another E; Full, ReadOnly, Busy.
    """
    ids = ids_of(ids)
    if len(ids) != len(embedded):
        raise InvalidArgument(f"embed needs an embedding an id; got {len(ids)} ids and {len(embedded)} embeddings")
    gallery._may_write()
    done = []
    with gallery._write_lock, translated(), transaction(gallery._editor):
        for id_, one in zip(ids, embedded, strict=True):
            row = gallery._editor.execute("SELECT seq FROM frames WHERE id = ?", (id_,)).fetchone()
            if row:
                embeddings.write(gallery._editor, one.embedder, [(row[0], one.vector)])
                done.append(id_)
    return done


def unembedded(gallery: Gallery, embedder: str, cursor: str | None = None, limit: int = 100) -> dict[str, Any]:
    """As `unscored`, of frames that this version of a network has not embedded: {"ids", "next", "unembedded"}."""
    check_page(cursor, limit)
    with gallery._read_lock, translated():
        rows = embeddings.unembedded(gallery._reader, embedder, int(cursor or 0), limit + 1)
        left = embeddings.count_unembedded(gallery._reader, embedder)
    more = str(rows[limit - 1][0]) if len(rows) > limit else None
    return {"ids": [id_ for _, id_ in rows[:limit]], "next": more, "unembedded": left}


def embedders(gallery: Gallery) -> dict[str, int]:
    """How many frames each version of a network has embedded."""
    with gallery._read_lock, translated():
        return embeddings.counts(gallery._reader)
