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

    score:  `z` in one number, by the option `aggregate`; standard deviations above the pool.
    z, maxima: NaN for an image in which no object was found.
    z:      for each type, how many standard deviations the objects of the image lie above the mean over all objects of
            the pool: their sum, mean or maximum, by the option `over_objects`.
    maxima: for each type, the maximum over the objects of the image.
    reason: one sentence that tells how far above the pool, how much of it labels mend, and which object stands out.
    frame:  what the gallery, or the caller's candidate, says about the image; None if nothing.
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

    without_objects: ids of images in which the detector found nothing, and that nothing else ranked.
    unscored:   ids of images that this version of the detector has not scored; `sluice score` does it.
    statistics: mean and standard deviation of each type over the pool, with the versions of detector and pool. Given
                back as the option `statistics`, it makes `select` judge by the same pool.
    searched:   the counts of the search: frames (scored frames of the pool), reached, without_objects and unscored (how
                many there are, while the lists above may be cut), empty_ranked (images without an object that were
                ranked), faintless (those that an older server scored, so that they could not be), seconds, remedy,
                frozen, judged_by; ranked_by: "score_entropy" for a detector that gives no uncertainties.
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
        """Tell whether the images were judged by another pool than their own; `statistics` says which."""
        return bool(self.searched.get("frozen"))

    @property
    def by_entropy(self) -> bool:
        """Tell whether the binary entropy of the scores ranked the images, as the detector gives no uncertainties."""
        return self.searched.get("ranked_by") == "score_entropy"

    @property
    def no_effect(self) -> tuple[NoEffect, ...]:
        """Return the options or values that had no effect, such as labelled ids that are not stored."""
        return NoEffect.of(self.searched)

    @property
    def other_pool(self) -> str:
        """Describe the other pool that the images were judged by, with `frozen`; else return ""."""
        if not self.frozen:
            return ""
        by = self.searched.get("judged_by") or {}
        pools = ", ".join(map(str, by.get("pool", ())))
        return f"another pool ({pools}: {by.get('frames', 0):,} frames, {by.get('objects', 0):,} objects)"

    def told(self) -> str:
        """Write in one line how many were picked, how many could not be ranked, and what to do about these."""
        said = f"{len(self.picks):,} picked" + (f" of {self.searched['frames']:,}" if "frames" in self.searched else "")
        said += "; by the binary entropy of the score: the detector gives no uncertainties" if self.by_entropy else ""
        said += f"; judged by {self.other_pool}" if self.frozen else ""
        ranked = self.searched.get("empty_ranked", 0)
        said += f"; {ranked:,} without an object are ranked by boxes too faint for one" if ranked else ""
        empty = self.searched.get("without_objects", len(self.without_objects))
        said += f"; {empty:,} without an object" if empty else ""
        unscored = self.searched.get("unscored", len(self.unscored))
        said += f"; {unscored:,} not scored" if unscored else ""
        return said + (f": {self.searched['remedy']}" if self.searched.get("remedy") else "")

    @property
    def ids(self) -> list[str]:
        """Return the ids of the picks, in their order."""
        return [pick.id for pick in self.picks]
