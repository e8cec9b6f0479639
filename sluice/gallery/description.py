"""Describes a gallery as a JSON object: counts, times, bytes, and which files are damaged at first sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sluice.gallery import embeddings, scores, shards
from sluice.gallery.catalogue import FORMAT, Connection, checks
from sluice.gallery.table import Table


def described(table: Table, reader: Connection, folder: Path) -> dict[str, Any]:
    """Return the description as of `Gallery.describe`. table: refreshed to the reader's latest commit."""
    rows = table.rows[: table.n][table.rows["live"][: table.n]]
    head, join = ("coalesce(head, 0)", "LEFT JOIN checks USING(seq)") if checks(reader) else ("0", "")
    named = reader.execute(
        f"SELECT coalesce(sum(3 * h * w * channels + length + {head}), 0) FROM frames JOIN shards USING(shard) {join}"
    ).fetchone()[0]
    files = shards.size(folder)
    times = rows["time"][np.isfinite(rows["time"])]
    troubles = damaged(reader, folder)
    return {
        "frames": len(rows),
        "versions": table.versions(),
        "detectors": scores.NOTES.counts(reader),
        "embedders": embeddings.NOTES.counts(reader),
        "drives": _counts(rows["drive"], table.drives.text),
        "cameras": _counts(rows["camera"], table.cameras.text),
        "first_time": float(times.min()) if len(times) else None,
        "last_time": float(times.max()) if len(times) else None,
        "shards": len(table.shards),
        "damaged": troubles,
        "bytes": files,
        "unreferenced_bytes": max(0, files - named),
        "format": FORMAT,
    }


def damaged(connection: Connection, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the shards whose files are missing or shorter than the catalogue says: how many frames, and why.

    Changed bytes are not seen here. `upkeep.verify` reads everything, and a search checks what it reads.
    """
    found = {}
    for name, cells, channels, frames, slots, end in connection.execute(
        "SELECT name, h * w, channels, count(*), max(slot) + 1, max(offset + length) "
        "FROM shards JOIN frames USING(shard) GROUP BY shard ORDER BY shard"
    ):
        why = shards.trouble(folder, name, shards.least(slots, cells * channels, end))
        if why is not None:
            found[name] = {"frames": frames, "damage": why}
    return found


def _counts(numbers: np.ndarray, names: list[str]) -> dict[str, int]:
    """Return how often each name occurs, sorted by name, without names that do not occur."""
    counts = np.bincount(numbers, minlength=len(names))
    return {name: int(count) for name, count in sorted(zip(names, counts, strict=True)) if count}
