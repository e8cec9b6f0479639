"""What a search reads of each shard, and how its result becomes an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sluice import matching
from sluice.gallery.frames import Found, Search
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

    def spread(self, values: np.ndarray) -> np.ndarray:
        """[m] values as the scan wants them: one a slot of the block."""
        spread = np.zeros(len(self.block.codes), values.dtype)
        spread[self.slots] = values
        return spread


def scan(members: list[Member], templates: matching.Templates, search: Search, threads: int) -> engine.Result:
    """The best of all members' frames."""
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
    )


def found(table: Table, members: list[Member], result: engine.Result, seconds: float) -> Found:
    """The answer to a search, from what the scan says of its members."""
    rows, features = [], []
    for block, slot in zip(result.block.tolist(), result.row.tolist(), strict=True):
        member = members[block]
        rows.append(int(member.row[np.searchsorted(member.slots, slot)]))
        features.append(member.block.exact[slot].reshape(*member.grid, -1))
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


def nothing(regions: int, seconds: float) -> Found:
    """The answer where no frame passes the filters."""
    empty = np.zeros(0, np.float32)
    return Found((), empty, np.zeros(0, np.int32), np.zeros((0, regions), np.float32), (), (), (), 0, 0, seconds)
