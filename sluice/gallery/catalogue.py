"""The gallery's SQLite file: one row per frame, and the only judge of what is stored.

Each writing transaction gets growing numbers: `seq` for a new row, `generation` for a row that was deleted or moved.
`sluice.gallery.table` follows these numbers in memory. Beside the rows lie the objects that a detector found
(`sluice.gallery.scores`) and vectors to compare words with (`sluice.gallery.embeddings`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from sluice.gallery.errors import Busy, Full, GalleryError, LogLost, Moved, NotAGallery, ReadOnly

APPLICATION = 0x534C5547  # 'SLUG', tells our file from another program's SQLite
FORMAT = 5
FILE = "frames.sqlite"
SIDE = ("-wal", "-shm")  # SQLite's files beside it, while it is open

SCHEMA = """
CREATE TABLE models(model INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL UNIQUE);
CREATE TABLE shards(shard INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, model INTEGER NOT NULL,
                    h INTEGER NOT NULL, w INTEGER NOT NULL, channels INTEGER NOT NULL);
CREATE TABLE frames(
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice; grows in the order of the commits
    id       TEXT NOT NULL UNIQUE,
    sha256   BLOB NOT NULL UNIQUE,
    drive    TEXT NOT NULL,
    camera   TEXT NOT NULL,
    time     REAL,                               -- seconds, the caller's clock
    tags     TEXT NOT NULL,                      -- JSON
    added    REAL NOT NULL,                      -- seconds since 1970, this clock; for people, not for filters
    model    INTEGER NOT NULL,
    shard    INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    offset   INTEGER NOT NULL,                   -- of the picture in the shard's .images
    length   INTEGER NOT NULL,
    geometry BLOB NOT NULL,                      -- float32 [6], sluice.images.Geometry
    extent   BLOB NOT NULL,                      -- int16 [4], first and end row, first and end column of the picture
    scale    REAL NOT NULL,                      -- of the codes
    error    REAL NOT NULL,                      -- proved bound of the codes' error
    crc      INTEGER NOT NULL                    -- CRC-32 of the exact features, then of the codes
);
CREATE UNIQUE INDEX frames_place ON frames(shard, slot);
CREATE INDEX frames_model ON frames(model);
CREATE TABLE changes(generation INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL);
"""
# The tables that format 2 adds. A gallery of format 1 gets them empty, in one commit that touches no row of a frame. A
# program of format 1 that still has the gallery open goes on adding frames, without scores.
SCHEMA_2 = """
CREATE TABLE detectors(
    detector INTEGER PRIMARY KEY AUTOINCREMENT,
    version  TEXT NOT NULL UNIQUE,
    labels   TEXT NOT NULL                       -- JSON, the names of its classes
);
CREATE TABLE scores(
    seq      INTEGER PRIMARY KEY,                -- of the frame
    detector INTEGER NOT NULL,
    objects  BLOB NOT NULL                       -- float32 [m, 16], mixtures.summaries.Detections.as_array
);
CREATE INDEX scores_detector ON scores(detector);
CREATE TABLE descriptors(
    seq        INTEGER PRIMARY KEY,              -- of the frame
    descriptor BLOB NOT NULL                     -- float16 [C], unit length: the mean of the picture's cells
);
CREATE TABLE facts(name TEXT PRIMARY KEY, value NOT NULL);
INSERT INTO facts VALUES('gallery', lower(hex(randomblob(8)))), ('scoring', 0);
"""
# The tables that format 3 adds.
SCHEMA_3 = """
CREATE TABLE embedders(
    embedder INTEGER PRIMARY KEY AUTOINCREMENT,
    version  TEXT NOT NULL UNIQUE,
    size     INTEGER NOT NULL                    -- E, numbers of an embedding
);
CREATE TABLE blocks(
    block    INTEGER PRIMARY KEY AUTOINCREMENT,
    embedder INTEGER NOT NULL,
    live     INTEGER NOT NULL                    -- places that frames have; 0: the block goes
);
CREATE INDEX blocks_embedder ON blocks(embedder, live);
CREATE TABLE vectors(                            -- a row is made once and then written in its places only
    block    INTEGER PRIMARY KEY,
    seqs     BLOB NOT NULL,                      -- int64 [places], the frame of each; 0: none
    vectors  BLOB NOT NULL                       -- float16 [places, E], unit length
);
CREATE TABLE embeddings(
    seq      INTEGER PRIMARY KEY,                -- of the frame
    embedder INTEGER NOT NULL,
    block    INTEGER NOT NULL,
    place    INTEGER NOT NULL
);
"""
# The table that format 4 adds. A frame without a row here was stored by an older format, and its sums are not checked.
SCHEMA_4 = """
CREATE TABLE checks(
    seq       INTEGER PRIMARY KEY,               -- of the frame
    exact_sum INTEGER NOT NULL,                  -- sluice.methods.scan.sums, of the exact features
    codes_sum INTEGER NOT NULL,                  -- and of the codes
    head      INTEGER NOT NULL                   -- bytes of the record before the picture, sluice.gallery.records
);
"""
# The column that format 5 adds, `mixtures.summaries.Detections.faint`; a selection needs it of frames without
# objects. NULL: not known, as an older program stored the score.
SCHEMA_5 = """
ALTER TABLE scores ADD COLUMN faint REAL;
CREATE INDEX scores_older ON scores(detector) WHERE faint IS NULL AND length(objects) = 0;
"""
INSERT = """INSERT INTO frames(id, sha256, drive, camera, time, tags, added, model, shard, slot, offset, length,
    geometry, extent, scale, error, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""

CHECK = "INSERT OR REPLACE INTO checks(seq, exact_sum, codes_sum, head) VALUES(?, ?, ?, ?)"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the disk and of SQLite into the gallery's own errors, which name no paths."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Full(_FULL) from error
        if error.errno in READ_ONLY:
            raise ReadOnly(_READ_ONLY) from error
        raise GalleryError(f"the gallery's disk answers: {error.strerror or type(error).__name__}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Busy("the gallery is locked by another process for too long; try the same again") from error
        if code & 0xFF == sqlite3.SQLITE_FULL or code in (
            sqlite3.SQLITE_IOERR_WRITE,
            sqlite3.SQLITE_IOERR_SHMSIZE,
            sqlite3.SQLITE_IOERR_TRUNCATE,
        ):
            raise Full(_FULL) from error
        if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise ReadOnly(_READ_ONLY) from error
        if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise NotAGallery(
                "the gallery's catalogue is damaged or not a gallery's; put it back from a copy, or stop the server "
                "and let `python -m sluice.gallery rebuild FOLDER` make a new one of what its shards say"
            ) from error
        raise GalleryError(f"the gallery's catalogue answers: {error}") from error


_FULL = "no space is left on the gallery's disk, nothing of this batch was stored; free some space, then send it again"
_READ_ONLY = "the gallery's folder cannot be written, nothing was changed; make it writable, then send the same again"


class Connection(sqlite3.Connection):
    """A connection that remembers which files it has open: the catalogue and, if it writes, SQLite's side files."""

    files: Mapping[Path, tuple[int, int]] = MappingProxyType({})  # device and inode of each

    def remember(self, file: Path) -> None:
        """Remember the files at the path as those that are open. Call it after the first read."""
        names = [file, *(file.with_name(file.name + end) for end in SIDE)]
        self.files = {name: found for name in names if (found := _inode(name)) is not None}

    def check(self) -> None:
        """Raise Moved unless the files that are open are still those at the path."""
        for name, found in self.files.items():  # the catalogue first
            if _inode(name) == found:
                continue
            if name.name.endswith(SIDE):
                raise LogLost(
                    f"the gallery's log, {name.name}, was removed or replaced while it was open; nothing was stored or "
                    "deleted: stop every program that has the gallery open, then start again, and nothing is lost"
                )
            raise Moved(
                "the gallery's folder or its catalogue was removed or replaced while it was open; nothing was stored "
                "or deleted: put the folder back, then send the same again"
            )


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def connect(root: Path, *, writable: bool, timeout: float, name: str = FILE) -> Connection:
    """Open the catalogue of a gallery, or make it if there is none.

    writable: whether the folder can be written; if not, the catalogue is opened for reading.
    name: the catalogue's file name, while it is not yet in its place.
    Raises NotAGallery for another program's file or a newer format.
    """
    file = root / name
    if writable:
        connection = sqlite3.connect(
            file, timeout=timeout, isolation_level=None, check_same_thread=False, factory=Connection
        )
        _patiently(connection, "PRAGMA journal_mode=WAL", timeout)
        connection.execute("PRAGMA synchronous=FULL")
    else:
        if not file.exists():
            raise ReadOnly("there is no gallery yet and its folder cannot be written; make the folder writable")
        connection = _read_only(file, timeout)
    try:
        _prepare(connection, writable)
        if writable:  # to a reader the side files come and go with the writers
            connection.remember(file)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_only(file: Path, timeout: float) -> Connection:
    # A catalogue with a log needs its side files even for reading. If they cannot be made and there is no log, no
    # process can be writing from here, and the file may be read as it lies.
    log = file.with_name(FILE + "-wal")
    error: sqlite3.Error | None = None
    for query in ("mode=ro", "mode=ro&immutable=1"):
        if error is not None and log.exists() and log.stat().st_size:
            break
        uri = f"{file.absolute().as_uri()}?{query}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False, factory=Connection
        )
        try:
            pragma(connection, "schema_version")
            return connection
        except sqlite3.OperationalError as refused:
            connection.close()
            error = refused
    assert error is not None
    raise error


def _patiently(connection: sqlite3.Connection, statement: str, timeout: float) -> None:
    # Changing the journal mode does not wait on the busy time-out when two processes create the file at once.
    end = time.monotonic() + timeout
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _prepare(connection: sqlite3.Connection, writable: bool) -> None:
    if pragma(connection, "user_version") == 0 and writable:
        with transaction(connection):
            if pragma(connection, "user_version") == 0:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise NotAGallery("the folder holds another program's frames.sqlite; choose another folder")
                _bring_up(connection)
                connection.execute(f"PRAGMA application_id={APPLICATION}")
    if pragma(connection, "application_id") != APPLICATION:
        raise NotAGallery("the folder holds another program's frames.sqlite; choose another folder")
    found = pragma(connection, "user_version")
    if found > FORMAT:
        raise NotAGallery(
            f"the gallery was made by a newer Sluice: its format is {found}, this one reads up to {FORMAT}; "
            "update Sluice, or choose another folder"
        )
    if found < FORMAT and writable:  # else it is read as it is, without scores and embeddings
        with transaction(connection):
            _bring_up(connection)


def _bring_up(connection: sqlite3.Connection) -> None:
    """Add what newer formats have besides; nothing if another process was quicker."""
    for schema in (SCHEMA, SCHEMA_2, SCHEMA_3, SCHEMA_4, SCHEMA_5)[pragma(connection, "user_version") :]:
        _execute(connection, schema)
    connection.execute(f"PRAGMA user_version={FORMAT}")


def _execute(connection: sqlite3.Connection, schema: str) -> None:
    # Not executescript, which commits the open transaction.
    for statement in schema.split(";\n"):
        connection.execute(statement)


def checks(connection: sqlite3.Connection) -> bool:
    """Return whether the catalogue has a table for check sums. An older format in a folder that cannot be written
    has none.
    """
    return pragma(connection, "user_version") >= 4


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the value of a PRAGMA that is a number."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


class Attempt:
    """The progress of a transaction."""

    committing = False  # True: a commit that failed may still take effect when the log is recovered


@contextlib.contextmanager
def transaction(
    connection: sqlite3.Connection, kind: str = "IMMEDIATE", attempt: Attempt | None = None
) -> Iterator[None]:
    """Run one transaction; an exception that is raised inside undoes it.

    kind: IMMEDIATE to write, DEFERRED to read one snapshot. attempt: gets told when the commit begins.
    Raises Moved if the files that are open are not those at the path, before the commit or after it, because what a
    deleted file holds was not stored.
    """
    check = connection.check if kind == "IMMEDIATE" and isinstance(connection, Connection) else _no_check
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        check()
        if attempt is not None:
            attempt.committing = True
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    check()


def _no_check() -> None:
    pass


def writable(root: Path) -> bool:
    """Return whether this process may write in a folder, as the file system says."""
    return os.access(root, os.W_OK | os.X_OK)
