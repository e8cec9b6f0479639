"""What goes into the gallery and what comes out of it, as plain values; and everything that can go wrong there.

* GalleryError
  + NotAGallery       the folder holds something else, or a format newer than this program
  + UnknownId         an id that is not stored (also NotFound)
  + VersionMismatch   features of another version of the feature model lie there (also InvalidArgument)
  + Damaged           stored bytes are not those that were written
  + Unavailable       nothing was stored or deleted; the same call may succeed later
    x Full            no space is left on the disk
    x ReadOnly        the folder cannot be written
    x Busy            another process kept the gallery locked for longer than the time-out
    x Moved           the files that are open are no longer those at the gallery's path
      + LogLost       only the log beside the catalogue was taken

A wrong argument raises InvalidArgument, which is a ValueError.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import numpy as np

from sluice import errors
from sluice.calls import parsed
from sluice.errors import InvalidArgument

MAX_ID = 256  # characters of an id, a drive, a camera, a tag
MAX_TAGS = 64
MAX_K = 10_000
MAX_PAGE = 1_000
FORMS = ("roi", "image", "mean", "area")
COMBINATIONS = ("max", "mean", "query")
HEATMAPS = (True, False, "all")
FUSE = 0.5


class GalleryError(errors.Refusal):
    """Anything that the gallery refuses."""


class NotAGallery(GalleryError):
    """The folder is not a gallery that this program can read."""


class UnknownId(GalleryError, errors.NotFound):
    """An id that is not stored."""


class VersionMismatch(GalleryError, errors.InvalidArgument):
    """The gallery holds features of another version of the feature model."""


class Damaged(GalleryError):
    """Stored bytes are not those that were written."""


class Unavailable(GalleryError, errors.Unavailable):
    """Nothing was stored or deleted; the same call may succeed later."""


class Full(Unavailable):
    """No space is left on the disk."""


class ReadOnly(Unavailable):
    """The folder cannot be written."""


class Busy(Unavailable):
    """Another process kept the gallery locked for too long."""


class Moved(Unavailable):
    """The files that are open are no longer those at the gallery's path: what is written there would be lost."""


class LogLost(Moved):
    """Only SQLite's log beside the catalogue was removed or replaced. Who opened the gallery again would begin another
    log beside the one that others still write."""


@dataclass(frozen=True)
class Frame:
    """What the caller says about one picture. Raises InvalidArgument when a field is not what it must be."""

    id: str | None = None  # None: the first 16 hexadecimal digits of the picture's SHA-256
    drive: str = ""
    camera: str = ""
    time: float | None = None  # seconds, on the caller's clock; None: not known
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.id is not None and not _name(self.id):
            raise InvalidArgument(f"id is {_NAME}, or null to take one from the picture; got {self.id!r:.80}")
        for key in ("drive", "camera"):
            if getattr(self, key) != "" and not _name(getattr(self, key)):
                raise InvalidArgument(f"{key} is {_NAME}, or '' if there is none; got {getattr(self, key)!r:.80}")
        object.__setattr__(self, "time", _seconds("time", self.time))
        tags = _strings("tags", self.tags)
        if len(tags) > MAX_TAGS or not all(map(_name, tags)):
            raise InvalidArgument(f"tags are at most {MAX_TAGS}, each {_NAME}; got {list(tags)!r:.80}")
        object.__setattr__(self, "tags", tuple(dict.fromkeys(tags)))

    def differs(self, stored: Frame) -> dict[str, dict[str, Any]]:
        """What this says otherwise than the stored frame of the same picture: field -> {"given", "stored"}. What is
        left out (no id, drive, camera, time or tags) says nothing, nor does the order of tags."""
        told: dict[str, dict[str, Any]] = {}
        for name in ("id", "drive", "camera", "time"):
            given, kept = getattr(self, name), getattr(stored, name)
            if given not in (None, "") and given != kept:
                told[name] = {"given": given, "stored": kept}
        if self.tags and set(self.tags) != set(stored.tags):
            told["tags"] = {"given": list(self.tags), "stored": list(stored.tags)}
        return told

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Frame:
        """From a JSON object (or one already parsed) with some of the fields; unknown keys are refused."""
        return cls(**_known(cls, "a frame", text))


