"""One moment of a gallery: the rows in memory and a transaction of the catalogue that agree."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeVar

from sluice.gallery.catalogue import connect, translated
from sluice.gallery.errors import Busy
from sluice.gallery.store import Gallery
from sluice.gallery.table import Table

Seen = TypeVar("Seen")

# Bytes of the catalogue that are mapped instead of read page by page, by which large values are read twice as fast.
# SQLite maps as much as it was built for, usually 2 GB.
MAPPED = 1 << 40


@contextlib.contextmanager
def opened(gallery: Gallery, look: Callable[[Table, sqlite3.Connection], Seen]) -> Iterator[Seen]:
    """Yield what `look` returns for one moment of the gallery. Others go on adding and searching meanwhile.

    look: gets the table, and a connection with an open transaction of the same moment that lasts until the end. `look`
    runs under the gallery's lock. The table changes as soon as the lock is released, so `look` must copy what it needs.
    If `look` raises FileNotFoundError, a compaction was at work, and another moment is tried. Raises Busy if others
    commit so fast that no moment is found.
    """
    with translated(), contextlib.closing(_connection(gallery)) as connection:
        for _ in range(20):
            with gallery.reading():
                table = gallery.table()
                connection.execute("BEGIN DEFERRED")
                seen = None
                if _agree(table, connection):
                    with contextlib.suppress(FileNotFoundError):
                        seen = look(table, connection)
            if seen is not None:
                yield seen
                return
            connection.execute("ROLLBACK")
        raise Busy("the gallery changes too fast to be looked at as a whole; try the same again")


def state(connection: sqlite3.Connection) -> list[int | None]:
    """Return the number of the last row that was added and that of the last change."""
    query = "SELECT (SELECT max(seq) FROM frames), (SELECT max(generation) FROM changes)"
    return list(connection.execute(query).fetchone())


def _connection(gallery: Gallery) -> sqlite3.Connection:
    # A connection of its own, because a snapshot may last long and must not hold up the gallery's readers.
    """Return a connection to the catalogue for one snapshot."""
    connection = connect(gallery.root, writable=gallery.writable, timeout=gallery.timeout)
    connection.execute(f"PRAGMA mmap_size={MAPPED}")
    return connection


def _agree(table: Table, connection: sqlite3.Connection) -> bool:
    """Return whether the table, which was read first, and the connection's transaction are of the same moment."""
    last, generation = state(connection)
    return (last or 0) <= table.last_seq and (generation or 0) == (table.generation or 0)
