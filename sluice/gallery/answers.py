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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import is_name

MAX_PAGE = 1_000


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


def ids_of(values: Any) -> list[str]:
    """A list of ids as a caller sent it; InvalidArgument for anything else. An id that cannot be one is not stored."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not all(map(is_name, values)):
        raise InvalidArgument(f"ids is a list of texts as they were given to add; got {values!r:.80}")
    return list(values)


def check_page(cursor: Any, limit: Any) -> None:
    """Raise InvalidArgument for what asks for no page."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InvalidArgument(f"limit is how many frames a page holds, 1 to {MAX_PAGE:,}; got {limit!r:.80}")
    if cursor is not None and not (isinstance(cursor, str) and cursor.isdecimal() and len(cursor) < 19):
        raise InvalidArgument(f"cursor is the 'next' of the page before, or null; got {cursor!r:.80}")
