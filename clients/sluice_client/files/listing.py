"""Finds images of a list by names that hold more or less of the path than the list does.

`rig/front/000066.jpg`, `front/000066.jpg`, `000066.jpg` and `000066` may be the same image; `front/000066.jpg` and
`rear/000066.jpg` never are. So one of the two paths must be the end of the other, and no two names get the same image.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from ..errors import InvalidRequest

__all__ = ["Listed"]

_ENDING = re.compile(r"(?<=.)\.[A-Za-z]\w{1,4}$")
_SHOWN = 3


class Listed:
    """A list of images. paths: of the images. what: the list in words for error messages, such as "the COCO file"."""

    def __init__(self, paths: Iterable[str], what: str):
        self.what = what
        self._paths: set[str] = set()
        self._twice: set[str] = set()
        self._called: dict[str, list[str]] = defaultdict(list)  # last part without its ending -> paths
        for path in paths:
            if path in self._paths:
                self._twice.add(path)
                continue
            self._paths.add(path)
            self._called[_ENDING.sub("", _parts(path)[-1])].append(path)

    def find(self, name: str) -> str:
        """Return the path of the list that `name` means.

        That is `name` itself where the list has it, else the path that ends with `name` or with which `name` ends;
        endings such as .jpg need not agree. Raises InvalidRequest where there is no such path, or more than one.
        """
        if name in self._twice:
            raise _wrong(f"{self.what} lists {name!r} twice; leave one out.")
        if name in self._paths:
            return name
        parts = _parts(name)
        called = self._called.get(_ENDING.sub("", parts[-1]), [])
        found: dict[tuple[int, bool], list[str]] = defaultdict(list)
        for path in called:
            other = _parts(path)
            shared = min(len(parts), len(other))
            if parts[-shared:-1] == other[-shared:-1]:
                found[shared, parts[-1] == other[-1]].append(path)
        if not found:
            elsewhere = f"; {_some(called)} lies in another folder" if called else ""
            raise _wrong(
                f"{self.what} has no picture {name!r}{elsewhere}. Let the names agree from some folder on, or leave "
                "the picture out."
            )
        best = found[max(found)]
        if len(best) > 1 or best[0] in self._twice:
            raise _wrong(f"{name!r} may be any of several in {self.what}: {_some(best)}. Give more of the path.")
        return best[0]

    def each(self, names: Iterable[str]) -> dict[str, str | InvalidRequest]:
        """Return for each name the path that it means, or an error. Names that mean the same path all get an error."""
        meant: dict[str, str | InvalidRequest] = {}
        for name in dict.fromkeys(names):
            try:
                meant[name] = self.find(name)
            except InvalidRequest as error:
                meant[name] = error
        owners: dict[str, list[str]] = defaultdict(list)
        for name, path in meant.items():
            if isinstance(path, str):
                owners[path].append(name)
        for path, several in owners.items():
            if len(several) > 1:
                told = f"{_some(several)} would both be {path!r} of {self.what}. Give its names more of the path."
                meant |= {name: _wrong(told) for name in several}
        return meant


def _parts(path: str) -> list[str]:
    """Split a path that was written on any system into its parts."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [path]


def _some(names: list[str]) -> str:
    """Write the first names, and how many more there are."""
    shown = " and ".join(map(repr, sorted(names)[:_SHOWN]))
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _wrong(message: str) -> InvalidRequest:
    """Return the error with a capital first letter, because some messages begin with `Listed.what`."""
    return InvalidRequest(message[0].upper() + message[1:])
