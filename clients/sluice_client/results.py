"""What the verbs answer: frozen dataclasses, all coordinates in pixels of the caller's images, x right, y down."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .no_effect import NoEffect
from .wording import NOTHING, Words

__all__ = ["Box", "Features", "Found", "Frame", "Health", "Match", "Receipt", "Scores"]

_SAME = 1e-6  # scores that lie closer are equal: a product's last bits depend on the processor


class Box(NamedTuple):
    """A rectangle; the image covers [0, width] x [0, height]."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Frame:
    """What the gallery knows about a frame.

    time: seconds, in whatever epoch the caller chose when adding.
    more: what this server says besides.
    """

    id: str
    drive: str = ""
    camera: str = ""
    time: float | None = None
    tags: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Frame:
        known = {name: value[name] for name in _FRAME_FIELDS if value.get(name) is not None}
        known["tags"] = tuple(known.get("tags", ()))
        return cls(**known, more={name: v for name, v in value.items() if name not in _FRAME_FIELDS})

    def as_json(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _FRAME_FIELDS}
        return {**own, "tags": list(self.tags), **self.more}


_FRAME_FIELDS = ("id", "drive", "camera", "time", "tags", "width", "height", "sha256")


@dataclass(frozen=True)
class Receipt:
    """What became of one image that was added.

    status: "stored" (new, and on disk), "known" (these bytes are there already, `id` is the first one's) or "refused".
    error, remedy: why, and what to do, when refused.
    retry:  refused only for now (the disk is full, say); `ingest` has tried until its deadline.
    scored: for a stored frame, whether the detector has looked at it, so that `select` can rank it; else None.
    unscored: why it has not, where there is a reason; `sluice score` does it later.
    embedded, unembedded: the same of the network by which words find a frame; `sluice compare --unembedded` does it
            later.
    differs: of a known frame, what was said otherwise now: field -> {"given", "stored"}. It stays as it is stored; to
            describe it anew, delete it and add it again.
    """

    status: str
    id: str
    sha256: str = ""
    error: str | None = None
    remedy: str | None = None
    retry: bool = False
    scored: bool | None = None
    unscored: str | None = None
    embedded: bool | None = None
    unembedded: str | None = None
    differs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        return self.status != "refused"

    def as_json(self) -> dict[str, Any]:
        names = ("status", "id", "sha256", "error", "remedy", "scored", "unscored", "embedded", "unembedded")
        return {name: getattr(self, name) for name in names} | ({"differs": self.differs} if self.differs else {})


@dataclass(frozen=True)
class Match:
    """One image against the query.

    id:          of the frame; for `match`, the name of the image that was given.
    score:       the combined score, -1..1, higher is more alike; NaN when `error` is set.
    roi_scores:  the score of each ROI, in the order of the ROIs.
    boxes:       for each ROI the place where it shows again, about of the ROI's size, pixels of this image.
    query:       with combine="query", which query this is a result of; else None.
    frame:       what the gallery knows about the frame; None for `match`.
    heatmap_png: 8-bit grey PNG over the whole image at cell resolution, 0..255 = best cosine 0..1; may be empty.
    heatmap_query: of several queries the one that this image scored by, whose heat map it is, from 0; else None.
    query_heatmap_pngs: with heatmaps="all", the heat map of each query by itself.
    error:       for `match`, why this image could not be scored; else None.
    text_scores: with texts, the cosine of each with the frame.
    """

    id: str
    score: float
    roi_scores: tuple[float, ...] = ()
    boxes: tuple[Box, ...] = ()
    query: int | None = None
    frame: Frame | None = None
    heatmap_png: bytes = field(default=b"", repr=False)
    heatmap_query: int | None = None
    query_heatmap_pngs: tuple[bytes, ...] = field(default=(), repr=False)
    error: str | None = None
    text_scores: tuple[float, ...] = ()

    @property
    def best_box(self) -> Box | None:
        """The box of the ROI that scores best here, of equal ones the first; None where there is none. A picture that
        holds every ROI scores 1 with each, but for the last bits."""
        scored = [i for i in range(len(self.boxes)) if not np.isnan(self.roi_scores[i])]
        best = max((self.roi_scores[i] for i in scored), default=0.0)
        return next((self.boxes[i] for i in scored if self.roi_scores[i] >= best - _SAME), None)

    @property
    def heatmap(self) -> np.ndarray | None:
        """[h, w] uint8, best cosine over one query's ROIs, 0..255 for 0..1; None when not asked for."""
        return _grey(self.heatmap_png) if self.heatmap_png else None

    @property
    def query_heatmaps(self) -> tuple[np.ndarray, ...]:
        """The same for each query by itself, with heatmaps="all"; else ()."""
        return tuple(map(_grey, self.query_heatmap_pngs))

    def as_json(self) -> dict[str, Any]:
        """Without the heat maps, which are not for reading."""
        return {
            "id": self.id,
            "score": None if np.isnan(self.score) else self.score,
            "roi_scores": [None if np.isnan(score) else score for score in self.roi_scores],
            "boxes": [list(box) if np.isfinite(box).all() else None for box in self.boxes],
            **({"text_scores": list(self.text_scores)} if self.text_scores else {}),
            "query": self.query,
            **({} if self.heatmap_query is None else {"heatmap_query": self.heatmap_query}),
            "frame": None if self.frame is None else self.frame.as_json(),
            "error": self.error,
        }


