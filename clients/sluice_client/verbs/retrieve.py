"""The verb `retrieve`: finds the stored frames that show what the query's regions show, or what texts say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Unpack, get_args

import numpy as np

from .. import options
from ..answers.no_effect import NoEffect
from ..answers.retrieve import Found, Match
from ..answers.words import Words
from ..errors import InvalidRequest
from ..filters import Filter, FilterKeywords
from ..frames import Box, Frame
from ..query import Query, encoded
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take, texts
from .segment import Templates, check_templates, names

__all__ = [
    "COMBINES",
    "MODEL",
    "SCORES",
    "Combine",
    "Heatmaps",
    "Options",
    "RetrieveKeywords",
    "Score",
    "answer",
    "check_heatmaps",
    "heats",
    "query_tensors",
    "request",
    "which_heats",
]  # fmt: skip

MODEL = "retrieve"

Score = Literal["roi", "image", "mean", "area"]
Combine = Literal["max", "mean", "query"]
Heatmaps = bool | Literal["all"]
SCORES: tuple[str, ...] = get_args(Score)
COMBINES: tuple[str, ...] = get_args(Combine)


class RetrieveKeywords(FilterKeywords, total=False):
    """The fields of `Options`, for type checkers and editors."""

    k: int
    threshold: float | None
    score: Score
    combine: Combine
    per_drive: int | None
    heatmaps: Heatmaps
    templates: Templates | None
    fuse: float | None
    allow_unknown: bool


@dataclass(frozen=True)
class Options(Filter):
    """The options of `retrieve`. An option that is None is not sent, and the server's default holds.

    k:         the most frames to answer; with combine="query", for each query.
    threshold: least score of a frame that is answered, -1..1.
    score:     "roi" is the mean, over the region's cells, of each cell's best cosine in the frame; "image" is the mean,
               over the frame's cells, of each cell's best cosine in the region; "mean" is the average of both; "area"
               is the literal form of the patent.
    combine:   one score of several regions, and of several texts: "mean", all count alike, for several examples of one
               thing; "max", the best counts, for frames with any of several things. "query" makes a ranking for each
               query.
    drives, cameras, after, before, tags, exclude: as of `filters.Filter`.
    per_drive: the most frames of one drive.
    heatmaps:  True answers a heat map per frame, of the query that gave the frame its score; "all" one of every query
               as well.
    templates: "simple", "subset" or "full" put each text, as a class name, into so many sentences; None and "identity"
               take it as it is.
    fuse:      the texts' share of the score beside a query, 0..1.
    allow_unknown: True to search also if the network has not learned a word of a text; False to refuse such a text.
    """

    k: int = 10
    threshold: float | None = None
    score: Score = "roi"
    combine: Combine = "mean"
    _: KW_ONLY  # the filters stood here once: a position must not change its meaning
    per_drive: int | None = None
    heatmaps: Heatmaps = True
    templates: Templates | None = None
    fuse: float | None = None
    allow_unknown: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        options.wholes(self, k=(1, None), per_drive=(1, None))
        options.numbers_in(self, threshold=(-math.inf, math.inf), fuse=(0, 1))
        options.choices(self, score=SCORES, combine=COMBINES)
        options.flags(self, "allow_unknown")
        check_heatmaps(self.heatmaps)
        check_templates(self.templates)

    @classmethod
    def of(cls, **given: Unpack[RetrieveKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        options.known(MODEL, cls.names(), given, ("query", "texts", "timeout"))
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options that are sent, by their names."""
        return {name: value for name, value in super().as_json().items() if name != "allow_unknown" or value}


def request(
    query: Query | Sequence[Query] | None = None,
    *,
    texts: Sequence[str] | None = None,
    **given: Unpack[RetrieveKeywords],
) -> Call:
    """Return the call.

    query: one query or several, all with images or all with ids; None to search by texts alone.
    texts: words for what the frames show; alone, or together with a query.
    given: the fields of `Options`.
    """
    chosen = Options.of(**given)
    if query is None and texts is None:
        raise InvalidRequest("`retrieve` needs a query, texts, or both; got neither.")
    for name in ("templates", "fuse", "allow_unknown"):
        if getattr(chosen, name) not in (None, False) and texts is None:
            raise InvalidRequest(f"{name} is for texts; give some, or leave it out.")
    if chosen.fuse is not None and query is None:
        raise InvalidRequest("fuse is for texts beside a query; leave it out, or give a query too.")
    outputs: tuple[str, ...] = (
        "IDS",
        "SCORES",
        "QUERY",
        "ROI_SCORES",
        "LOCATIONS",
        "HEATMAPS",
        "FRAMES",
        "MODEL",
        "SEARCHED",
    )
    asked = {} if query is None else query_tensors(query)
    if chosen.heatmaps:
        outputs += which_heats(asked, chosen.heatmaps)
    return Call(
        MODEL,
        {
            **asked,
            **({} if texts is None else {"TEXTS": strings(names(texts, "texts"))}),
            "OPTIONS": json_tensor(chosen.as_json()),
        },
        outputs if texts is None else (*outputs, "TEXT_SCORES"),  # older servers have no TEXT_SCORES
    )


