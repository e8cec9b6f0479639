"""The gallery's rows in memory, which follow the catalogue, and the filters over them.

`seq` grows with each new row, `generation` with each row that was deleted or moved. So a reader follows with two small
queries, "rows after seq" and "changes after generation", and never reads the whole catalogue twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sluice.frames import Filter
from sluice.gallery import shards
from sluice.gallery.catalogue import checks, pragma, transaction
from sluice.methods.scan.sums import Sums

COLUMNS = "frames.seq, id, sha256, drive, camera, time, tags, shard, slot, geometry, extent, scale, error"

ROW = np.dtype(
    [
        ("seq", "i8"),
        ("time", "f8"),
        ("drive", "i4"),
        ("camera", "i4"),
        ("model", "i4"),
        ("shard", "i4"),
        ("slot", "i4"),
        ("geometry", "f4", 6),
        ("sha256", "u1", 32),
        ("live", "?"),
    ]
)


# The check sums beside the other columns, if the catalogue has a table for them.
_SUMS = {
    True: "exact_sum, codes_sum FROM frames LEFT JOIN checks ON checks.seq = frames.seq",
    False: "NULL, NULL FROM frames",
}
_CHANGED = "changes LEFT JOIN frames ON frames.seq = changes.seq"


class Names:
    """Texts as small numbers."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.text: list[str] = []

    def add(self, text: str) -> int:
        """Return the number of a text, new or known."""
        if text not in self.number:
            self.number[text] = len(self.text)
            self.text.append(text)
        return self.number[text]

    def mask(self, texts: tuple[str, ...]) -> np.ndarray:
        """Return which of the names are among `texts`, bool [number of names]."""
        mask = np.zeros(len(self.text), bool)
        mask[[self.number[text] for text in texts if text in self.number]] = True
        return mask


