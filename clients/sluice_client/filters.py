"""Which of the stored frames are meant: the options that `retrieve`, `select` and `frames` share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from . import options
from .errors import InvalidRequest

__all__ = ["Filters", "argument", "check", "seconds"]


class Filters(TypedDict, total=False):
    """drives, cameras: any of these names; tags: all of these words; exclude: not these ids. after, before: after <=
    time < before, seconds in the epoch of the frames' time, or ISO 8601 with its zone."""

    drives: Sequence[str] | None
    cameras: Sequence[str] | None
    after: float | str | None
    before: float | str | None
    tags: Sequence[str] | None
    exclude: Sequence[str] | None


def check(of: object) -> None:
    """Check the filters among the fields of a dataclass, and turn its moments into seconds. Raises InvalidRequest."""
    options.lists(of, "drives", "cameras", "tags", "exclude")
    after, before = (seconds(name, getattr(of, name)) for name in ("after", "before"))
    object.__setattr__(of, "after", after)
    object.__setattr__(of, "before", before)
    if after is not None and before is not None and after >= before:
        raise InvalidRequest(f"after must be earlier than before; got after={after}, before={before}.")


def seconds(name: str, value: float | str | None) -> float | None:
    """Return a moment as seconds since 1970 (or on whatever clock the caller's numbers are); None stays None.

    name: of the option, for the sentence of an error.
    value: a finite number, or ISO 8601 with its zone such as "2026-03-01T12:00Z".
    Raises InvalidRequest for anything else, a moment without a zone among them.
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


def argument(text: str) -> float | str:
    """Return the value of an option of the command line as `seconds` takes it: a number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text
