"""What of a request has no effect, which its answer says: a name that nothing has must not pass in silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sluice.frames import Search

MOST = 100  # values of one entry; `count` tells how many there are

NAMES = {"drives": "drive", "cameras": "camera", "tags": "tag", "exclude": "id"}  # filter -> what it names


class Frames(Protocol):
    """The frames that a request is about. what: one of them in words."""

    what: str

    def missing(self, kind: str, names: Sequence[str]) -> list[str]:
        """Return those of the names that no frame has. kind: "id", "drive", "camera" or "tag"."""

    def timeless(self) -> int:
        """Count the frames without a time."""


def entry(option: str, why: str, values: Sequence[str] = ()) -> dict[str, Any]:
    """Say that an option, or some of its values, had no effect. Returns option, why, values (the first `MOST`) and
    count (of all values)."""
    return {"option": option, "why": why, "values": list(values[:MOST]), "count": len(values)}


def named(frames: Frames, option: str, kind: str, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return an entry where no frame has some of the names of an option, else nothing."""
    missing = frames.missing(kind, list(dict.fromkeys(names)))
    return (
        [entry(option, f"no {frames.what} has such {'an' if kind == 'id' else 'a'} {kind}", missing)] if missing else []
    )


def filters(frames: Frames, search: Search) -> list[dict[str, Any]]:
    """Return an entry per filter that names what no frame has, and one for the frames that a filter by time cannot
    judge."""
    told = []
    for option, kind in NAMES.items():
        told += named(frames, option, kind, getattr(search, option) or ())
    timed = [name for name in ("after", "before") if getattr(search, name) is not None]
    if timed and (count := frames.timeless()):
        each = f"{count:,} {frames.what}{'s have' if count > 1 else ' has'} no time and cannot pass"
        told += [entry(name, each) for name in timed]
    return told
