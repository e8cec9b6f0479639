"""What the verbs answer: frozen dataclasses, all coordinates in pixels of the caller's images, x right, y down."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ..frames import Box, Frame
from .no_effect import NoEffect
from .words import NOTHING, Words

__all__ = ["Found", "Match", "Scores"]

_SAME = 1e-6  # scores that lie closer are equal: a product's last bits depend on the processor


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
