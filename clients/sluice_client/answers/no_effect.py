"""What of a request had no effect: a drive, camera, tag or id that no frame has, an option that does nothing beside
the others. The server tells it and goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["NoEffect"]

_SHOWN = 3


@dataclass(frozen=True)
class NoEffect:
    """An option of a request, or some of its values, that had no effect.

    why:    in words.
    values: those without effect, the first hundred; count: how many there are. None where the option as a whole is.
    """

    option: str
    why: str
    values: tuple[str, ...] = ()
    count: int = 0

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> tuple[NoEffect, ...]:
        """Read what an answer says; older servers say nothing."""
        return tuple(
            cls(str(one["option"]), str(one["why"]), tuple(map(str, one["values"])), int(one["count"]))
            for one in answer.get("no_effect") or ()
        )

    def as_json(self) -> dict[str, Any]:
        return {"option": self.option, "why": self.why, "values": list(self.values), "count": self.count}

    def __str__(self) -> str:
        """Such as `drives: no stored frame has such a drive: 'nowhere' and 4 more`."""
        named = some(map(repr, self.values), self.count)
        return f"{self.option}: {self.why}" + (f": {named}" if named else "")


def some(names: Iterable[str], count: int | None = None) -> str:
    """The first names, and how many more there are. count: of all, where `names` are fewer."""
    names = list(names)
    more = (len(names) if count is None else count) - len(names[:_SHOWN])
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
