"""The answers of `retrieve` and `match`: scores, boxes and heat maps.

Coordinates are pixels of the caller's images, x right, y down.
"""

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

_SAME = 1e-6  # scores that differ by less count as equal, because their last bits depend on the processor


@dataclass(frozen=True)
class Match:
    """The match of one image with the query.

    id:          of the frame; for `match`, the name of the image that was given.
    score:       the combined score, -1..1, higher is more alike; NaN when `error` is set.
    roi_scores:  the score of each ROI, in the order of the ROIs.
    boxes:       for each ROI the place in this image that matches it best, about as large as the ROI, in pixels.
    query:       with combine="query", the number of the query that found this image, from 0; else None.
    frame:       what the gallery knows about the frame; None for `match`.
    heatmap_png: 8-bit grey PNG over the whole image, one pixel per cell, 0..255 for the best cosine 0..1; b"" if not
                 asked for.
    heatmap_query: with several queries, the number of the query that gave the score and the heat map, from 0; else
                 None.
    query_heatmap_pngs: with heatmaps="all", one heat map per query; else ().
    error:       for `match`, why this image could not be scored, or None if it was.
    text_scores: with texts, the cosine of each text with the frame, -1..1.
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
        """Return the box of the ROI that scores best, the first of equal ones; None where no ROI has a score.

        Scores count as equal when they differ by less than 1e-6, because an image that holds every ROI scores 1 with
        each except for the last bits.
        """
        scored = [i for i in range(len(self.boxes)) if not np.isnan(self.roi_scores[i])]
        best = max((self.roi_scores[i] for i in scored), default=0.0)
        return next((self.boxes[i] for i in scored if self.roi_scores[i] >= best - _SAME), None)

    @property
    def heatmap(self) -> np.ndarray | None:
        """Return the best cosine over the ROIs of one query, [h, w] uint8, 0..255 for 0..1; None if not asked for."""
        return _grey(self.heatmap_png) if self.heatmap_png else None

    @property
    def query_heatmaps(self) -> tuple[np.ndarray, ...]:
        """Return one heat map per query, as `heatmap`, with heatmaps="all"; else ()."""
        return tuple(map(_grey, self.query_heatmap_pngs))

    def as_json(self) -> dict[str, Any]:
        """Return the match without its heat maps; NaN becomes None."""
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
    """Decode a grey PNG, [h, w] uint8."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L"))


@dataclass(frozen=True)
class Found:
    """The answer of `retrieve`: best match first.

    model:    network, version and weights that made the features, "feature_extractor/1/<12 hex digits>".
    searched: how many frames passed the filters; all of them were scored.
    rescored: how many of these were scored again at full precision, to be certain of the order.
    seconds:  how long the server searched.
    lacking:  with texts, how many frames passed the filters but were not ranked, because they have no embedding to
              compare with texts. remedy: what to do about these frames.
    truncated: places of the texts whose end the network did not read, because they were too long.
    words:    which texts the network does not know, and which it cannot tell apart.
    notes:    what the server says about the regions: which were clipped, and which are smaller than a cell.
    no_effect: options or values that had no effect, such as a drive that no frame has.
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
        """Return the matches of one query, by its number from 0, with combine="query"."""
        return tuple(match for match in self.matches if match.query == query)


@dataclass(frozen=True)
class Scores:
    """The answer of `match`: one match per image, in the order in which the images were given.

    model: as of `Found`.
    notes: what the server says about the regions: which were clipped, and which are smaller than a cell.
    """

    matches: tuple[Match, ...]
    model: str = ""
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)

    def best(self) -> tuple[Match, ...]:
        """Return the matches, best first, equal scores by name; images that could not be scored come last."""
        return tuple(sorted(self.matches, key=lambda m: (m.error is not None, -np.nan_to_num(m.score), m.id)))
