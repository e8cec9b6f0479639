"""Scores of made-up frames, and galleries of format 1, which had none."""

import contextlib
import sqlite3

import numpy as np

from sluice.gallery import catalogue
from sluice.gallery.scores import Detector, Score

LABELS = ("Car", "Pedestrian")
DETECTOR = Detector("mixture_detector/1/aaaaaaaaaaaa", LABELS)


def objects(count, seed=0):
    """Return float32 [count, 16], rows as a detector may find them."""
    random = np.random.default_rng(seed)
    rows = random.random((count, 16)).astype(np.float32)
    rows[:, 0] = random.integers(0, len(LABELS), count)
    rows[:, 1] = 0.5 + rows[:, 1] / 2
    return rows


def found(*counts, detector=DETECTOR):
    """Return one score per count: that many objects and some faint ones, or no score where the count is None."""
    return [None if n is None else Score(detector, objects(n, seed), 0.25 * seed) for seed, n in enumerate(counts)]


def rows(store):
    """Return everything that format 1 keeps of the frames."""
    with contextlib.closing(sqlite3.connect(store.root / catalogue.FILE)) as file:
        return file.execute("SELECT * FROM frames ORDER BY seq").fetchall()


FORMAT_1 = {"models", "shards", "frames", "changes", "sqlite_sequence"}


def drop_faint(file):
    """Take from an open catalogue what format 5 added."""
    file.execute("DROP INDEX scores_older")
    file.execute("ALTER TABLE scores DROP COLUMN faint")


def as_format_4(root):
    """Turn a closed gallery into what the program of format 4 left behind."""
    with contextlib.closing(sqlite3.connect(root / catalogue.FILE, isolation_level=None)) as file:
        drop_faint(file)
        file.execute("PRAGMA user_version=4")


def as_format_1(root):
    """Turn a closed gallery into what the program of format 1 left behind: later formats only add tables."""
    with contextlib.closing(sqlite3.connect(root / catalogue.FILE, isolation_level=None)) as file:
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in tables - FORMAT_1:
            file.execute(f"DROP TABLE {table}")
        file.execute("DELETE FROM sqlite_sequence WHERE name IN ('detectors', 'embedders', 'blocks')")
        file.execute("PRAGMA user_version=1")
