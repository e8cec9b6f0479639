"""Which of the stored frames are meant: the options that `retrieve`, `select` and `frames` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from . import options
from .errors import InvalidRequest
from .moments import seconds

__all__ = ["Filters", "check"]


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
        raise InvalidRequest(f"after must be earlier than before; got after={after}, before={before}.", status="LOCAL")
