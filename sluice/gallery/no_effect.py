"""Tells which parts of a search, or of a page of the list, have no effect on the gallery."""

from __future__ import annotations

from typing import Any

from sluice.frames import Filter, Search
from sluice.gallery.store import Gallery
from sluice.methods.selection import no_effect


def filters(gallery: Gallery, asked: Filter) -> list[dict[str, Any]]:
    """Return an entry per filter that has no effect on the stored frames, as `selection.no_effect.filters` does."""
    with gallery.reading():
        return no_effect.filters(gallery.table(), asked)


def options(search: Search, regions: int, texts: int) -> list[dict[str, Any]]:
    """Return an entry per option of a search that has no effect with so many regions and texts. An option that has its
    default is left out, because the caller may not have asked for it."""
    told = []
    if not regions:
        if search.score != "roi":
            told.append(no_effect.entry("score", "it is about regions, and none were given"))
        if search.heatmaps == "all":
            told.append(no_effect.entry("heatmaps", "they are drawn of regions, and none were given"))
    if search.combine == "max" and regions <= 1 and texts <= 1:
        told.append(no_effect.entry("combine", "there is one region or text, whose score stands alone"))
    return told
