"""Parts of a request that had no effect, such as a drive that no frame has, or an option without meaning beside others.

The server reports them and carries out the rest.
"""

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
    values: the first hundred values without effect; () where the whole option had none.
    count:  how many values had no effect; 0 where the whole option had none.
    """

    option: str
    why: str
    values: tuple[str, ...] = ()
    count: int = 0

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> tuple[NoEffect, ...]:
        """Read them from an answer; older servers report none."""
        return tuple(
            cls(str(one["option"]), str(one["why"]), tuple(map(str, one["values"])), int(one["count"]))
            for one in answer.get("no_effect") or ()
        )

    def as_json(self) -> dict[str, Any]:
        return {"option": self.option, "why": self.why, "values": list(self.values), "count": self.count}

    def __str__(self) -> str:
        """Write a line such as `drives: no stored frame has such a drive: 'nowhere' and 4 more`."""
        named = some(map(repr, self.values), self.count)
        return f"{self.option}: {self.why}" + (f": {named}" if named else "")


def some(names: Iterable[str], count: int | None = None) -> str:
    """Write the first names, and how many more there are.

    count: how many there are in all, where `names` holds fewer; None if it holds all.
    """
    names = list(names)
    more = (len(names) if count is None else count) - len(names[:_SHOWN])
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