@dataclass(frozen=True)
class Receipt:
    """What became of one picture that was handed in."""

    status: str  # 'stored': on the disk now. 'known': these bytes were there before. 'refused': not stored, see error
    id: str | None  # under which the picture is stored; for 'refused' the id that was asked for
    sha256: str  # of the picture's bytes, 64 hexadecimal digits
    error: str | None = None  # what was wrong
    remedy: str | None = None  # what to do about it
    scored: bool = False  # whether a detector's objects were stored with it now
    unscored: str | None = None  # why they were not, where there were some
    embedded: bool = False  # whether an embedding was stored with it now
    unembedded: str | None = None  # why it was not, where there was one
    # of a 'known' one, what was said otherwise than it is stored and so was not taken over: see `Frame.differs`
    differs: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "differs": dict(self.differs)}


@dataclass(frozen=True)
class Search:
    """What to look for. A filter that is None lets every frame pass; a list that is empty lets none pass (but no tags
    asks for nothing). Raises InvalidArgument when a field is not what it must be."""

    k: int = 10  # most frames in the answer; with combine='query', for each query
    threshold: float | None = None  # least score, inclusive
    score: str = "roi"  # roi, image, mean or area: see sluice.matching
    combine: str = "max"  # max, mean or query: see sluice.matching
    drives: tuple[str, ...] | None = None  # any of these
    cameras: tuple[str, ...] | None = None  # any of these
    # Moments: seconds, or ISO 8601 with its zone, which becomes seconds since 1970.
    after: float | None = None  # after <= time; a frame without a time never passes
    before: float | None = None  # time < before
    tags: tuple[str, ...] | None = None  # all of these
    exclude: tuple[str, ...] = ()  # not these ids; unknown ones do no harm
    per_drive: int | None = None  # most frames of one drive; those without a drive count as one
    heatmaps: bool | str = True  # what heat maps the verb draws, see sluice.matching; the gallery does not look at it
    fuse: float | None = None  # share of the words in the score, 0 to 1, where templates are looked for too; None: FUSE

    def __post_init__(self) -> None:
        if not _whole(self.k) or not 1 <= self.k <= MAX_K:
            raise InvalidArgument(f"k is how many frames to return, 1 to {MAX_K:,}; got {self.k!r:.80}")
        if self.per_drive is not None and (not _whole(self.per_drive) or self.per_drive < 1):
            raise InvalidArgument(
                f"per_drive is how many frames of one drive to return, 1 or more, or null for no limit; "
                f"got {self.per_drive!r:.80}"
            )
        if self.score not in FORMS:
            raise InvalidArgument(f"score is one of {', '.join(FORMS)}; got {self.score!r:.80}")
        if self.combine not in COMBINATIONS:
            raise InvalidArgument(f"combine is one of {', '.join(COMBINATIONS)}; got {self.combine!r:.80}")
        if type(self.heatmaps) not in (bool, str) or self.heatmaps not in HEATMAPS:
            raise InvalidArgument(f'heatmaps is true, false or "all"; got {self.heatmaps!r:.80}')
        for key in ("after", "before"):
            object.__setattr__(self, key, _moment(key, getattr(self, key)))
        for key in ("threshold", "fuse"):
            object.__setattr__(self, key, _seconds(key, getattr(self, key)))
        if self.fuse is not None and not 0 <= self.fuse <= 1:
            raise InvalidArgument(
                f"fuse is the share of the words in the score, 0 to 1, or null; got {self.fuse!r:.80}"
            )
        for key in ("drives", "cameras", "tags", "exclude"):
            value = getattr(self, key)
            if value is None and key != "exclude":
                continue
            object.__setattr__(self, key, _strings(key, value or ()))

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> Search:
        """From a JSON object (or one already parsed) with some of the fields; unknown keys are refused."""
        return cls(**_known(cls, "a search", text))


