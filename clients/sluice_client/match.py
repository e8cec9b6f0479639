"""`match`: how much do these images show what the query's regions show?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import InvalidRequest
from .query import ImageLike, Query, encoded
from .results import Box, Match, Scores
from .retrieve import COMBINES, SCORES, check_heatmaps, heats, query_tensors, which_heats
from .tensors import Call, Tensors, from_json, json_tensor, strings, take, texts

__all__ = ["MODEL", "answer", "failed", "request"]

MODEL = "match"


def request(
    query: Query | Sequence[Query],
    images: Sequence[ImageLike],
    *,
    score: str = "roi",
    combine: str = "max",
    heatmaps: bool | str = True,
) -> Call:
    """query: one or several; images: bytes or paths, at least one; heatmaps: as in `retrieve.Options`."""
    check_heatmaps(heatmaps)
    allowed_combine = tuple(name for name in COMBINES if name != "query")  # an image has one score here
    for name, value, allowed in (("score", score, SCORES), ("combine", combine, allowed_combine)):
        if value not in allowed:
            raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}; got {value!r}.", status="LOCAL")
    if isinstance(images, str | bytes) or not images:
        raise InvalidRequest(f"`match` needs a list of at least one image; got {images!r:.40}.", status="LOCAL")
    asked = query_tensors(query)
    outputs = ("SCORES", "ROI_SCORES", "LOCATIONS", "HEATMAPS", "ERRORS", "NOTES", "MODEL")
    return Call(
        MODEL,
        {
            **asked,
            "IMAGES": strings(encoded(image) for image in images),
            "OPTIONS": json_tensor({"score": score, "combine": combine, "heatmaps": heatmaps}),
        },
        (*outputs, *which_heats(asked, heatmaps)) if heatmaps else outputs,
    )


def answer(tensors: Tensors, names: Sequence[str] | None = None) -> Scores:
    """names: of the images, in order; default: their places in the list."""
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
    """The answer for an image that could not be read."""
    return Match(id=name, score=math.nan, error=error)
