"""Stores what a detector found in the frames: written with a frame or later, read back frame by frame.

A frame that a detector has looked at has one row in the table `scores`, even if nothing was found: the version of the
detector, and the objects. A frame without such a row is unscored. Beside it lies the frame's descriptor, one vector
for the whole image, by which a selection recognises frames that look alike.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.gallery.catalogue import pragma
from sluice.gallery.notes import Notes
from sluice.gallery.table import Table
from sluice.methods.mixtures.summaries import COLUMNS, Detections, Summary


@dataclass(frozen=True)
class Detector:
    """A version of a detector, such as 'mixture_detector/1/ab12cd34ef56/0123abcd', and the names of its classes.

    min_score: the least score of the objects that the detector gives; None if it is not known.
    given: the types of uncertainty that the detector gives if some are missing, as of `Summary`; None if it gives all,
        or if that is not known.
    """

    version: str
    labels: tuple[str, ...]
    min_score: float | None = None
    given: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Score:
    """The score of one frame: the detector, and its objects [m, 16] as `mixtures.summaries.Detections.as_array` has
    them.

    faint: as of `mixtures.summaries.Detections`, of the boxes that are not among the objects; None if it is not known.
    """

    detector: Detector
    objects: np.ndarray
    faint: float | None = None

    def detections(self) -> Detections:
        """Return what was found."""
        return replace(Detections.from_array(self.objects), faint=math.nan if self.faint is None else self.faint)


def checked(objects: Any, labels: Sequence[str]) -> np.ndarray:
    """Return objects as they are stored, float32 [m, 16]. Raises InvalidArgument for impossible objects."""
    try:
        rows = np.asarray(objects, np.float32)
    except (TypeError, ValueError):
        raise InvalidArgument(f"detections are rows of {COLUMNS} numbers") from None
    classes = Detections.from_array(rows).classes
    if len(classes) and classes.max() >= len(labels):
        raise InvalidArgument(
            f"a detection's class is a number from 0 to {len(labels) - 1}, of {', '.join(labels)!s:.200}; "
            f"got {classes.max()}"
        )
    return rows


def descriptor(cells: np.ndarray) -> np.ndarray:
    """Return one vector for an image: float16 [C], the mean of its cells at unit length (zero if they cancel).

    cells: [h, w, C] floating point, the cells that show the image.
    """
    mean = cells.astype(np.float32).mean((0, 1))
    # The norm of a vector is a product of BLAS, whose last bit is the processor's; a sum of squares is not.
    length = math.sqrt(np.square(mean, dtype=np.float64).sum())
    return (mean / length if length > 0 else mean).astype(np.float16)


# A frame without objects and without `faint` cannot be ranked, so `sluice score` looks at it again.
OLDER = "faint IS NULL AND length(objects) = 0"
NOTES = Notes("scores", "detectors", "detector", "labels", "count(*) FROM scores", 2, OLDER, 5)


# --------------------------------------------------------------------------------------------------------- writing


def write(editor: sqlite3.Connection, scores: Iterable[tuple[int, Score]]) -> None:
    """Enter scores of one detector, each (seq, score), in place of those that are there. Call it in a transaction.

    Raises InvalidArgument if the version of the detector is stored with other classes.
    """
    given = list(scores)
    numbers = {detector: _number(editor, detector) for detector in dict.fromkeys(score.detector for _, score in given)}
    rows = [(seq, numbers[one.detector], one.objects.astype("<f4").tobytes(), one.faint) for seq, one in given]
    editor.executemany("INSERT OR REPLACE INTO scores(seq, detector, objects, faint) VALUES(?, ?, ?, ?)", rows)
    if rows:
        editor.execute("UPDATE facts SET value = value + 1 WHERE name = 'scoring'")


def _number(editor: sqlite3.Connection, detector: Detector) -> int:
    """Return the number of a detector, entered if it is new. Raises InvalidArgument for other classes."""
    labels = json.dumps(detector.labels, ensure_ascii=False)
    number, stored = NOTES.enter_version(editor, detector.version, labels)
    if stored != labels:
        raise InvalidArgument(
            f"the detector {detector.version} is stored with the classes {stored:.200}, now it has {labels:.200}; "
            "give a detector with other classes another version"
        )
    return number


def describe_frames(editor: sqlite3.Connection, descriptors: Iterable[tuple[int, np.ndarray]]) -> None:
    """Enter the descriptors of frames, each (seq, float16 [C]). Call it inside a transaction."""
    rows = [(seq, vector.astype("<f2").tobytes()) for seq, vector in descriptors]
    editor.executemany("INSERT OR REPLACE INTO descriptors(seq, descriptor) VALUES(?, ?)", rows)


def forget(editor: sqlite3.Connection, seq: int) -> None:
    """Remove what is stored of a frame that is being deleted. Call it inside a transaction."""
    editor.execute("DELETE FROM scores WHERE seq = ?", (seq,))
    editor.execute("DELETE FROM descriptors WHERE seq = ?", (seq,))


# --------------------------------------------------------------------------------------------------------- reading


def stored(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, Score]:
    """Return the scores of some frames by seq; an unscored frame is missing."""
    found: dict[int, Score] = {}
    if not NOTES.kept(connection):
        return found
    detectors = {number: detector for number, detector in _detectors(connection)}
    for some in _portions(seqs):
        marks = ",".join("?" * len(some))
        for seq, number, blob, faint in connection.execute(
            f"SELECT seq, detector, objects, {faint_in(connection)} FROM scores WHERE seq IN ({marks})", some
        ):
            found[seq] = Score(detectors[number], objects_of(blob), faint)
    return found


def faint_in(connection: sqlite3.Connection) -> str:
    """Return the column `faint` in SQL. An older catalogue in a folder that cannot be written has none, so NULL."""
    return "faint" if pragma(connection, "user_version") >= 5 else "NULL"


def objects_of(blob: bytes) -> np.ndarray:
    """Return objects, float32 [m, 16], from the bytes in which they are stored."""
    return np.frombuffer(blob, "<f4").reshape(-1, COLUMNS)


def descriptors(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the descriptors, float32 [C], of some frames by seq. Frames of format 1 have none and are missing."""
    found: dict[int, np.ndarray] = {}
    if not NOTES.kept(connection):
        return found
    for some in _portions(seqs):
        marks = ",".join("?" * len(some))
        for seq, blob in connection.execute(f"SELECT seq, descriptor FROM descriptors WHERE seq IN ({marks})", some):
            found[seq] = np.frombuffer(blob, "<f2").astype(np.float32)
    return found


