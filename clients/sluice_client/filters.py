"""The filters of stored frames: which of them `retrieve`, `select` and `frames` look at.

A new filter is a field of `FilterKeywords` and of `Filter` here, and an option in `terminal.filter_options`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypedDict, Unpack

from . import options
from .errors import InvalidRequest

__all__ = ["Filter", "FilterKeywords", "seconds"]


class FilterKeywords(TypedDict, total=False):
    """The fields of `Filter`, for type checkers and editors."""

    drives: Sequence[str] | None
    cameras: Sequence[str] | None
    after: float | str | None
    before: float | str | None
    tags: Sequence[str] | None
    exclude: Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The filters of stored frames. A filter that is None lets every frame pass.

    drives:  names; a frame passes if its drive is one of them.
    cameras: names; a frame passes if its camera is one of them.
    after:   a frame passes if its time is not earlier. A time is seconds in the epoch of the frames' times, or ISO 8601
             with its zone, such as "2026-03-01T12:00Z", which becomes seconds since 1970.
    before:  a frame passes if its time is earlier.
    tags:    words; a frame passes if it has all of them as tags.
    exclude: ids of frames that do not pass.

    Raises InvalidRequest for a value of another kind, and if `after` is not earlier than `before`.
    """

    drives: Sequence[str] | None = None
    cameras: Sequence[str] | None = None
    after: float | str | None = None
    before: float | str | None = None
    tags: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def __post_init__(self) -> None:
        options.lists(self, "drives", "cameras", "tags", "exclude")
        after, before = seconds("after", self.after), seconds("before", self.before)
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "before", before)
        if after is not None and before is not None and after >= before:
            raise InvalidRequest(f"after must be earlier than before; got after={after}, before={before}.")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the fields: those that a verb's options add to the filters first."""
        return sorted((field.name for field in fields(cls)), key=lambda name: name in FilterKeywords.__annotations__)

    @classmethod
    def of(cls, **given: Unpack[FilterKeywords]) -> Filter:
        """Make the filter of `frames` from its keywords. Raises InvalidRequest for a keyword that is no filter."""
        options.known("frames", cls.names(), given, ("page", "timeout"))
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are not None by their names, as they are sent."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def seconds(name: str, value: float | str | None) -> float | None:
    """Return a time as seconds since 1970, or on whatever clock the caller's numbers are; None stays None.

    name:  of the option, for the sentence of an error.
    value: a finite number, or ISO 8601 with its zone such as "2026-03-01T12:00Z".
    Raises InvalidRequest for anything else, also for a time without a zone.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise InvalidRequest(
                f"{name} must be seconds, or a time with its zone such as 2026-03-01T12:00Z; got {value[:80]!r}.",
            )
        return moment.timestamp()
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise InvalidRequest(f"{name} must be a finite number; got {value!r:.80}.")
    return number
