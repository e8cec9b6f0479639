"""Galleries when things go wrong: writers in processes that tests kill, and connections that find the disk full."""

import json
import os
import sqlite3
import subprocess
import sys

from sluice.contracts import ROOT


def start(*arguments):
    """Start `tests.made.gallery_process` with these arguments in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.made.gallery_process", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def receipts(lines):
    """Yield the receipts on complete lines; the last line of a killed writer may be torn."""
    for line in lines:
        if line.startswith("[") and line.endswith("\n"):
            yield from json.loads(line)


class Failing:
    """A connection that has no space left for one kind of statement."""

    def __init__(self, connection, word):
        self._connection, self._word = connection, word

    def execute(self, statement, *values):
        if self._word in statement:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(statement, *values)

    def executemany(self, statement, values):
        self.execute(statement) if self._word in statement else self._connection.executemany(statement, values)
