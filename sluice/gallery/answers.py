"""The answers of the gallery as plain values, and the checks of ids and pages that callers send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from sluice.frames import is_name
from sluice.options import Kind, whole

MAX_PAGE = 1_000


@dataclass(frozen=True)
class Receipt:
    """The result of adding one image."""

    # 'stored': the image is on the disk now. 'known': the same bytes were stored before. 'refused': see error.
    status: str
    id: str | None  # the id under which the image is stored; for 'refused' the id that was asked for
    sha256: str  # of the image's bytes, 64 hexadecimal digits
    error: str | None = None  # what was wrong
    remedy: str | None = None  # what to do about it
    scored: bool = False  # whether a detector's objects were stored with it now
    unscored: str | None = None  # why the given objects were not stored
    embedded: bool = False  # whether an embedding was stored with it now
    unembedded: str | None = None  # why the given embedding was not stored
    # For 'known': the fields given otherwise than they are stored, which stay as stored. See `Frame.differs`.
    differs: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as a JSON object."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "differs": dict(self.differs)}


@dataclass(frozen=True)
class Aside:
    """Frames that an answer leaves out because their stored bytes are damaged."""

    ids: tuple[str, ...]
    shards: dict[str, str]  # shard -> what is wrong with its files

    def told(self) -> str:
        """Return a sentence for people that says which frames are left out and what to do."""
        some = ", ".join(self.ids[:5]) + (" and others" if len(self.ids) > 5 else "")
        return f"{len(self.ids)} frames were not ranked, for what is stored of them is damaged: {some}; {ASIDE}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: how many frames, the first 20 ids, the shards, and what to do."""
        return {"frames": len(self.ids), "ids": list(self.ids[:20]), "shards": self.shards, "remedy": ASIDE}


ASIDE = (
    "these frames are set aside, the others are answered: put the named files back from a copy, or delete the frames "
    "and add their images again; `python -m sluice.gallery verify FOLDER` names all that is damaged"
)


@dataclass(frozen=True)
class Found:
    """The answer to a search: n frames, best first; with combine='query' one list per query, one after the other."""

    ids: tuple[str, ...]
    scores: np.ndarray  # float32 [n]
    query: np.ndarray  # int32 [n], the query that a frame answers; -1 if the queries were combined
    roi_scores: np.ndarray  # float32 [n, R]; R is 0 in a search by words alone
    frames: tuple[dict[str, Any], ...]  # per frame: id, sha256, drive, camera, time, tags, width, height, model
    features: tuple[np.ndarray, ...]  # per frame: float16 [h, w, C], read-only, as at the search's begin
    geometries: tuple[np.ndarray, ...]  # per frame: float32 [6], see sluice.images.Geometry
    searched: int  # how many frames passed the filters
    rescored: int  # how many of them were scored again from the exact features
    seconds: float
    text_scores: np.ndarray | None = None  # float32 [n, T], cosine per text; None in a search without words
    lacking: int = 0  # with words: frames that passed the filters but lack an embedding, so not ranked
    aside: Aside | None = None  # frames that passed the filters but are damaged, so not ranked


def _ids(value: Any) -> list[str] | None:
    good = not isinstance(value, str) and isinstance(value, Sequence) and all(map(is_name, value))
    return list(value) if good else None


def _cursor(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isdecimal() and len(value) < 19 else None


_IDS = Kind[list[str]]("a list of texts as they were given to add", _ids)
_CURSOR = Kind[str]("the 'next' of the page before", _cursor).or_null()
_LIMIT = whole(1, MAX_PAGE)


def ids_of(values: Any) -> list[str]:
    """Return a caller's list of ids. Raises InvalidArgument for another value, and for an id that cannot be one."""
    return _IDS("ids", values)


def check_page(cursor: Any, limit: Any) -> None:
    """Raise InvalidArgument for a cursor or a limit (frames per page) with which no page can be made."""
    _LIMIT("limit", limit)
    _CURSOR("cursor", cursor)
