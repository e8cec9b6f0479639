"""A stored frame and a rectangle in its image. Coordinates are pixels of the caller's image, x right, y down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Box", "Frame"]


class Box(NamedTuple):
    """A rectangle; the image covers [0, width] x [0, height]."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Frame:
    """What the gallery knows about a frame.

    time: seconds, in whatever epoch the caller chose when adding.
    more: what this server says besides.
    """

    id: str
    drive: str = ""
    camera: str = ""
    time: float | None = None
    tags: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Frame:
        known = {name: value[name] for name in _FRAME_FIELDS if value.get(name) is not None}
        known["tags"] = tuple(known.get("tags", ()))
        return cls(**known, more={name: v for name, v in value.items() if name not in _FRAME_FIELDS})

    def as_json(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _FRAME_FIELDS}
        return {**own, "tags": list(self.tags), **self.more}


_FRAME_FIELDS = ("id", "drive", "camera", "time", "tags", "width", "height", "sha256")