def _grey(png: bytes) -> np.ndarray:
    """[h, w] uint8."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L"))


@dataclass(frozen=True)
class Found:
    """The answer of `retrieve`: best match first.

    model:    network, version and weights that made the features, "feature_extractor/1/<12 hex digits>".
    searched: frames that passed the filters; every one of them was scored.
    rescored: those whose score had to be computed again at full precision to be certain of the order.
    seconds:  spent on the search by the server.
    lacking:  with texts: frames that passed the filters, but have no embedding that texts can be compared with, and so
              were not ranked; remedy: what to do about them.
    truncated: places of the texts whose end the network did not read, because they were too long.
    words:    which of the texts the network does not know, and which are one to it.
    notes:    what the server had to say about the regions: which were clipped, which are smaller than a cell.
    no_effect:  what of the options had no effect, such as a drive that no frame has.
    """

    matches: tuple[Match, ...]
    model: str = ""
    searched: int = 0
    rescored: int = 0
    seconds: float = 0.0
    lacking: int = 0
    remedy: str = ""
    truncated: tuple[int, ...] = ()
    words: Words = NOTHING
    notes: tuple[str, ...] = ()
    no_effect: tuple[NoEffect, ...] = ()

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)

    def of(self, query: int) -> tuple[Match, ...]:
        """The matches of one query, with combine="query"."""
        return tuple(match for match in self.matches if match.query == query)


@dataclass(frozen=True)
class Scores:
    """The answer of `match`: one match an image, in the order in which the images were given.

    notes: what the server had to say about the regions: which were clipped, which are smaller than a cell.
    """

    matches: tuple[Match, ...]
    model: str = ""
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)

    def best(self) -> tuple[Match, ...]:
        """Best first, ties by name; images that could not be scored come last."""
        return tuple(sorted(self.matches, key=lambda m: (m.error is not None, -np.nan_to_num(m.score), m.id)))


@dataclass(frozen=True, eq=False)
class Features:
    """The answer of `embed`.

    features: [h, w, C] float16, each cell of unit length.
    geometry: [6] float32: width, height, scale_x, scale_y, left, top; canvas_x = image_x * scale_x + left.
    """

    features: np.ndarray
    geometry: np.ndarray


@dataclass(frozen=True)
class Health:
    """Is a server there, and what of it answers?

    models: name -> ready. Triton calls a model ready even after its process died; `sluice doctor` asks it something.
    """

    live: bool
    ready: bool
    server: str = ""
    models: Mapping[str, bool] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        return self.live and self.ready and all(self.models.values())
