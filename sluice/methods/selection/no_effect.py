"""Tells which parts of a request have no effect, so that a name that no frame has does not pass in silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Protocol

from sluice.frames import Filter

MOST = 100  # values of one entry; `count` tells how many there are


class Frames(Protocol):
    """The frames that a request is about. what: the word for one of them."""

    what: str

    def missing(self, kind: str, names: Sequence[str]) -> list[str]:
        """Return the names that no frame has. kind: "id", "drive", "camera" or "tag"."""

    def lacking(self, field: str) -> int:
        """Return how many frames have no value in a field of `sluice.frames.Frame`, such as time."""


def entry(option: str, why: str, values: Sequence[str] = ()) -> dict[str, Any]:
    """Return one entry of an answer: an option, or some of its values, had no effect.

    Returns option, why, values (the first `MOST`) and count (of all values).
    """
    return {"option": option, "why": why, "values": list(values[:MOST]), "count": len(values)}


def named(frames: Frames, option: str, kind: str, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return an entry if no frame has some of the names of an option, else nothing."""
    missing = frames.missing(kind, list(dict.fromkeys(names)))
    return (
        [entry(option, f"no {frames.what} has such {'an' if kind == 'id' else 'a'} {kind}", missing)] if missing else []
    )


def filters(frames: Frames, asked: Filter) -> list[dict[str, Any]]:
    """Return an entry per filter that names what no frame has, then one per filter that some frames cannot pass because
    they have no value to judge by. Which filters these are, the fields of `Filter` say."""
    told: list[dict[str, Any]] = []
    given = [one for one in fields(Filter) if getattr(asked, one.name) is not None]
    for one in given:
        if (kind := one.metadata.get("names")) is not None:
            told += named(frames, one.name, kind, getattr(asked, one.name))
    for one in given:
        needed = one.metadata.get("needs")
        if needed is not None and (count := frames.lacking(needed)):
            have = "s have" if count > 1 else " has"
            told.append(entry(one.name, f"{count:,} {frames.what}{have} no {needed} and cannot pass"))
    return told
