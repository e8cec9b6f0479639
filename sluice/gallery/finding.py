"""What a search reads of each shard, and how its result becomes an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sluice import matching
from sluice.gallery.frames import FUSE, Found, Search
from sluice.gallery.table import Shard, Table
from sluice.scan import engine


@dataclass(frozen=True)
class Member:
    """A shard as a search sees it. The arrays are this search's own or never change."""

    block: engine.Block
    grid: tuple[int, int]
    row: np.ndarray  # int64 [m], the table's rows that passed the filters, by slot
    slots: np.ndarray  # int64 [m], ascending
    drive: np.ndarray  # int32 [m]
    rank: np.ndarray  # int64 [m]

    @classmethod
    def of(cls, table: Table, shard: Shard, row: np.ndarray, rank: np.ndarray, folder: Path) -> Member:
        """row: the table's rows of this shard that passed; rank: of all rows."""
        row = row[np.argsort(table.rows["slot"][row])]
        block = engine.Block(
            codes=shard.view(folder, "codes"),
            scale=shard.scale[: shard.slots],
            error=shard.error[: shard.slots],
            exact=shard.view(folder, "exact"),
            valid=shard.valid(),
        )
        slots = table.rows["slot"][row].astype(np.int64)
        return cls(block, (shard.h, shard.w), row, slots, table.rows["drive"][row], rank[row])

    def only(self, keep: np.ndarray) -> Member:
        """With some of its rows. keep: bool, of all rows of the table."""
        own = keep[self.row]
        return replace(self, row=self.row[own], slots=self.slots[own], drive=self.drive[own], rank=self.rank[own])

    def spread(self, values: np.ndarray) -> np.ndarray:
        """[m] values as the scan wants them: one a slot of the block."""
        spread = np.zeros(len(self.block.codes), values.dtype)
        spread[self.slots] = values
        return spread


def members_of(table: Table, rows: np.ndarray, rank: np.ndarray, folder: Path) -> list[Member]:
    """The shards in which some rows of the table lie. Raises FileNotFoundError where a compaction moved them."""
    shard = table.rows["shard"][rows]
    return [
        Member.of(table, table.shards[int(number)], rows[shard == number], rank, folder) for number in np.unique(shard)
    ]


def scan(
    members: list[Member],
    templates: matching.Templates,
    search: Search,
    threads: int,
    words: np.ndarray | None = None,
) -> engine.Result:
    """The best of all members' frames. words: float32 [rows of the table], what words say of each, which then has the
    share `search.fuse` of the score."""
    return engine.search(
        [member.block for member in members],
        [member.slots for member in members],
        templates,
        k=search.k,
        threshold=search.threshold,
        form=search.score,
        combine=search.combine,
        groups=[member.spread(member.drive) for member in members],
        limit=search.per_drive,
        rank=[member.spread(member.rank) for member in members],
        threads=threads,
        other=None if words is None else [member.spread(words[member.row]) for member in members],
        share_of_other=FUSE if search.fuse is None else search.fuse,
    )


def found(table: Table, members: list[Member], result: engine.Result, seconds: float) -> Found:
    """The answer to a search, from what the scan says of its members."""
    rows = rows_of(members, result)
    places = zip(result.block.tolist(), result.row.tolist(), strict=True)
    features = [members[block].block.exact[slot].reshape(*members[block].grid, -1) for block, slot in places]
    return Found(
        ids=tuple(table.ids[row] for row in rows),
        scores=result.scores,
        query=result.query,
        roi_scores=result.roi_scores,
        frames=tuple(table.described(row) for row in rows),
        features=tuple(features),
        geometries=tuple(table.rows["geometry"][row].copy() for row in rows),
        searched=result.searched,
        rescored=result.rescored,
        seconds=seconds,
    )


def rows_of(members: list[Member], result: engine.Result) -> list[int]:
    """The table's rows of the frames of a result."""
    places = zip(result.block.tolist(), result.row.tolist(), strict=True)
    return [int(members[block].row[np.searchsorted(members[block].slots, slot)]) for block, slot in places]


def nothing(regions: int, seconds: float) -> Found:
    """The answer where no frame passes the filters."""
    empty = np.zeros(0, np.float32)
    return Found((), empty, np.zeros(0, np.int32), np.zeros((0, regions), np.float32), (), (), (), 0, 0, seconds)
