"""Adds scores and embeddings to frames that are stored already, and says which frames still lack them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sluice.errors import InvalidArgument
from sluice.gallery import embeddings, scores
from sluice.gallery.answers import check_page, ids_of
from sluice.gallery.catalogue import transaction
from sluice.gallery.embeddings import Embedding
from sluice.gallery.notes import Notes
from sluice.gallery.scores import Score
from sluice.gallery.store import Gallery

Note = TypeVar("Note")


@dataclass(frozen=True)
class Annotation(Generic[Note]):
    """One kind of note that a network makes of a frame.

    notes: the tables that hold the notes. write: enters the note of the frame with a seq.
    noun: the word for one note. lack: the word for frames without one, and the key of their count in a page.
    """

    notes: Notes
    write: Callable[[sqlite3.Connection, int, Note], None]
    noun: str
    lack: str

    def keep(self, gallery: Gallery, ids: Sequence[str], notes: Sequence[Note]) -> list[str]:
        """Store a note per frame, in one commit; it replaces the note that the frame has.

        Returns the ids that are stored; an id that is not (its frame was deleted meanwhile) is left out.
        Raises InvalidArgument for a version that is stored with another fact (other classes, another E); Full,
        ReadOnly, Busy.
        """
        ids = ids_of(ids)
        if len(ids) != len(notes):
            raise InvalidArgument(f"every id needs its {self.noun}; got {len(ids)} ids and {len(notes)} {self.noun}s")
        done = []
        with gallery.writing() as intake, transaction(intake.editor):
            for id_, note in zip(ids, notes, strict=True):
                row = intake.editor.execute("SELECT seq FROM frames WHERE id = ?", (id_,)).fetchone()
                if row:
                    self.write(intake.editor, row[0], note)
                    done.append(id_)
        return done

    def lacking(self, gallery: Gallery, version: str, cursor: str | None = None, limit: int = 100) -> dict[str, Any]:
        """Return a page of the ids of frames that a version of the network has not looked at, in the order in which
        they were stored: {"ids", "next": cursor or None, `lack`: how many there are in all}.

        cursor, limit: as of `Gallery.list`. Frames that get their note meanwhile shift nothing.
        """
        check_page(cursor, limit)
        with gallery.reading() as connection:
            rows = self.notes.lacking(connection, version, int(cursor or 0), limit + 1)
            left = self.notes.count_lacking(connection, version)
        more = str(rows[limit - 1][0]) if len(rows) > limit else None
        return {"ids": [id_ for _, id_ in rows[:limit]], "next": more, self.lack: left}

    def versions(self, gallery: Gallery) -> dict[str, int]:
        """Return how many frames each version of the network has looked at."""
        with gallery.reading() as connection:
            return self.notes.counts(connection)


def _score(editor: sqlite3.Connection, seq: int, score: Score) -> None:
    scores.write(editor, [(seq, score)])


def _embedding(editor: sqlite3.Connection, seq: int, embedding: Embedding) -> None:
    embeddings.write(editor, embedding.embedder, [(seq, embedding.vector)])


SCORES = Annotation(scores.NOTES, _score, "score", "unscored")
EMBEDDINGS = Annotation(embeddings.NOTES, _embedding, "embedding", "unembedded")
