"""A frame as a caller describes it, and a search over stored frames with its filters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.options import parsed

MAX_ID = 256  # characters of an id, a drive, a camera, a tag
MAX_TAGS = 64
MAX_K = 10_000
FORMS = ("roi", "image", "mean", "area")
COMBINATIONS = ("max", "mean", "query")
HEATMAPS = (True, False, "all")
FUSE = 0.5


@dataclass(frozen=True)
class Frame:
    """What the caller says about one picture. Raises InvalidArgument when a field is not what it must be."""

    id: str | None = None  # None: the first 16 hexadecimal digits of the picture's SHA-256
    drive: str = ""
    camera: str = ""
    time: float | None = None  # seconds, on the caller's clock; None: not known
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.id is not None and not is_name(self.id):
            raise InvalidArgument(f"id is {_NAME}, or null to take one from the picture; got {self.id!r:.80}")
        for key in ("drive", "camera"):
            if getattr(self, key) != "" and not is_name(getattr(self, key)):
                raise InvalidArgument(f"{key} is {_NAME}, or '' if there is none; got {getattr(self, key)!r:.80}")
        object.__setattr__(self, "time", _seconds("time", self.time))
        tags = _strings("tags", self.tags)
        if len(tags) > MAX_TAGS or not all(map(is_name, tags)):
            raise InvalidArgument(f"tags are at most {MAX_TAGS}, each {_NAME}; got {list(tags)!r:.80}")
        object.__setattr__(self, "tags", tuple(dict.fromkeys(tags)))

    def differs(self, stored: Frame) -> dict[str, dict[str, Any]]:
        """What this says otherwise than the stored frame of the same picture: field -> {"given", "stored"}. What is
        left out (no id, drive, camera, time or tags) says nothing, nor does the order of tags."""
        told: dict[str, dict[str, Any]] = {}
        for name in ("id", "drive", "camera", "time"):
            given, kept = getattr(self, name), getattr(stored, name)
            if given not in (None, "") and given != kept:
                told[name] = {"given": given, "stored": kept}
        if self.tags and set(self.tags) != set(stored.tags):
            told["tags"] = {"given": list(self.tags), "stored": list(stored.tags)}
        return told

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Frame:
        """From a JSON object (or one already parsed) with some of the fields; unknown keys are refused."""
        return cls(**_known(cls, "a frame", text))


@dataclass(frozen=True)
class Search:
    """What to look for. A filter that is None lets every frame pass; a list that is empty lets none pass (but no tags
    asks for nothing). Raises InvalidArgument when a field is not what it must be."""

    k: int = 10  # most frames in the answer; with combine='query', for each query
    threshold: float | None = None  # least score, inclusive
    score: str = "roi"  # roi, image, mean or area: see sluice.methods.matching.scoring
    combine: str = "max"  # max, mean or query: see sluice.methods.matching.scoring
    drives: tuple[str, ...] | None = None  # any of these
    cameras: tuple[str, ...] | None = None  # any of these
    # Moments: seconds, or ISO 8601 with its zone, which becomes seconds since 1970.
    after: float | None = None  # after <= time; a frame without a time never passes
    before: float | None = None  # time < before
    tags: tuple[str, ...] | None = None  # all of these
    exclude: tuple[str, ...] = ()  # not these ids; unknown ones do no harm
    per_drive: int | None = None  # most frames of one drive; those without a drive count as one
    heatmaps: bool | str = (
        True  # what heat maps the verb draws, see sluice.methods.matching.scoring; the gallery does not look at it
    )
    fuse: float | None = None  # share of the words in the score, 0 to 1, where templates are looked for too; None: FUSE

    def __post_init__(self) -> None:
        if not _whole(self.k) or not 1 <= self.k <= MAX_K:
            raise InvalidArgument(f"k is how many frames to return, 1 to {MAX_K:,}; got {self.k!r:.80}")
        if self.per_drive is not None and (not _whole(self.per_drive) or self.per_drive < 1):
            raise InvalidArgument(
                f"per_drive is how many frames of one drive to return, 1 or more, or null for no limit; "
                f"got {self.per_drive!r:.80}"
            )
        if self.score not in FORMS:
            raise InvalidArgument(f"score is one of {', '.join(FORMS)}; got {self.score!r:.80}")
        if self.combine not in COMBINATIONS:
            raise InvalidArgument(f"combine is one of {', '.join(COMBINATIONS)}; got {self.combine!r:.80}")
        if type(self.heatmaps) not in (bool, str) or self.heatmaps not in HEATMAPS:
            raise InvalidArgument(f'heatmaps is true, false or "all"; got {self.heatmaps!r:.80}')
        for key in ("after", "before"):
            object.__setattr__(self, key, _moment(key, getattr(self, key)))
        for key in ("threshold", "fuse"):
            object.__setattr__(self, key, _seconds(key, getattr(self, key)))
        if self.fuse is not None and not 0 <= self.fuse <= 1:
            raise InvalidArgument(
                f"fuse is the share of the words in the score, 0 to 1, or null; got {self.fuse!r:.80}"
            )
        for key in ("drives", "cameras", "tags", "exclude"):
            value = getattr(self, key)
            if value is None and key != "exclude":
                continue
            object.__setattr__(self, key, _strings(key, value or ()))

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Search:
        """From a JSON object (or one already parsed) with some of the fields; unknown keys are refused."""
        return cls(**_known(cls, "a search", text))


_NAME = f"a text of 1 to {MAX_ID} characters without control characters"


def is_name(value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        return False
    return all(c >= " " and c != "\x7f" and not "\ud800" <= c <= "\udfff" for c in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _seconds(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    raise InvalidArgument(f"{key} is a finite number or null; got {value!r:.80}")


def _moment(key: str, value: Any) -> float | None:
    if not isinstance(value, str):
        return _seconds(key, value)
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.timestamp()
    raise InvalidArgument(f"{key} is seconds, or a time with its zone such as 2026-03-01T12:00Z; got {value!r:.80}")


def _strings(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"{key} is a list of texts; got {value!r:.80}")
    return tuple(value)


def _known(cls: Callable[..., Any], what: str, text: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    """The object's fields, all of which `cls` has."""
    if isinstance(text, str | bytes):
        text = parsed(text or "{}", f"what describes {what}")
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # a dataclass
    if not isinstance(text, Mapping):
        raise InvalidArgument(f"{what} is described by a JSON object with {', '.join(names)}; got {text!r:.80}")
    unknown = sorted(set(map(str, text)) - set(names))
    if unknown:
        raise InvalidArgument(f"{what} has no {', '.join(unknown)!s:.200}; it knows {', '.join(names)}")
    return dict(text)
