"""Keeps results in one JSON file that needs nothing else: query image, regions, matches and heat maps."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..answers.retrieve import Found, Match, Scores
from ..answers.words import Words
from ..errors import InvalidRequest
from ..frames import Box, Frame
from ..query import Query, encoded
from . import text_files

__all__ = ["FORMAT", "Saved", "dumps", "load", "loads", "save"]

FORMAT = "sluice.found/1"


@dataclass(frozen=True)
class Saved:
    """A query and its results.

    image:  the encoded query image; b"" when the query had words alone.
    rois:   regions of the query image, in its pixels.
    found:  the answer of `retrieve` or `match`.
    texts:  the words of the query.
    others: the second query and those after it, with their encoded images.
    """

    image: bytes
    rois: tuple[Box, ...]
    found: Found | Scores
    texts: tuple[str, ...] = ()
    others: tuple[Query, ...] = ()

    @property
    def stored(self) -> bool:
        """Tell whether the results are frames of the gallery; those of `match` are files."""
        return isinstance(self.found, Found)


def dumps(
    image: bytes,
    rois: Sequence[Sequence[float]],
    found: Found | Scores,
    texts: Sequence[str] = (),
    others: Sequence[Query] = (),
) -> str:
    """Return the text of a file that `loads` reads. Arguments are the fields of `Saved`."""
    value: dict[str, Any] = {
        "format": FORMAT,
        "verb": "retrieve" if isinstance(found, Found) else "match",
        "query": _query(image, rois)
        | ({"texts": list(texts)} if texts else {})
        | ({"others": [_query(encoded(one.image or b""), one.rois) for one in others]} if others else {}),
        "model": found.model,
        "matches": [{**match.as_json(), **_heats(match)} for match in found.matches],
    }
    if isinstance(found, Found):
        value |= {"searched": found.searched, "rescored": found.rescored, "seconds": found.seconds}
        value |= {"lacking": found.lacking} if found.lacking else {}
        value |= {"words": found.words.as_json()} if found.words else {}
    return text_files.as_json(value)


def _query(image: bytes, rois: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {"image": base64.b64encode(image).decode(), "rois": [list(map(float, roi)) for roi in rois]}


def _heats(match: Match) -> dict[str, Any]:
    each = [base64.b64encode(png).decode() for png in match.query_heatmap_pngs]
    return {"heatmap": base64.b64encode(match.heatmap_png).decode()} | ({"query_heatmaps": each} if each else {})


def loads(text: str | bytes) -> Saved:
    """Read what `dumps` wrote. Raises InvalidRequest when the text is something else."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            got = value.get("format") if isinstance(value, dict) else type(value).__name__
            raise InvalidRequest(
                f"The format should be {FORMAT!r}; got {got!r}. Write the file with `sluice retrieve --save`.",
            )
        matches = tuple(_match(one) for one in value["matches"])
        said = tuple(map(str, value["query"].get("texts", ())))
        found: Found | Scores
        if value["verb"] == "retrieve":
            found = Found(matches, value["model"], value["searched"], value["rescored"], value["seconds"])
            found = replace(
                found, lacking=int(value.get("lacking", 0)), words=Words.from_json(value.get("words", {}), said)
            )
        else:
            found = Scores(matches, value["model"])
        rois = tuple(Box(*map(float, roi)) for roi in value["query"]["rois"])
        more = [(base64.b64decode(one["image"]), one["rois"]) for one in value["query"].get("others", ())]
        others = tuple(Query(data, rois=boxes) for data, boxes in more)
        return Saved(base64.b64decode(value["query"]["image"]), rois, found, said, others)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(
            f"This is not a whole file of `sluice retrieve --save`: {type(error).__name__} {error}."
        ) from None


def _match(value: dict[str, Any]) -> Match:
    nowhere = (math.nan,) * 4
    return Match(
        id=value["id"],
        score=_number(value["score"]),
        roi_scores=tuple(_number(score) for score in value["roi_scores"]),
        boxes=tuple(Box(*(nowhere if box is None else box)) for box in value["boxes"]),
        query=value["query"],
        frame=None if value["frame"] is None else Frame.from_json(value["frame"]),
        heatmap_png=base64.b64decode(value.get("heatmap") or ""),
        heatmap_query=value.get("heatmap_query"),
        query_heatmap_pngs=tuple(map(base64.b64decode, value.get("query_heatmaps") or ())),
        error=value["error"],
        text_scores=tuple(map(_number, value.get("text_scores") or ())),
    )


def _number(value: float | None) -> float:
    """Return the number, or NaN for null, as which JSON holds it."""
    return math.nan if value is None else float(value)


def save(
    path: str,
    image: bytes,
    rois: Sequence[Sequence[float]],
    found: Found | Scores,
    texts: Sequence[str] = (),
    others: Sequence[Query] = (),
) -> None:
    """Write the results to a file. Raises InvalidRequest or CannotWrite when that fails."""
    text_files.write(path, dumps(image, rois, found, texts, others))


def load(path: str) -> Saved:
    """Read a file that `save` wrote; the path "-" is stdin. Raises InvalidRequest when it is something else."""
    return loads(text_files.read(path))
