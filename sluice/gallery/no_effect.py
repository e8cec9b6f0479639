"""What of a search, or of a page of the list, had no effect on the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sluice.frames import Search
from sluice.gallery.catalogue import translated
from sluice.gallery.store import Gallery
from sluice.gallery.table import Table
from sluice.methods.selection import no_effect


class Stored:
    """The live frames of a table, as `sluice.methods.selection.no_effect.Frames`."""

    what = "stored frame"

    def __init__(self, table: Table) -> None:
        self.table, self.rows = table, table.rows[: table.n]

    def missing(self, kind: str, names: Sequence[str]) -> list[str]:
        """Return those of the names that no live frame has."""
        if not names:
            return []
        if kind == "id":
            return [name for name in names if name not in self.table.row_of]
        if kind == "tag":
            live, tagged = self.rows["live"], self.table.tagged
            return [name for name in names if not live[tagged.get(name, [])].any()]
        known = self.table.drives if kind == "drive" else self.table.cameras
        present = np.zeros(len(known.text), bool)
        present[self.rows[kind][self.rows["live"]]] = True
        return [name for name in names if name not in known.number or not present[known.number[name]]]

    def timeless(self) -> int:
        """Count the live frames without a time."""
        return int(np.isnan(self.rows["time"][self.rows["live"]]).sum())


def filters(gallery: Gallery, search: Search) -> list[dict[str, Any]]:
    """Say which filters of a search name what no stored frame has; entries as of `selection.no_effect.entry`."""
    with gallery._read_lock, translated():
        return no_effect.filters(Stored(gallery._follow()), search)


def options(search: Search, regions: int, texts: int) -> list[dict[str, Any]]:
    """Say which options of a search have no effect with so many regions and texts. What has its default is not told,
    since nobody need have asked for it."""
    told = []
    if not regions:
        if search.score != "roi":
            told.append(no_effect.entry("score", "it is about regions, and none were given"))
        if search.heatmaps == "all":
            told.append(no_effect.entry("heatmaps", "they are drawn of regions, and none were given"))
    if search.combine == "mean" and regions <= 1 and texts <= 1:
        told.append(no_effect.entry("combine", "there is one region or text, whose score stands alone"))
    return told
