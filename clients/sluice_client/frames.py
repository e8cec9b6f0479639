"""Holds a stored frame, and a rectangle in its image. Coordinates are pixels of the caller's image, x right, y down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Box", "Frame"]


class Box(NamedTuple):
    """A rectangle in pixels. The whole image is (0, 0, width, height)."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Frame:
    """The facts that the gallery keeps about a frame.

    time:   seconds, in the epoch that the caller chose when adding; None if the time is not known.
    width, height: pixels of the image as it is shown, upright; None if the server does not tell them.
    sha256: of the encoded bytes, 64 hex digits; None if the server does not tell it.
    more:   further fields of the server's answer, by their names.
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
        """Make a frame from the JSON object of an answer; fields that this version does not know go to `more`."""
        known = {name: value[name] for name in _FRAME_FIELDS if value.get(name) is not None}
        known["tags"] = tuple(known.get("tags", ()))
        return cls(**known, more={name: v for name, v in value.items() if name not in _FRAME_FIELDS})

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` reads."""
        own = {name: getattr(self, name) for name in _FRAME_FIELDS}
        return {**own, "tags": list(self.tags), **self.more}


_FRAME_FIELDS = ("id", "drive", "camera", "time", "tags", "width", "height", "sha256")
