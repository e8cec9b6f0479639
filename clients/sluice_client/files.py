"""Which files to add, in which order, and when they were taken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import text_files
from .errors import InvalidRequest

__all__ = ["FrameTimes", "images_in", "listed", "natural"]

ENDINGS = (".jpeg", ".jpg", ".png", ".webp")
_KEYS = {"file": str, "id": str, "drive": str, "camera": str, "time": int | float, "tags": list}


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key: numbers in names count as numbers, so that frame 10 follows frame 9."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def images_in(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths`, and the images inside the folders. Raises InvalidRequest if one is missing."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [one for one in path.rglob("*") if one.suffix.lower() in ENDINGS and one.is_file()]
            if not inside:
                raise InvalidRequest(f"{path} holds no {', '.join(ENDINGS)} files.", status="LOCAL")
            found += sorted(inside, key=natural)
        elif path.exists():
            found.append(path)
        else:
            raise InvalidRequest(f"{path} does not exist.", status="LOCAL")
    return list(dict.fromkeys(found))


def listed(path: Path) -> list[dict[str, Any]]:
    """The entries of a file of JSON lines; `file` becomes a path, relative to the folder of the list.

    Raises InvalidRequest with the number of the line at fault.
    """
    entries = []
    for number, line in enumerate(text_files.lines(text_files.read(path)), 1):
        if not line:
            continue
        entry = text_files.from_json(line, f"{path}, line {number}")
        if not isinstance(entry, dict) or "file" not in entry:
            raise InvalidRequest(f"{path}, line {number}: an object with `file` was expected.", status="LOCAL")
        for key, value in entry.items():
            if key not in _KEYS:
                raise InvalidRequest(f"{path}, line {number}: {key!r} is none of {', '.join(_KEYS)}.", status="LOCAL")
            if value is not None and (not isinstance(value, _KEYS[key]) or isinstance(value, bool)):
                raise InvalidRequest(f"{path}, line {number}: {key} cannot be {value!r}.", status="LOCAL")
        entries.append({**{k: v for k, v in entry.items() if v is not None}, "file": path.parent / entry["file"]})
    return entries


@dataclass(frozen=True)
class FrameTimes:
    """When a frame was taken, seconds.

    source: "mtime": the file's date. "name": a date in its name (20261121_011546, 2026-11-21T01-15-46.5, taken as UTC),
            or the last number there: a time in s, ms, us or ns since 1970 when it is large enough for one, else a count
            of frames, which needs `fps`. "none": no time, or with `fps` the place in the order.
    fps:    frames a second.
    """

    source: str = "none"
    fps: float | None = None

    def __post_init__(self):
        if self.fps is not None and not self.fps > 0:
            raise InvalidRequest(f"--fps must be > 0 frames a second; got {self.fps}.", status="LOCAL")
        if self.source == "mtime" and self.fps is not None:
            raise InvalidRequest("--fps has no meaning with --time-from mtime; leave one of them out.", status="LOCAL")

    def of(self, path: Path, index: int) -> float | None:
        """index: place of the file in the order, from 0."""
        if self.source == "mtime":
            try:
                return path.stat().st_mtime
            except OSError as error:
                raise InvalidRequest(f"{path} cannot be read: {error.strerror}.", status="LOCAL") from None
        if self.source == "name":
            return self._from_name(path)
        return None if self.fps is None else index / self.fps

    def _from_name(self, path: Path) -> float:
        date = _DATE.search(path.stem)
        if date:
            year, month, day, hour, minute, second, fraction = date.groups()
            try:
                moment = datetime(*map(int, (year, month, day, hour, minute, second)), tzinfo=UTC)  # type: ignore[misc,arg-type]
                return moment.timestamp() + float(f"0.{fraction or 0}")
            except ValueError:
                pass  # digits that only look like a date
        numbers = re.findall(r"\d+(?:\.\d+)?", path.stem)
        if not numbers:
            raise InvalidRequest(f"{path.name} has no number to take a time from; see --time-from.", status="LOCAL")
        number = float(numbers[-1])
        for unit in (1e9, 1e6, 1e3, 1.0):
            if number / unit >= 1e9:  # seconds since 1970, 2001 or later
                return number / unit
        if self.fps is None:
            raise InvalidRequest(
                f"{path.name}: {numbers[-1]} looks like a count of frames; say with --fps how many there are a second.",
                status="LOCAL",
            )
        return number / self.fps


_DATE = re.compile(
    r"(20\d\d)[-_]?(0[1-9]|1[0-2])[-_]?([0-3]\d)[-_T ]([0-2]\d)[-_:]?([0-5]\d)[-_:]?([0-5]\d)(?:[.,_-](\d{1,9}))?(?!\d)"
)
