"""Moments as callers write them: seconds since 1970, or ISO 8601 with its zone."""

from __future__ import annotations

import math
from datetime import datetime

from .errors import InvalidRequest

__all__ = ["argument", "seconds"]


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
                status="LOCAL",
            )
        return moment.timestamp()
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise InvalidRequest(f"{name} must be a finite number; got {value!r:.80}.", status="LOCAL")
    return number


def argument(text: str) -> float | str:
    """Return the value of an option of the command line as `seconds` takes it: a number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text
