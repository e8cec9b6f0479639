"""Finds out when frames were taken: by the dates of files, by times in their names, or by counting frames.

A name holds a time as digits since 1970 (1700000000250000.jpg) or as a date (PXL_20230115_143215123.jpg). Any other
number is taken for a count of frames, which needs a rate to become a time. A name that can be read in two ways is
refused.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from ..errors import InvalidRequest

__all__ = ["FrameTimes"]

DAY = 86400.0
MOST = 1e9  # frames that a count may reach: a year at 30 frames per second
BURST = 60  # pictures with one date that a camera takes in a second; where there are more, the name counts frames

# Number of digits since 1970 -> how many of them are fractions of a second, and the earliest second that is meant.
# 18 digits are nanoseconds before 2001, as in data sets whose epoch is that of GPS (Argoverse).
_UNITS = {10: (0, 1e9), 13: (3, 1e9), 16: (6, 1e9), 18: (9, 3e8), 19: (9, 1e9)}
_SINCE_1970 = re.compile(r"(?<![0-9A-Za-z.])[A-Za-z]*(\d{10,19})(?:([._])(\d{1,9}))?(?![0-9A-Za-z])")
# Waymo's segments: a hash of up to 20 digits, then the first and the last second.
_SEGMENT = re.compile(r"segment-\d+_\d+_\d+_\d+_\d+")

_DATE = re.compile(
    r"(?<!\d)(?P<year>19[789]\d|20\d\d)[-_.]?(?P<month>0[1-9]|1[0-2])[-_.]?(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:--|[-_T ]| at |, )?"
    r"(?P<hour>2[0-3]|[01]\d|\d(?=[-_:.]))(?P<c>[-_:.]?)(?P<minute>[0-5]\d)(?P=c)(?P<second>[0-5]\d)"
    r"(?:\s?(?P<half>[AaPp])[Mm](?![A-Za-z])"
    r"|(?P<digits>\d{3}|\d{6}|\d{9})(?!\d)"
    r"|[.,](?P<part>\d{1,9})(?!\d)"
    r"|[-_](?P<number>\d+)(?![0-9A-Za-z])"
    r"|(?!\d))"
)
_ZONE = re.compile(r" ?(?:[Zz]|(?P<sign>[-+])(?P<hours>0\d|1[0-4])(?:[-:]?(?P<minutes>00|30|45))?)(?![0-9A-Za-z])")
_DAY = re.compile(
    r"(?<![0-9A-Za-z])(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![0-9A-Za-z])"
)  # a date without a time of day
# The last count in a name, tried in this order: digits alone, with letters before them, with letters after them.
_COUNTS = (
    re.compile(r"(?<![0-9A-Za-z.:+])(\d+(?:\.\d+)?)(?![0-9A-Za-z:])"),
    re.compile(r"(?<![0-9A-Za-z.:+])[A-Za-z]+(\d+)(?![0-9A-Za-z:])"),
    re.compile(r"(?<![0-9A-Za-z.:+])(\d+)[A-Za-z]+(?![0-9A-Za-z:])"),
)


class _Date(NamedTuple):
    """A date and time of day in a name.

    seconds: since 1970.
    number:  digits after the date, which may be a fraction of a second, a count, or neither; None if there are none.
    behind:  the rest of the name after the date, with `number` at its beginning.
    zoned:   whether the name gives the time zone.
    """

    seconds: float
    number: str | None
    behind: str
    zoned: bool


class _Told(NamedTuple):
    """The time that a name gives. kind: "since 1970", "date" or "count". date: None unless the kind is "date"."""

    kind: str
    seconds: float
    date: _Date | None = None


@dataclass(frozen=True)
class FrameTimes:
    """The rule by which files become times, in seconds.

    source: where times come from.
            "mtime": the date of the file.
            "none":  no time; with `fps`, the place in the order.
            "name":  s, ms, us or ns since 1970; or a date and time of day (20261121_011546,
                     2026-11-21T01-15-46.5+0100; UTC where the name has no zone), to which with `fps` a number after
                     it adds so many frames; or with `fps` a count of frames.
    fps:    frames per second; None if it is not known.
    now:    seconds since 1970; a name more than a day later is refused. None takes the time of the clock.
    """

    source: str = "none"
    fps: float | None = None
    now: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise InvalidRequest(f"--fps must be > 0 frames a second; got {self.fps}.")
        if self.source == "mtime" and self.fps is not None:
            raise InvalidRequest("--fps has no meaning with --time-from mtime; leave one of them out.")

    def of(self, files: Mapping[int, Path], note: Callable[[str], None] = lambda line: None) -> dict[int, float | None]:
        """Return the time of each file in seconds, or None where the source gives none.

        files: the files by their place in the order, from 0.
        note:  called with a line for a person, such as that several files have the same time.
        Raises InvalidRequest for a name that gives no time, and for names which together show that they count frames.
        """
        if self.source == "mtime":
            return {place: _modified(path) for place, path in files.items()}
        if self.source != "name":
            return {place: None if self.fps is None else place / self.fps for place in files}
        told = {place: self._told(path) for place, path in files.items()}
        self._check(files, told)
        self._tell_equal(files, told, note)
        return {place: one.seconds for place, one in told.items()}

    def _told(self, path: Path) -> _Told:
        """Read the time in a name. Raises InvalidRequest when there is none, or when it is ambiguous."""
        name = _SEGMENT.sub("", path.stem)
        since, date = self._since_1970(path, name), _date(path, name, self.fps is not None)
        if since is not None:
            # A name may have both: when the drive began, and when the frame was taken (nuScenes).
            if date is not None and abs(since - date.seconds) > DAY:
                raise InvalidRequest(
                    f"{path.name}: its date and its digits since 1970 are more than a day apart; give the times with "
                    "--frames."
                )
            return _Told("since 1970", since)
        if date is not None:
            return self._not_later(path, _Told("date", date.seconds + self._behind(date), date))
        number = next((found[-1] for each in _COUNTS if (found := each.findall(_DAY.sub("", name)))), None)
        if number is None or float(number) >= MOST:
            raise InvalidRequest(
                f"{path.name} has no number that is a time or a count of frames; give the times with --frames."
            )
        if self.fps is None:
            raise InvalidRequest(f"{path.name}: {number} looks like a count of frames; give their rate with --fps.")
        return self._not_later(path, _Told("count", float(number) / self.fps))

    def _since_1970(self, path: Path, name: str) -> float | None:
        found = set()
        for digits, mark, more in _SINCE_1970.findall(name):
            places, earliest = _UNITS.get(len(digits), (0, math.inf))
            seconds = int(digits) / 10**places
            if earliest <= seconds <= self._latest:
                parts = places == 0 and (mark == "." or len(more) == 9)  # 1305031102.175304; seconds_nanoseconds of ROS
                found.add(seconds + (float(f"0.{more}") if parts else 0.0))
        return _only(path, found)

    def _behind(self, date: _Date) -> float:
        """Return the seconds from the date in a name to its frame."""
        number = date.number
        if self.fps is None:
            return float(f"0.{number}") if number is not None and len(number) in (3, 6, 9) else 0.0
        if number is None:
            number = next(iter(_COUNTS[0].findall(date.behind)[-1:]), "0")
        return float(number) / self.fps

    @property
    def _latest(self) -> float:
        """Return the latest second since 1970 that a name may give."""
        return (time.time() if self.now is None else self.now) + DAY

    def _not_later(self, path: Path, told: _Told) -> _Told:
        if told.seconds > self._latest:
            raise InvalidRequest(f"{path.name} would be of a time yet to come; give the times with --frames.")
        return told

    def _check(self, files: Mapping[int, Path], told: Mapping[int, _Told]) -> None:
        """Raise InvalidRequest where names of one folder contradict each other.

        Refused are a date in some names and a count in others, a time zone in some and a number in its place in others,
        and one date followed by more numbers than a camera takes pictures in a second.
        """
        kinds: dict[Path, dict[str, Path]] = defaultdict(dict)
        alike: dict[tuple[Path, str, float], list[Path]] = defaultdict(list)
        zoned: dict[tuple[Path, str], dict[bool, Path]] = defaultdict(dict)
        for place, one in told.items():
            path = files[place]
            kinds[path.parent].setdefault(one.kind, path)
            if one.date is not None:
                alike[path.parent, _pattern(path.stem), one.date.seconds].append(path)
                zoned[path.parent, _pattern(path.stem)].setdefault(one.date.zoned, path)
        for kind in kinds.values():
            if "count" in kind and len(kind) > 1:
                other = next(path for name, path in kind.items() if name != "count")
                raise InvalidRequest(
                    f"{other.name} has a time in its name and {kind['count'].name} beside it a count; give the times "
                    "with --frames."
                )
        for zones in zoned.values():
            if len(zones) > 1:
                raise InvalidRequest(
                    f"{zones[True].name} seems to have a zone, and {zones[False].name} a number in its place; give the "
                    "times with --frames."
                )
        for paths in alike.values():
            if self.fps is None and len(paths) > BURST:
                raise InvalidRequest(
                    f"{len(paths)} names such as {paths[0].name} have one date and then a number, more than a camera "
                    "takes pictures in a second; if the number counts frames, give their rate with --fps."
                )

    @staticmethod
    def _tell_equal(files: Mapping[int, Path], told: Mapping[int, _Told], note: Callable[[str], None]) -> None:
        """Call `note` when files of one folder and of one pattern of names have the same time."""
        first: dict[tuple[Path, str, float], Path] = {}
        equal = []
        for place, one in told.items():
            path = files[place]
            same = first.setdefault((path.parent, _pattern(path.stem), one.seconds), path)
            if same is not path:
                equal.append((path, same))
        if equal:
            path, same = equal[0]
            note(f"{len(equal)} files have the time of another, as {path.name} that of {same.name}")


def _date(path: Path, name: str, counts: bool) -> _Date | None:
    """Read date and time of day in a name, or None if it has none. counts: whether a number after them counts frames.

    Raises InvalidRequest when the name has several different dates.
    """
    dates = [date for found in _DATE.finditer(name) if (date := _read(name, found, counts)) is not None]
    _only(path, {date.seconds for date in dates})
    return dates[-1] if dates else None


def _read(name: str, found: re.Match[str], counts: bool) -> _Date | None:
    """Read one match of `_DATE` in a name, or return None if its digits are no date."""
    hour, half, number = int(found["hour"]), found["half"], found["number"]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in "Pp" else 0)
    elif len(found["hour"]) == 1:
        return None
    end = found.end() if number is None else found.start("number") - 1
    zone = _ZONE.match(name, end)
    number_like = number is not None and counts
    if zone and zone["sign"] == "-" and ":" not in zone[0]:
        sure = zone["minutes"] and zone["hours"] != "00" and not number_like  # -05 and -0030 are as likely a number
        zone = zone if sure else None
    away = timedelta()
    if zone:
        number, end = None, zone.end()
        away = timedelta(hours=int(zone["hours"] or 0), minutes=int(zone["minutes"] or 0))
    try:
        year, month, day, minute, second = (int(found[part]) for part in ("year", "month", "day", "minute", "second"))
        own = timezone(-away if zone and zone["sign"] == "-" else away)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=own)
    except ValueError:
        return None  # digits that only look like a date
    part = float(f"0.{found['digits'] or found['part'] or 0}")
    return _Date(moment.timestamp() + part, number, name[end:], zone is not None)


def _only(path: Path, seconds: set[float]) -> float | None:
    """Return the only time of a name, or None if it has none. Raises InvalidRequest when it has several."""
    if len(seconds) > 1:
        raise InvalidRequest(f"{path.name} has several times; give the one that is meant with --frames.")
    return next(iter(seconds), None)


def _pattern(name: str) -> str:
    """Return a name with each number replaced by #, which is the same for all names that differ in numbers alone."""
    return re.sub(r"\d+", "#", name)


def _modified(path: Path) -> float:
    """Return when a file was modified, seconds since 1970. Raises InvalidRequest when it cannot be read."""
    try:
        return path.stat().st_mtime
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
