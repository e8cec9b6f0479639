"""The answer of `select`: picks with their scores and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..frames import Frame
from .detect import Uncertainties, number
from .no_effect import NoEffect

__all__ = ["Pick", "Selection"]


@dataclass(frozen=True)
class Pick:
    """An image to label next.

    score:  the z-scores aggregated: how many standard deviations above the pool, as `aggregate` says.
    z:      for each type the image's maximum against mean and standard deviation of all objects of the pool.
    maxima: the image's maxima themselves.
    reason: one sentence: which type, of which class, how far above the pool.
    frame:  what the gallery (or the caller's candidate) says about the image.
    """

    id: str
    score: float
    z: Uncertainties
    maxima: Uncertainties
    reason: str = ""
    frame: Frame | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "score": number(self.score),
            "z": self.z.as_json(),
            "maxima": self.maxima.as_json(),
            "reason": self.reason,
            "frame": None if self.frame is None else self.frame.as_json(),
        }


@dataclass(frozen=True)
class Selection:
    """The answer of `select`: the most uncertain first.

    without_objects: ids of the pool in which the detector found nothing; they have no uncertainty to be ranked by.
    unscored:   ids that no detector, or another version of it, has scored; `sluice score` brings them up.
    statistics: mean and standard deviation of each type over the pool, with the versions of detector and pool; give it
                back as `statistics` to score against the same pool.
    searched:   what the server says besides: frames (scored ones of the pool), reached, without_objects, unscored (all
                of them; the lists may be cut), seconds, remedy, frozen, judged_by.
    """

    picks: tuple[Pick, ...]
    without_objects: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    searched: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    def __iter__(self) -> Iterator[Pick]:
        return iter(self.picks)

    def __len__(self) -> int:
        return len(self.picks)

    @property
    def frozen(self) -> bool:
        """Whether the images were judged by another pool than theirs; `statistics` says which."""
        return bool(self.searched.get("frozen"))

    @property
    def no_effect(self) -> tuple[NoEffect, ...]:
        """What of the options had no effect, such as labelled ids that are not stored."""
        return NoEffect.of(self.searched)

    @property
    def other_pool(self) -> str:
        """With `frozen`, in words: which other pool the images were judged by; else ''."""
        if not self.frozen:
            return ""
        by = self.searched.get("judged_by") or {}
        pools = ", ".join(map(str, by.get("pool", ())))
        return f"another pool ({pools}: {by.get('frames', 0):,} frames, {by.get('objects', 0):,} objects)"

    def told(self) -> str:
        """In one line for a person: how many were picked, how many could not be ranked, and what to do about it."""
        said = f"{len(self.picks):,} picked" + (f" of {self.searched['frames']:,}" if "frames" in self.searched else "")
        said += f"; judged by {self.other_pool}" if self.frozen else ""
        empty = self.searched.get("without_objects", len(self.without_objects))
        said += f"; {empty:,} without an object" if empty else ""
        unscored = self.searched.get("unscored", len(self.unscored))
        said += f"; {unscored:,} not scored" if unscored else ""
        return said + (f": {self.searched['remedy']}" if unscored and self.searched.get("remedy") else "")

    @property
    def ids(self) -> list[str]:
        return [pick.id for pick in self.picks]