def query_tensors(query: Query | Sequence[Query]) -> dict[str, np.ndarray]:
    """Return the tensors of queries: QUERY_IMAGES or QUERY_IDS [Q], ROIS float32 [R, 4] in pixels, ROI_QUERY int32 [R].

    ROI_QUERY is the place of each region's query.
    """
    queries = [query] if isinstance(query, Query) else list(query) if isinstance(query, Sequence) else []
    if not isinstance(query, Query | Sequence) or not all(isinstance(one, Query) for one in queries):
        raise InvalidRequest(f"A query is Query(image, rois=[(x0, y0, x1, y1)]), or a list of such; got {query!r:.80}.")
    if not queries:
        raise InvalidRequest("At least one query is needed; got none.")
    if len({one.id is None for one in queries}) > 1:
        raise InvalidRequest("The queries of one call are all images or all ids; got both. Make two calls.")
    if queries[0].id is None:
        source = {"QUERY_IMAGES": strings(encoded(one.image) for one in queries if one.image is not None)}
    else:
        source = {"QUERY_IDS": strings(one.id for one in queries if one.id is not None)}
    return {
        **source,
        "ROIS": np.array([roi for one in queries for roi in one.rois], np.float32).reshape(-1, 4),
        "ROI_QUERY": np.array([i for i, one in enumerate(queries) for _ in one.rois], np.int32),
    }


def check_heatmaps(value: Heatmaps) -> None:
    """Raise InvalidRequest unless the value is True, False or "all"."""
    if not isinstance(value, bool | str) or value not in (True, False, "all"):
        raise InvalidRequest(f'heatmaps must be True, False or "all"; got {value!r}.')


def which_heats(query: Tensors, heatmaps: Heatmaps) -> tuple[str, ...]:
    """Return the names of the outputs that say which query a heat map belongs to.

    query: the tensors of `query_tensors`. For a single query no names are returned, as older servers lack the outputs.
    """
    several = len(query.get("QUERY_IMAGES", query.get("QUERY_IDS", ()))) > 1
    return ("HEATMAP_QUERY", "QUERY_HEATMAPS") if several or heatmaps == "all" else ()


def heats(tensors: Tensors, model: str, count: int) -> list[dict[str, Any]]:
    """Return, for each match of an answer, the fields of `Match` that hold its heat maps."""
    best = take(tensors, model, "HEATMAPS", count)
    if "HEATMAP_QUERY" not in tensors:
        return [{"heatmap_png": bytes(png)} for png in best]
    of = take(tensors, model, "HEATMAP_QUERY", count)
    each = take(tensors, model, "QUERY_HEATMAPS", count, None)
    return [
        {
            "heatmap_png": bytes(png),
            "heatmap_query": int(query) if query >= 0 else None,
            "query_heatmap_pngs": tuple(map(bytes, own)) if any(own) else (),
        }
        for png, query, own in zip(best, of, each, strict=True)
    ]


def answer(tensors: Tensors, said: Sequence[str] | None = None) -> Found:
    """Read the answer to `request`. said: the texts that were sent; None if there were none."""
    ids = texts(take(tensors, MODEL, "IDS", None))
    count = len(ids)
    scores = take(tensors, MODEL, "SCORES", count)
    queries = take(tensors, MODEL, "QUERY", count)
    roi_scores = take(tensors, MODEL, "ROI_SCORES", count, None)
    boxes = take(tensors, MODEL, "LOCATIONS", count, None, 4)
    words = take(tensors, MODEL, "TEXT_SCORES", count, None) if "TEXT_SCORES" in tensors else np.zeros((count, 0))
    drawn = heats(tensors, MODEL, count)
    frames = take(tensors, MODEL, "FRAMES", count)
    searched = from_json(MODEL, take(tensors, MODEL, "SEARCHED", 1)[0])
    matches = tuple(
        Match(
            id=ids[i],
            score=float(scores[i]),
            roi_scores=tuple(roi_scores[i].tolist()),
            boxes=tuple(Box(*box) for box in boxes[i].tolist()),
            text_scores=tuple(words[i].tolist()),
            query=int(queries[i]) if queries[i] >= 0 else None,
            frame=Frame.from_json({"id": ids[i], **from_json(MODEL, frames[i])}),
            **drawn[i],
        )
        for i in range(count)
    )
    return Found(
        matches=matches,
        model=texts(take(tensors, MODEL, "MODEL", 1))[0],
        searched=int(searched.get("frames", 0)),
        rescored=int(searched.get("rescored", 0)),
        seconds=float(searched.get("seconds", 0.0)),
        lacking=int(searched.get("lacking", 0)),
        remedy=str(searched.get("remedy") or ""),
        truncated=tuple(searched.get("truncated") or ()),
        words=Words.of(searched, said or ()),
        notes=tuple(searched.get("notes") or ()),
        no_effect=NoEffect.of(searched),
    )