class Shard:
    """The catalogue's facts about one shard: arrays [slot], whose entries never change once they are written."""

    def __init__(self, name: str, model: int, h: int, w: int, channels: int) -> None:
        self.name, self.model, self.h, self.w, self.channels = name, model, h, w, channels
        self.slots = 0
        self.scale = np.zeros(0, np.float32)
        self.error = np.zeros(0, np.float32)
        self.extent = np.zeros((0, 4), np.int16)
        self.sums = np.zeros((0, 2), np.int64)  # of features, of codes: sluice.methods.scan.sums
        self.summed = np.zeros(0, bool)  # whether a slot has sums
        self._mapped: dict[str, np.ndarray] = {}
        self._valid: np.ndarray | None = None

    def set(
        self, slots: np.ndarray, scale: np.ndarray, error: np.ndarray, extent: np.ndarray, sums: Sequence[Any]
    ) -> None:
        """Fill in slots. Older arrays stay as they are for those who hold them.

        sums: per slot two numbers, or None if they are not known.
        """
        self.slots = max(self.slots, int(slots.max()) + 1)
        if self.slots > len(self.scale):
            more = max(64, self.slots * 3 // 2) - len(self.scale)
            self.scale = np.concatenate([self.scale, np.zeros(more, np.float32)])
            self.error = np.concatenate([self.error, np.zeros(more, np.float32)])
            self.extent = np.concatenate([self.extent, np.zeros((more, 4), np.int16)])
            self.sums = np.concatenate([self.sums, np.zeros((more, 2), np.int64)])
            self.summed = np.concatenate([self.summed, np.zeros(more, bool)])
        self.sums[slots] = [(0, 0) if pair[0] is None else pair for pair in sums]
        self.summed[slots] = [pair[0] is not None for pair in sums]
        self.scale[slots], self.error[slots], self.extent[slots] = scale, error, extent

    def view(self, folder: Path, kind: str) -> np.ndarray:
        """Return all slots of the codes or the exact features, memory-mapped [slots, P, C]; mapped again after growth.

        Raises FileNotFoundError if a compaction has removed the file, Damaged if it was cut.
        """
        if kind not in self._mapped or len(self._mapped[kind]) < self.slots:
            self._mapped[kind] = shards.view(folder, self.name, kind, self.slots, self.h * self.w, self.channels)
        view = self._mapped[kind][: self.slots]
        if shards.mapped_length(view) < view.nbytes:
            raise shards.short(self.name, kind)
        return view

    def check(self) -> Sums:
        """Return the check sums of all slots."""
        sums = self.sums[: self.slots]
        return Sums(codes=sums[:, 1], exact=sums[:, 0], known=self.summed[: self.slots])

    def valid(self) -> np.ndarray | None:
        """Return the cells that show the image, bool [slots, P]; None if all cells do."""
        if self._valid is None or len(self._valid) < self.slots:
            top, bottom, left, right = (edge[:, None] for edge in self.extent[: self.slots].T)
            y, x = np.arange(self.h), np.arange(self.w)
            rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
            self._valid = (rows[:, :, None] & columns[:, None, :]).reshape(self.slots, -1)
        valid = self._valid[: self.slots]
        return None if valid.all() else valid


class Table:
    """The catalogue's rows in memory. Rows are only appended, and a row's facts about its image never change.

    Not safe for threads. Its owner locks it.
    """

    def __init__(self) -> None:
        self.rows = np.zeros(0, ROW)
        self.n = 0
        self.ids: list[str] = []
        self.tags: list[tuple[str, ...]] = []
        self.row_of: dict[str, int] = {}  # row per id, live ids only
        self.tagged: dict[str, list[int]] = {}
        self.drives, self.cameras, self.models = Names(), Names(), Names()
        self.shards: dict[int, Shard] = {}
        self.last_seq = 0
        self.generation: int | None = None
        self.version: int | None = None
        self._order: list[int] = []
        self._rank = np.zeros(0, np.int64)

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Bring the table to the catalogue's latest commit, as of one snapshot."""
        version = pragma(connection, "data_version")  # changes when another connection has committed
        if version == self.version:
            return
        with transaction(connection, "DEFERRED"):
            self._shards(connection)
            if self.generation is None:
                self.generation = connection.execute("SELECT max(generation) FROM changes").fetchone()[0] or 0
            self._append(connection)
            self._change(connection)
        self.version = version

    def wasteful(self) -> bool:
        """Return whether most rows are deleted ones, so that a new table is worth the reading."""
        return self.n > 1000 and np.count_nonzero(self.rows["live"][: self.n]) < self.n // 2

    def _shards(self, connection: sqlite3.Connection) -> None:
        """Read the shards."""
        versions = dict(connection.execute("SELECT model, version FROM models"))
        found = connection.execute("SELECT shard, name, model, h, w, channels FROM shards").fetchall()
        for shard, name, model, h, w, channels in found:
            if shard not in self.shards:
                self.shards[shard] = Shard(name, self.models.add(versions[model]), h, w, channels)
        for gone in set(self.shards) - {row[0] for row in found}:
            del self.shards[gone]

    def _append(self, connection: sqlite3.Connection) -> None:
        """Read the new rows."""
        cursor = connection.execute(
            f"SELECT {COLUMNS}, {_SUMS[checks(connection)]} WHERE frames.seq > ? ORDER BY frames.seq", (self.last_seq,)
        )
        while chunk := cursor.fetchmany(4096):
            start, self.n = self.n, self.n + len(chunk)
            if self.n > len(self.rows):
                more = max(1024, self.n * 3 // 2) - len(self.rows)
                self.rows = np.concatenate([self.rows, np.zeros(more, ROW)])
            rows = self.rows[start : self.n]
            for i, row in enumerate(chunk):
                seq, id_, sha, drive, camera, when, tags, shard, slot, geometry, *_ = row
                rows[i] = (
                    seq,
                    np.nan if when is None else when,
                    self.drives.add(drive),
                    self.cameras.add(camera),
                    self.shards[shard].model,
                    shard,
                    slot,
                    np.frombuffer(geometry, "<f4"),
                    np.frombuffer(sha, np.uint8),
                    True,
                )
                self.ids.append(id_)
                self.row_of[id_] = start + i
                words = tuple(json.loads(tags)) if tags != "[]" else ()
                self.tags.append(words)
                for word in words:
                    self.tagged.setdefault(word, []).append(start + i)
            self._place(chunk)
            self.last_seq = chunk[-1][0]

    def _place(self, chunk: list[Any]) -> None:
        """Write the shards' facts about some rows."""
        of: dict[int, list[Any]] = {}
        for row in chunk:
            of.setdefault(row[7], []).append(row)
        for shard, group in of.items():
            slots, _, extent, scale, error, *sums = zip(*(row[8:] for row in group), strict=True)
            extents = np.frombuffer(b"".join(extent), "<i2").reshape(-1, 4)
            scales, errors = np.array(scale, np.float32), np.array(error, np.float32)
            self.shards[shard].set(np.array(slots), scales, errors, extents, list(zip(*sums, strict=True)))

    def _change(self, connection: sqlite3.Connection) -> None:
        """Read which rows were deleted or moved."""
        changes = connection.execute(
            f"SELECT generation, changes.seq, {COLUMNS}, {_SUMS[checks(connection)].replace('frames', _CHANGED, 1)} "
            "WHERE generation > ? ORDER BY generation",
            (self.generation,),
        ).fetchall()
        moved = []
        for generation, seq, *row in changes:  # row: COLUMNS, all None where the row is gone
            self.generation = generation
            at = int(np.searchsorted(self.rows["seq"][: self.n], seq))
            if at >= self.n or self.rows["seq"][at] != seq or not self.rows["live"][at]:
                continue
            if row[0] is None:
                self.rows["live"][at] = False
                # A newer row may have the id meanwhile.
                if self.row_of.get(self.ids[at]) == at:
                    del self.row_of[self.ids[at]]
            else:
                self.rows["shard"][at], self.rows["slot"][at] = row[7], row[8]
                moved.append(row)
        if moved:
            self._place(moved)

    # ------------------------------------------------------------------------------------------------ filters

    def select(self, asked: Filter, model: int | None = None) -> np.ndarray:
        """Return the live rows that pass a filter, ascending, as `Filter.passes` judges the frames.

        model: the number of a feature model, whose rows alone are returned; None: rows of any model.
        """
        rows = self.rows[: self.n]
        mask = rows["live"].copy()
        if model is not None:
            mask &= rows["model"] == model
        if asked.drives is not None:
            mask &= self.drives.mask(asked.drives)[rows["drive"]]
        if asked.cameras is not None:
            mask &= self.cameras.mask(asked.cameras)[rows["camera"]]
        if asked.after is not None:
            mask &= rows["time"] >= asked.after  # NaN, which stands for no time, passes neither
        if asked.before is not None:
            mask &= rows["time"] < asked.before
        for tag in asked.tags or ():
            has = np.zeros(self.n, bool)
            has[self.tagged.get(tag, [])] = True
            mask &= has
        for id_ in asked.exclude or ():
            if id_ in self.row_of:
                mask[self.row_of[id_]] = False
        return np.flatnonzero(mask)

    what = "stored frame"  # the table is what `sluice.methods.selection.no_effect` asks about stored frames

    def missing(self, kind: str, names: Sequence[str]) -> list[str]:
        """Return the names that no live frame has. kind: "id", "drive", "camera" or "tag"."""
        if not names:
            return []
        rows = self.rows[: self.n]
        if kind == "id":
            return [name for name in names if name not in self.row_of]
        if kind == "tag":
            return [name for name in names if not rows["live"][self.tagged.get(name, [])].any()]
        known = {"drive": self.drives, "camera": self.cameras}[kind]
        present = np.zeros(len(known.text), bool)
        present[rows[kind][rows["live"]]] = True
        return [name for name in names if name not in known.number or not present[known.number[name]]]

    def lacking(self, field: str) -> int:
        """Return how many live frames have no value in a column of numbers, such as time."""
        rows = self.rows[: self.n]
        return int(np.isnan(rows[field][rows["live"]]).sum())

    # ------------------------------------------------------------------------------------------------ facts

    def versions(self) -> dict[str, int]:
        """Return how many live frames there are per model version."""
        rows = self.rows[: self.n]
        counts = np.bincount(rows["model"][rows["live"]], minlength=len(self.models.text))
        return {name: int(count) for name, count in zip(self.models.text, counts, strict=True) if count}

    def made_by(self) -> set[tuple[str, int]]:
        """Return the versions of feature models that have made live frames, with their channels."""
        live = self.versions()
        made = ((self.models.text[shard.model], shard.channels) for shard in self.shards.values())
        return {one for one in made if one[0] in live}

    def rank(self) -> np.ndarray:
        """Return the place of each row's id among all ids in the order of their characters, int64 [rows]."""
        if len(self._rank) != self.n:
            self._order.extend(range(len(self._order), self.n))
            self._order.sort(key=self.ids.__getitem__)  # nearly sorted already, so this is nearly linear
            self._rank = np.empty(self.n, np.int64)
            self._rank[self._order] = np.arange(self.n)
        return self._rank

    def described(self, row: int) -> dict[str, Any]:
        """Return a row as the caller sees it."""
        record = self.rows[row]
        when = float(record["time"])
        return {
            "id": self.ids[row],
            "sha256": record["sha256"].tobytes().hex(),
            "drive": self.drives.text[record["drive"]],
            "camera": self.cameras.text[record["camera"]],
            "time": None if when != when else when,
            "tags": list(self.tags[row]),
            "width": int(record["geometry"][0]),
            "height": int(record["geometry"][1]),
            "model": self.models.text[record["model"]],
        }
