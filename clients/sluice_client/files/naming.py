"""Names of the files that a command writes for many pictures: one each, none twice, none that is an input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InvalidRequest
from .image_files import ENDINGS as _PICTURES

__all__ = ["below", "distinct", "keep_inputs", "stored"]

LONGEST = 240  # bytes of a name without its ending; file systems take 255 with it
_ENDING = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
_FORBIDDEN = '\\:*?"<>|'  # what some file system or other does not take


def distinct(names: Sequence[str], endings: Sequence[str] | None = None) -> list[str]:
    """Number the names that occurred before: a, a, b become a, a-2, b. A number that makes a name of another is passed
    over: a, a, a-2 become a, a-3, a-2. endings: what the names end with in the answer; names that differ in these are
    two. Names that differ in upper and lower case alone count as one, since file systems may take them so; the last
    part of a name is cut to `LONGEST` bytes."""
    endings = [""] * len(names) if endings is None else endings
    whole = [(_short(name), ending) for name, ending in zip(names, endings, strict=True)]
    taken = {(name + ending).casefold() for name, ending in whole}
    used: set[str] = set()
    found = []
    for name, ending in whole:
        fresh, number = name + ending, 1
        while fresh.casefold() in used or (number > 1 and fresh.casefold() in taken):
            number += 1
            fresh = _short(name, f"-{number}") + ending
        used.add(fresh.casefold())
        found.append(fresh)
    return found


def stored(formats: Mapping[str, str | None]) -> dict[str, str]:
    """The name of a file for each stored frame, with an ending: that of its id, if pictures have it, else of its
    format. Distinct, and of what every file system takes. formats: id -> "jpeg", "png", "webp" or None, not known."""
    names, endings = [], []
    for id, format in formats.items():
        name, ending = safe(id), ""
        if name.lower().endswith(_PICTURES):
            name, dot, last = name.rpartition(".")
            ending = dot + last
        names.append(name or "_")
        endings.append(ending or _ENDING.get(format or "", ""))
    return dict(zip(formats, distinct(names, endings), strict=True))


def below(given: Iterable[str], images: Sequence[Path]) -> list[str]:
    """Where each picture's output goes, below the folder of outputs and without its ending: as the picture lies in the
    folder that was given, else by its name. Distinct, and of what every file system takes."""
    folders = [Path(path) for path in given if Path(path).is_dir()]
    found = []
    for image in images:
        inside = next((folder for folder in folders if image.is_relative_to(folder)), image.parent)
        found.append(str(image.relative_to(inside).with_suffix("")))
    return distinct([safe(name) for name in found])


def safe(name: str) -> str:
    """A relative path that stays below its folder, of signs that file systems take."""
    plain = "".join(c if c not in _FORBIDDEN and (c.isprintable() or _stray(c)) else "_" for c in name)
    return plain.replace("..", "_").lstrip("/") or "_"


def _stray(sign: str) -> bool:
    """Whether this stands for a byte of a file name that is none of its encoding."""
    return "\udc80" <= sign <= "\udcff"


def _short(name: str, more: str = "") -> str:
    """`name` with `more` at its end, the last part cut so that it fits."""
    folder, slash, last = name.rpartition("/")
    room = LONGEST - len(more)
    data = os.fsencode(last)
    if len(data) > room:
        # Cut between two signs: what is left of half a sign is none.
        last = data[:room].decode("utf-8", "ignore") or "_"
    return f"{folder}{slash}{last}{more}"


def keep_inputs(outputs: Iterable[Path], inputs: Iterable[Path], option: str) -> None:
    """Raises InvalidRequest where an output would take the place of an input, or of another output that stands among
    them. Asked before the work."""
    places = {path.resolve(): path for path in inputs}
    for output in outputs:
        if (there := places.get(output.resolve())) is not None:
            raise InvalidRequest(
                f"{option}: {output} would take the place of {there}; write to another place.",
            )
