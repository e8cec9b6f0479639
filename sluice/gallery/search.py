"""Collects what a search reads of each shard, and turns the scan's result into an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sluice.frames import FUSE, Search
from sluice.gallery import shards
from sluice.gallery.admission import Admit, admit_all, products
from sluice.gallery.answers import Aside, Found
from sluice.gallery.errors import Damaged
from sluice.gallery.table import Shard, Table
from sluice.methods import matching
from sluice.methods.scan import engine
from sluice.process import callers


@dataclass(frozen=True)
class Member:
    """A shard as one search sees it. The arrays are the search's own or never change."""

    block: engine.Block
    grid: tuple[int, int]
    row: np.ndarray  # int64 [m], the table's rows that passed the filters, ordered by slot
    slots: np.ndarray  # int64 [m], ascending
    drive: np.ndarray  # int32 [m]
    rank: np.ndarray  # int64 [m]

    @classmethod
    def of(cls, table: Table, shard: Shard, row: np.ndarray, rank: np.ndarray, folder: Path) -> Member:
        """Return the member of a shard. row: the table's rows of this shard that passed. rank: of all rows."""
        row = row[np.argsort(table.rows["slot"][row])]
        block = engine.Block(
            codes=shard.view(folder, "codes"),
            scale=shard.scale[: shard.slots],
            error=shard.error[: shard.slots],
            exact=shard.view(folder, "exact"),
            valid=shard.valid(),
            sums=shard.check(),
        )
        slots = table.rows["slot"][row].astype(np.int64)
        return cls(block, (shard.h, shard.w), row, slots, table.rows["drive"][row], rank[row])

    def only(self, keep: np.ndarray) -> Member:
        """Return the member with some of its rows. keep: bool, per row of the table."""
        own = keep[self.row]
        return replace(self, row=self.row[own], slots=self.slots[own], drive=self.drive[own], rank=self.rank[own])

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return values [m], one per row, as the scan wants them: one per slot of the block, 0 at other slots."""
        spread = np.zeros(len(self.block.codes), values.dtype)
        spread[self.slots] = values
        return spread


class Look:
    """Finds the shards in which rows lie, and sets damaged shards aside.

    A missing file may have been moved by a compaction after the table was read. A second look with a table that is read
    afterwards tells the two cases apart, because a compaction commits first and removes then.
    """

    def __init__(self) -> None:
        self._missing: set[int] = set()

    def members(self, table: Table, rows: np.ndarray, rank: np.ndarray, folder: Path) -> tuple[list[Member], Aside]:
        """Return the members of some rows of the table, and the rows that are set aside with the reasons.

        Raises FileNotFoundError if a file is missing that was there at the look before. Then look again.
        """
        shard = table.rows["shard"][rows]
        members, aside, missing = [], Aside((), {}), {}
        for number in np.unique(shard).tolist():
            own, at = rows[shard == number], table.shards[number]
            try:
                members.append(Member.of(table, at, own, rank, folder))
                continue
            except FileNotFoundError as error:
                missing[number] = error
                why = f"a file of it is missing; {shards.RESTORE}"
            except Damaged as error:
                why = str(error)
            ids = (table.ids[row] for row in own)
            aside = Aside((*aside.ids, *ids), {**aside.shards, at.name: why})
        fresh, self._missing = set(missing) - self._missing, set(missing)
        for number in fresh:
            raise missing[number]
        return members, aside


def scan(
    members: list[Member],
    templates: matching.Templates,
    search: Search,
    threads: int,
    words: np.ndarray | None = None,
    admit: Admit = admit_all,
) -> engine.Result:
    """Return the best of all members' frames.

    words: float32 [rows of the table], the score by words, which then has the share `search.fuse` of the score; None in
    a search by templates alone. admit: called with the search's cost before the scan begins. Raises what `admit`
    raises, and Cancelled if the caller has gone.
    """
    frames = sum(len(member.slots) for member in members)
    cells = float(sum(len(member.slots) * member.grid[0] * member.grid[1] for member in members))
    shown = search.k * (templates.queries if search.combine == "query" else 1)
    admit(products(frames, cells, templates, shown))
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
        check=callers.checker(),
    )


def found(table: Table, members: list[Member], result: engine.Result, seconds: float, aside: Aside) -> Found:
    """Return the answer to a search from the scan's result. aside: the frames that were left out before the scan."""
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
        aside=_with_damaged(aside, table, members, result.damaged),
    )


def _with_damaged(aside: Aside, table: Table, members: list[Member], damaged: np.ndarray) -> Aside | None:
    """Return the frames that were left out before and during the scan. damaged: [m, 2], block and slot."""
    rows = _rows(members, damaged)
    names = {table.shards[int(table.rows["shard"][row])].name for row in rows}
    why = f"features are not those that were stored; {shards.RESTORE}"
    whole = Aside((*aside.ids, *(table.ids[row] for row in rows)), aside.shards | dict.fromkeys(sorted(names), why))
    return whole if whole.ids else None


def rows_of(members: list[Member], result: engine.Result) -> list[int]:
    """Return the table's rows of a result's frames."""
    return _rows(members, np.stack([result.block, result.row], axis=1))


def _rows(members: list[Member], places: np.ndarray) -> list[int]:
    """Return the table's rows of frames by block and slot, [n, 2]."""
    found = ((members[block], slot) for block, slot in places.tolist())
    return [int(member.row[np.searchsorted(member.slots, slot)]) for member, slot in found]


def nothing(regions: int, seconds: float, aside: Aside) -> Found:
    """Return the answer if no frame passes the filters, or if all frames that pass are set aside."""
    empty, none = np.zeros(0, np.float32), np.zeros(0, np.int32)
    left_out = aside if aside.ids else None
    return Found((), empty, none, np.zeros((0, regions), np.float32), (), (), (), 0, 0, seconds, aside=left_out)
