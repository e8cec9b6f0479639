"""Finds the images that paths and lists name, in the order of their numbers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from . import text_files

__all__ = ["ENDINGS", "images_in", "listed", "natural"]

ENDINGS = (".jpeg", ".jpg", ".jfif", ".mpo", ".png", ".webp")  # MPO: a JPEG followed by another
# Endings of pictures in formats that the server does not read.
PICTURES = (".avif", ".bmp", ".cr2", ".dng", ".gif", ".heic", ".heif", ".jp2", ".nef", ".tif", ".tiff")
# Key of an entry of a list -> the type of its value, and that type in words.
_KEYS: dict[str, tuple[Any, str]] = {
    "file": (str, "a path"),
    "id": (str, "a text"),
    "drive": (str, "a text"),
    "camera": (str, "a text"),
    "time": (int | float, "a number of seconds"),
    "tags": (list, "a list of texts"),
}


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a key to sort by in which numbers count as numbers, so that frame 10 follows frame 9."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def images_in(paths: Iterable[Path], note: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Return the files among `paths` and the images inside the folders among them, each once.

    Folders are searched with all folders below them, except hidden folders and links. Files that are given by
    themselves are taken whatever they are.

    note: called with one line that tells what was left out.
    Raises InvalidRequest when a path does not exist or a folder holds no images.
    """
    found: list[Path] = []
    left: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            here: Counter[str] = Counter()
            inside = sorted(_inside(path, here), key=natural)
            if not inside:
                raise InvalidRequest(
                    f"{path} holds no {', '.join(ENDINGS)} files" + (f", only {_told(here)}." if here else "."),
                )
            found += inside
            left += here
        elif not path.exists():
            raise InvalidRequest(f"{path} does not exist.")
        else:
            found.append(path)
    if left:
        note(f"left out: {_told(left)}")
    return list(dict.fromkeys(found))


def _inside(folder: Path, left: Counter[str]) -> Iterator[Path]:
    """Yield the images in a folder and in those below. `left` counts what is left out, by kind."""

    def unreadable(error: OSError) -> None:
        left["folder that cannot be read"] += 1

    for base, folders, names in os.walk(folder, onerror=unreadable):
        for name in list(folders):
            if name.startswith(".") or os.path.islink(os.path.join(base, name)):
                folders.remove(name)
                left["hidden folder" if name.startswith(".") else "link to a folder"] += 1
        for name in names:
            path = Path(base, name)
            if name.startswith("."):
                left["._ file of macOS" if name.startswith("._") else "hidden file"] += 1
            elif path.suffix.lower() not in ENDINGS:
                left[path.suffix or "without ending"] += 1
            elif not path.is_file():
                left["link to nothing" if path.is_symlink() else "that is no file"] += 1
            else:
                yield path


def _told(left: Counter[str]) -> str:
    """Write what was left out, such as "3 .HEIC, 1 link to a folder (convert ...)"."""
    told = ", ".join(f"{count} {kind}" for kind, count in left.most_common())
    others = any(kind.lower() in PICTURES for kind in left)
    return told + (" (convert pictures to JPEG, PNG or WebP first)" if others else "")


def listed(path: Path) -> list[dict[str, Any]]:
    """Read the entries of a file of JSON lines. `file` becomes a path, relative to the folder of that file.

    Raises InvalidRequest with the number of the line that is wrong.
    """
    entries = []
    for number, line in enumerate(text_files.lines(text_files.read(path)), 1):
        if not line:
            continue
        entry = text_files.from_json(line, f"{path}, line {number}")
        if not isinstance(entry, dict) or "file" not in entry:
            raise InvalidRequest(f"{path}, line {number}: an object with `file` was expected.")
        for key, value in entry.items():
            if key not in _KEYS:
                raise InvalidRequest(f"{path}, line {number}: {key!r} is none of {', '.join(_KEYS)}.")
            kind, words = _KEYS[key]
            if (value is not None or key == "file") and (not isinstance(value, kind) or isinstance(value, bool)):
                raise InvalidRequest(f"{path}, line {number}: {key} should be {words}; got {value!r}.")
        entries.append({**{k: v for k, v in entry.items() if v is not None}, "file": path.parent / entry["file"]})
    return entries
