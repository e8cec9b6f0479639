"""Finds the frames that a version of a network has looked at, by the same queries for scores and embeddings."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sluice.gallery.catalogue import pragma


@dataclass(frozen=True)
class Notes:
    """The tables of the catalogue that hold what the versions of a network say of frames.

    rows:     the table with at most one row per frame (column seq).
    versions: the table with one row per version of the network (column version).
    number:   the column that joins the two.
    fact:     the column of `versions` that must not differ while the version is the same.
    counted:  SQL that counts the frames per version: an expression, FROM and a table that has the column `number`.
    format:   the first format of the catalogue that has these tables.
    partial:  SQL that is true of a row of `rows` which an older program left without a part; "": no row is. Such a
        frame counts as one that the network has looked at, and yet is listed to be looked at again.
    partial_format: the first format of the catalogue in which a row can have that part.
    """

    rows: str
    versions: str
    number: str
    fact: str
    counted: str
    format: int
    partial: str = ""
    partial_format: int = 0

    def kept(self, connection: sqlite3.Connection) -> bool:
        """Return whether the catalogue has these tables. An older one in a folder that cannot be written has none, and
        then no network has looked at any frame."""
        return pragma(connection, "user_version") >= self.format

    def counts(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Return how many frames each version has looked at."""
        if not self.kept(connection):
            return {}
        query = f"{self.counted} JOIN {self.versions} USING({self.number}) GROUP BY {self.number} ORDER BY version"
        return {version: int(count) for version, count in connection.execute(f"SELECT version, {query}")}

    def count_lacking(self, connection: sqlite3.Connection, version: str) -> int:
        """Return how many frames a version has not looked at."""
        frames = int(connection.execute("SELECT count(*) FROM frames").fetchone()[0])
        return max(0, frames - self.counts(connection).get(version, 0)) + self._count_partial(connection, version)

    def _count_partial(self, connection: sqlite3.Connection, version: str) -> int:
        """Return how many rows of a version lack a part."""
        if not self._whole(connection):
            return 0
        query = f"SELECT count(*) FROM {self.rows} JOIN {self.versions} USING({self.number}) WHERE {self.partial}"
        return int(connection.execute(f"{query} AND version = ?", (version,)).fetchone()[0])

    def lacking(self, connection: sqlite3.Connection, version: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (seq, id) of the first frames behind the seq `after` that a version has not looked at."""
        lacks = ""
        values: list[int | str] = [after, limit]
        if self.kept(connection):
            lacks = (
                f"AND NOT EXISTS(SELECT 1 FROM {self.rows} JOIN {self.versions} USING({self.number}) "
                f"WHERE {self.rows}.seq = frames.seq AND version = ?{self._whole(connection)})"
            )
            values = [after, version, limit]
        query = f"SELECT seq, id FROM frames WHERE seq > ? {lacks} ORDER BY seq LIMIT ?"
        return connection.execute(query, values).fetchall()

    def _whole(self, connection: sqlite3.Connection) -> str:
        """Return SQL that leaves out the rows that lack a part."""
        known = self.partial and pragma(connection, "user_version") >= self.partial_format
        return f" AND NOT ({self.partial})" if known else ""

    def enter_version(self, editor: sqlite3.Connection, version: str, fact: str | int) -> tuple[int, str | int]:
        """Enter a version, unless it is there. Call it inside a transaction.

        Returns its number, and the fact that is stored with it, which may be another than `fact`.
        """
        query = f"INSERT OR IGNORE INTO {self.versions}(version, {self.fact}) VALUES(?, ?)"
        editor.execute(query, (version, fact))
        query = f"SELECT {self.number}, {self.fact} FROM {self.versions} WHERE version = ?"
        number, stored = editor.execute(query, (version,)).fetchone()
        return int(number), stored
