"""One moment of a gallery: the rows in memory and a transaction of the catalogue that say the same."""

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

# Bytes of the catalogue that are mapped and not read page by page: large values come in twice as fast. SQLite takes
# as much as it was built for, 2 GB unless somebody chose otherwise.
MAPPED = 1 << 40


@contextlib.contextmanager
def opened(gallery: Gallery, look: Callable[[Table, sqlite3.Connection], Seen]) -> Iterator[Seen]:
    """What `look` makes of one moment; others go on adding and searching meanwhile.

    look: gets the table and a connection with an open transaction of the same moment, which lasts until the end. The
    gallery is locked while it runs, and the table goes on afterwards: it takes what it needs. A FileNotFoundError that
    it raises says that a compaction was at work, and another moment is tried.
    Raises Busy when others commit so fast that no moment is found.
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
    """The last row that was added and the last change."""
    query = "SELECT (SELECT max(seq) FROM frames), (SELECT max(generation) FROM changes)"
    return list(connection.execute(query).fetchone())


def _connection(gallery: Gallery) -> sqlite3.Connection:
    # Its own: a snapshot that lasts as long as the selection must not hold up those who read through the gallery's.
    connection = connect(gallery.root, writable=gallery.writable, timeout=gallery.timeout)
    connection.execute(f"PRAGMA mmap_size={MAPPED}")
    return connection


def _agree(table: Table, connection: sqlite3.Connection) -> bool:
    """Whether the table, which was read first, and the connection's transaction are of the same moment."""
    last, generation = state(connection)
    return (last or 0) <= table.last_seq and (generation or 0) == (table.generation or 0)
