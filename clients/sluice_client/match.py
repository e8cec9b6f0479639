"""`match`: how much do these images show what the query's regions show?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .errors import InvalidRequest
from .query import ImageLike, Query, encoded, name_of
from .results import Box, Match, Scores
from .retrieve import COMBINES, SCORES, query_tensors
from .tensors import Call, Tensors, json_tensor, strings, take, texts

__all__ = ["MODEL", "Part", "answer", "parts", "request"]

MODEL = "match"


def request(
    query: Query | Sequence[Query],
    images: Sequence[ImageLike],
    *,
    score: str = "roi",
    combine: str = "max",
    heatmaps: bool = True,
) -> Call:
    """query: one or several; images: bytes or paths, at least one."""
    allowed_combine = tuple(name for name in COMBINES if name != "query")  # an image has one score here
    for name, value, allowed in (("score", score, SCORES), ("combine", combine, allowed_combine)):
        if value not in allowed:
            raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}; got {value!r}.", status="LOCAL")
    if isinstance(images, str | bytes) or not images:
        raise InvalidRequest(f"`match` needs a list of at least one image; got {images!r:.40}.", status="LOCAL")
    return Call(
        MODEL,
        {
            **query_tensors(query),
            "IMAGES": strings(encoded(image) for image in images),
            "OPTIONS": json_tensor({"score": score, "combine": combine, "heatmaps": heatmaps}),
        },
        ("SCORES", "ROI_SCORES", "LOCATIONS", "HEATMAPS", "ERRORS", "MODEL"),
    )


def answer(tensors: Tensors, names: Sequence[str] | None = None) -> Scores:
    """names: of the images, in order; default: their places in the list."""
    scores = take(tensors, MODEL, "SCORES", None if names is None else len(names))
    count = len(scores)
    called = [str(i) for i in range(count)] if names is None else list(names)
    roi_scores = take(tensors, MODEL, "ROI_SCORES", count, None)
    boxes = take(tensors, MODEL, "LOCATIONS", count, None, 4)
    heatmaps = take(tensors, MODEL, "HEATMAPS", count)
    failures = texts(take(tensors, MODEL, "ERRORS", count))
    return Scores(
        matches=tuple(
            Match(
                id=called[i],
                score=float(scores[i]),
                roi_scores=tuple(roi_scores[i].tolist()),
                boxes=tuple(Box(*box) for box in boxes[i].tolist()),
                heatmap_png=bytes(heatmaps[i]),
                error=failures[i] or None,
            )
            for i in range(count)
        ),
        model=texts(take(tensors, MODEL, "MODEL", 1))[0],
    )


@dataclass(frozen=True)
class Part:
    """Some of many images, as one call.

    names:  of all of them: paths as given, bytes by their place in the whole list.
    images: the bytes of those that could be read.
    errors: one a name; why an image could not be read, else None.
    """

    names: tuple[str, ...]
    images: tuple[bytes, ...]
    errors: tuple[str | None, ...]

    def readable(self) -> list[str]:
        return [name for name, error in zip(self.names, self.errors, strict=True) if error is None]

    def merge(self, answers: Sequence[Match]) -> list[Match]:
        """All matches in the order of the names; `answers` are those of the readable images."""
        coming = iter(answers)
        return [
            next(coming) if error is None else Match(id=name, score=math.nan, error=error)
            for name, error in zip(self.names, self.errors, strict=True)
        ]


def parts(images: Sequence[ImageLike], count: int) -> Iterator[Part]:
    """Cut many images into calls of at most `count`; files are read when their part is drawn."""
    if isinstance(images, str | bytes) or not images:
        raise InvalidRequest(f"`match` needs a list of at least one image; got {images!r:.40}.", status="LOCAL")
    if count < 1:
        raise InvalidRequest(f"batch must be at least 1; got {count}.", status="LOCAL")
    return (_part(images, begin, begin + count) for begin in range(0, len(images), count))


def _part(images: Sequence[ImageLike], begin: int, end: int) -> Part:
    names: list[str] = []
    data: list[bytes] = []
    errors: list[str | None] = []
    for place, image in enumerate(images[begin:end], begin):
        names.append(name_of(image, place))
        try:
            data.append(encoded(image))
            errors.append(None)
        except InvalidRequest as error:
            errors.append(error.message)
    return Part(tuple(names), tuple(data), tuple(errors))
