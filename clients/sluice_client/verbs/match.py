"""The verb `match`: scores how much given images show what the query's regions show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, TypedDict, Unpack, get_args

from .. import options
from ..answers.retrieve import Match, Scores
from ..frames import Box
from ..query import ImageLike, Query, encoded
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take, texts
from .pieces import listed
from .retrieve import SCORES, Heatmaps, Score, check_heatmaps, heats, query_tensors, which_heats

__all__ = ["COMBINES", "MODEL", "Combine", "MatchKeywords", "Options", "answer", "asked", "failed", "request"]

MODEL = "match"


Combine = Literal["max", "mean"]  # no "query": an image has one score here
COMBINES: tuple[str, ...] = get_args(Combine)


class MatchKeywords(TypedDict, total=False):
    """The fields of `Options`, for type checkers and editors."""

    score: Score
    combine: Combine
    heatmaps: Heatmaps


@dataclass(frozen=True)
class Options:
    """The options of `match`: score, combine and heatmaps as of `retrieve.Options`."""

    score: Score = "roi"
    combine: Combine = "mean"
    heatmaps: Heatmaps = True

    def __post_init__(self) -> None:
        check_heatmaps(self.heatmaps)
        options.choices(self, score=SCORES, combine=COMBINES)

    @classmethod
    def of(cls, **given: Unpack[MatchKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        options.known(
            MODEL, [field.name for field in fields(cls)], given, ("query", "images", "progress", "batch", "timeout")
        )
        return cls(**given)


def request(query: Query | Sequence[Query], images: Sequence[ImageLike], **given: Unpack[MatchKeywords]) -> Call:
    """Return the call.

    query:  one query or several.
    images: encoded bytes or paths, at least one.
    given:  the fields of `Options`.
    """
    return asked(query, list(listed(MODEL, images)), Options.of(**given))


def asked(query: Query | Sequence[Query], images: Sequence[ImageLike], chosen: Options) -> Call:
    """Return the call of `request` for options that are checked already."""
    sought = query_tensors(query)
    outputs = ("SCORES", "ROI_SCORES", "LOCATIONS", "HEATMAPS", "ERRORS", "NOTES", "MODEL")
    return Call(
        MODEL,
        {
            **sought,
            "IMAGES": strings(encoded(image) for image in images),
            "OPTIONS": json_tensor(asdict(chosen)),
        },
        (*outputs, *which_heats(sought, chosen.heatmaps)) if chosen.heatmaps else outputs,
    )


def answer(tensors: Tensors, names: Sequence[str] | None = None) -> Scores:
    """Read the answer to `request`. names: of the images, in order; None for their places in the list."""
    scores = take(tensors, MODEL, "SCORES", None if names is None else len(names))
    count = len(scores)
    called = [str(i) for i in range(count)] if names is None else list(names)
    roi_scores = take(tensors, MODEL, "ROI_SCORES", count, None)
    boxes = take(tensors, MODEL, "LOCATIONS", count, None, 4)
    drawn = heats(tensors, MODEL, count)
    failures = texts(take(tensors, MODEL, "ERRORS", count))
    return Scores(
        matches=tuple(
            Match(
                id=called[i],
                score=float(scores[i]),
                roi_scores=tuple(roi_scores[i].tolist()),
                boxes=tuple(Box(*box) for box in boxes[i].tolist()),
                **drawn[i],
                error=failures[i] or None,
            )
            for i in range(count)
        ),
        model=texts(take(tensors, MODEL, "MODEL", 1))[0],
        notes=tuple(from_json(MODEL, take(tensors, MODEL, "NOTES", 1)[0]).get("notes") or ()),
    )


def failed(name: str, error: str) -> Match:
    """Return the answer for an image that could not be read."""
    return Match(id=name, score=math.nan, error=error)