def described(
    table: Table,
    connection: sqlite3.Connection,
    rows: Sequence[int],
    objects: bool = False,
    served: Detector | None = None,
) -> list[dict[str, Any]]:
    """Return frames as a caller sees them: the row, and what a detector found.

    rows: of the table. objects: whether each object is told, too. served: the detector of this server, which says which
    uncertainties it gives where a frame has no object to tell it; None if there is none.
    """
    seqs = [int(table.rows["seq"][row]) for row in rows]
    found = stored(connection, seqs)
    empty = {score.detector.version for score in found.values() if not len(score.objects)}
    given = {version: _given(connection, version, served) for version in empty}
    return [
        {**table.described(row), **_told(found.get(seq), objects, given)} for row, seq in zip(rows, seqs, strict=True)
    ]


def listed(table: Table, connection: sqlite3.Connection, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return frames as `described` does, but of a detector only its version and how many objects it found: a page of a
    thousand summaries would cost fifty times its frames.
    """
    seqs = [int(table.rows["seq"][row]) for row in rows]
    found: dict[int, tuple[str, int]] = {}
    if NOTES.kept(connection):
        for some in _portions(seqs):
            marks = ",".join("?" * len(some))
            for seq, version, size in connection.execute(
                "SELECT seq, version, length(objects) FROM scores JOIN detectors USING(detector) "
                f"WHERE seq IN ({marks})",
                some,
            ):
                found[seq] = version, size // (4 * COLUMNS)
    described = []
    for row, seq in zip(rows, seqs, strict=True):
        version, count = found.get(seq, (None, None))
        described.append({**table.described(row), "detector": version, "object_count": count})
    return described


def _given(connection: sqlite3.Connection, version: str, served: Detector | None) -> tuple[str, ...] | None:
    """Return the types of uncertainty that a version of a detector gives, as of `Summary`.

    A version that is not served is known by the objects that it found in other frames.
    """
    if served is not None and served.version == version:
        return served.given
    query = (
        "SELECT objects FROM scores JOIN detectors USING(detector) WHERE version = ? AND length(objects) > 0 LIMIT 1"
    )
    row = connection.execute(query, (version,)).fetchone()
    return None if row is None else Detections.from_array(objects_of(row[0])).known()


def _told(score: Score | None, objects: bool, given: Mapping[str, tuple[str, ...] | None]) -> dict[str, Any]:
    """Return what the caller sees of a score. given: version -> types, as of `_given`, for a frame without objects."""
    if score is None:
        return {"detector": None, "summary": None, **({"objects": None} if objects else {})}
    version, labels = score.detector.version, score.detector.labels
    found = score.detections()
    types = None if len(found) else given[version]
    told = {"detector": version, "summary": json.loads(Summary.of(found, labels, model=version, given=types).to_json())}
    return {**told, "objects": [_object(row, labels) for row in score.objects.tolist()]} if objects else told


def _object(row: list[float], labels: Sequence[str]) -> dict[str, Any]:
    """Return one object as JSON."""
    values = [None if value != value else value for value in row]  # JSON has no NaN
    return {
        "label": labels[int(row[0])],
        "score": values[1],
        "box": values[2:6],
        "box_uncertainties": values[6:14],
        "class_uncertainties": values[14:],
    }


def detector_of(connection: sqlite3.Connection, version: str) -> tuple[int, Detector] | None:
    """Return the number in the catalogue and the detector of a version; None if it has scored no frame here."""
    if NOTES.kept(connection):
        for number, detector in _detectors(connection):
            if detector.version == version:
                return number, detector
    return None


def _detectors(connection: sqlite3.Connection) -> list[tuple[int, Detector]]:
    """Return all detectors with their numbers."""
    found = connection.execute("SELECT detector, version, labels FROM detectors")
    return [(number, Detector(version, tuple(json.loads(labels)))) for number, version, labels in found]


def _portions(seqs: Sequence[int]) -> Iterable[list[int]]:
    """Yield the seqs in portions that fit into one query."""
    for start in range(0, len(seqs), 500):
        yield [int(seq) for seq in seqs[start : start + 500]]