@dataclass(frozen=True)
class Aside:
    """Frames that an answer leaves out because what is stored of them is damaged."""

    ids: tuple[str, ...]
    shards: dict[str, str]  # the files at fault, by shard: what is wrong

    def told(self) -> str:
        """The same in a sentence for people."""
        some = ", ".join(self.ids[:5]) + (" and others" if len(self.ids) > 5 else "")
        return f"{len(self.ids)} frames were not ranked, for what is stored of them is damaged: {some}; {ASIDE}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object: how many, the first 20 ids, the shards, and what to do."""
        return {"frames": len(self.ids), "ids": list(self.ids[:20]), "shards": self.shards, "remedy": ASIDE}


ASIDE = (
    "these frames are set aside, the others are answered: put the named files back from a copy, or delete the frames "
    "and add their pictures again; `python -m sluice.gallery verify FOLDER` names all that is damaged"
)


@dataclass(frozen=True)
class Found:
    """The answer to a search: n frames, best first; with combine='query' those of each query one after the other."""

    ids: tuple[str, ...]
    scores: np.ndarray  # float32 [n]
    query: np.ndarray  # int32 [n], which query a frame answers; -1 where the queries were combined
    roi_scores: np.ndarray  # float32 [n, R]; R is 0 where frames are looked for by words alone
    frames: tuple[dict[str, Any], ...]  # of each: id, sha256, drive, camera, time, tags, width, height, model
    features: tuple[np.ndarray, ...]  # of each: float16 [h, w, C], read-only, as they were when the search began
    geometries: tuple[np.ndarray, ...]  # of each: float32 [6], see sluice.images.Geometry
    searched: int  # frames that passed the filters
    rescored: int  # of these, how many were scored again from the exact features
    seconds: float
    text_scores: np.ndarray | None = None  # float32 [n, T], cosine of each text; None: no words were asked for
    lacking: int = 0  # with words: frames that passed the filters but have no embedding of that version; not searched
    aside: Aside | None = None  # frames that passed the filters but whose stored bytes are damaged; not ranked


_NAME = f"a text of 1 to {MAX_ID} characters without control characters"


def _name(value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        return False
    return all(c >= " " and c != "\x7f" and not "\ud800" <= c <= "\udfff" for c in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _seconds(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    raise InvalidArgument(f"{key} is a finite number or null; got {value!r:.80}")


def _moment(key: str, value: Any) -> float | None:
    if not isinstance(value, str):
        return _seconds(key, value)
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.timestamp()
    raise InvalidArgument(f"{key} is seconds, or a time with its zone such as 2026-03-01T12:00Z; got {value!r:.80}")


def _strings(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"{key} is a list of texts; got {value!r:.80}")
    return tuple(value)


def ids_of(values: Any) -> list[str]:
    """A list of ids as a caller sent it; InvalidArgument for anything else. An id that cannot be one is not stored."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not all(map(_name, values)):
        raise InvalidArgument(f"ids is a list of texts as they were given to add; got {values!r:.80}")
    return list(values)


def check_page(cursor: Any, limit: Any) -> None:
    """Raise InvalidArgument for what asks for no page."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InvalidArgument(f"limit is how many frames a page holds, 1 to {MAX_PAGE:,}; got {limit!r:.80}")
    if cursor is not None and not (isinstance(cursor, str) and cursor.isdecimal() and len(cursor) < 19):
        raise InvalidArgument(f"cursor is the 'next' of the page before, or null; got {cursor!r:.80}")


def _known(cls: Callable[..., Any], what: str, text: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    """The object's fields, all of which `cls` has."""
    if isinstance(text, str | bytes):
        text = parsed(text or "{}", f"what describes {what}")
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # a dataclass
    if not isinstance(text, Mapping):
        raise InvalidArgument(f"{what} is described by a JSON object with {', '.join(names)}; got {text!r:.80}")
    unknown = sorted(set(map(str, text)) - set(names))
    if unknown:
        raise InvalidArgument(f"{what} has no {', '.join(unknown)!s:.200}; it knows {', '.join(names)}")
    return dict(text)
