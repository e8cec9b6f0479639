"""Names the files that a command writes for many images: one name each, none twice, none that is an input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InvalidRequest
from .image_files import ENDINGS as _PICTURES

__all__ = ["below", "distinct", "keep_inputs", "stored"]

LONGEST = 240  # bytes of a name without its ending; file systems allow 255 with the ending
_ENDING = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
_FORBIDDEN = '\\:*?"<>|'  # characters that some file systems do not allow


def distinct(names: Sequence[str], endings: Sequence[str] | None = None) -> list[str]:
    """Number the names that occurred before: a, a, b become a, a-2, b.

    A number is skipped when the result is another of the names: a, a, a-2 become a, a-3, a-2. Names that differ in case
    alone count as the same, as in some file systems. The last part of a name is cut to `LONGEST` bytes.

    endings: one per name, added to it in the answer; names with different endings count as different. None for names
             without endings.
    """
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
    """Return the name of a file for each stored frame: distinct, and valid in every file system.

    The ending is that of the id where it is one of images, else that of the format.
    formats: id -> "jpeg", "png" or "webp", or None where the format is not known.
    """
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
    """Return where the output of each image goes: a path below the folder of outputs, without an ending.

    The path is that of the image inside the folder of `given` which holds it; for an image that was given by itself it
    is its name. All paths are distinct and valid in every file system.
    """
    folders = [Path(path) for path in given if Path(path).is_dir()]
    found = []
    for image in images:
        inside = next((folder for folder in folders if image.is_relative_to(folder)), image.parent)
        found.append(str(image.relative_to(inside).with_suffix("")))
    return distinct([safe(name) for name in found])


def safe(name: str) -> str:
    """Return the name as a relative path that stays below its folder, without characters that file systems forbid."""
    plain = "".join(c if c not in _FORBIDDEN and (c.isprintable() or _stray(c)) else "_" for c in name)
    return plain.replace("..", "_").lstrip("/") or "_"


def _stray(sign: str) -> bool:
    """Tell whether a character stands for a byte of a file name that could not be decoded (PEP 383)."""
    return "\udc80" <= sign <= "\udcff"


def _short(name: str, more: str = "") -> str:
    """Return `name` with `more` at its end, its last part cut so that both have at most `LONGEST` bytes."""
    folder, slash, last = name.rpartition("/")
    room = LONGEST - len(more)
    data = os.fsencode(last)
    if len(data) > room:
        # The cut may lie inside a character; its remaining bytes are dropped.
        last = data[:room].decode("utf-8", "ignore") or "_"
    return f"{folder}{slash}{last}{more}"


def keep_inputs(outputs: Iterable[Path], inputs: Iterable[Path], option: str) -> None:
    """Raise InvalidRequest where an output would replace an input. Called before the work, so that none is lost.

    option: the option that named the outputs, for the message.
    """
    places = {path.resolve(): path for path in inputs}
    for output in outputs:
        if (there := places.get(output.resolve())) is not None:
            raise InvalidRequest(
                f"{option}: {output} would take the place of {there}; write to another place.",
            )
