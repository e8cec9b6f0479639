"""`select`: which images shall be labelled next? Over the stored frames, or over candidates that the caller gives."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .detections import TYPES, Detections, Pick, Selection, Uncertainties
from .errors import InvalidRequest
from .moments import seconds
from .results import Frame
from .tensors import Call, Tensors, from_json, json_tensor, strings, take, texts

__all__ = ["AGGREGATES", "MODEL", "Options", "answer", "candidate", "request"]

MODEL = "select"

AGGREGATES = ("max", "mean", "sum")
_LISTS = ("types", "labelled", "drives", "cameras", "tags", "exclude")


@dataclass(frozen=True)
class Options:
    """How to select. What is left at None is not sent, and the server's default holds.

    n:              the most images to pick (server's default 100); or
    threshold:      pick all whose score is at least this many standard deviations. One of the two.
    aggregate:      the image's score is the "max" (default), "mean" or "sum" of its z-scores.
    types:          only these of the four uncertainties.
    class_weights:  label -> weight >= 0; z-scores above the mean are multiplied by it, those below divided. 1 where not
                    named; 0 leaves the class out.
    per_drive:      the most picks of one drive.
    diversity:      pick images that differ, by their frame descriptors, from the best `n * diversity` candidates;
                    at least 1. Needs n.
    labelled:       ids that have labels already: neither picked nor part of the pool. labelled_tag: the same for
                    frames with this tag.
    drives, cameras, after, before, tags, exclude: which frames may be picked, as of `retrieve`; the pool stays whole.
    statistics:     `Selection.statistics` of an earlier answer, to score against that pool; or several, to be merged.
                    Refused for images of another pool, unless
    frozen:         they are to be judged by that other pool: a vehicle's frames by the fleet's. Needs statistics;
                    `Selection.frozen` says that it was so.
    detector:       whose scores count, by its version; default: the one that the server runs.
    object_score:   the least score of a stored object that counts (0.5; less than the server's min_score, which is what
                    frames keep, is refused). Of candidates `detect` decides it.
    listed:         the most ids in `Selection.without_objects` and `unscored`.
    """

    n: int | None = None
    threshold: float | None = None
    aggregate: str | None = None
    types: Sequence[str] | None = None
    class_weights: Mapping[str, float] | None = None
    per_drive: int | None = None
    diversity: float | None = None
    labelled: Sequence[str] | None = None
    labelled_tag: str | None = None
    drives: Sequence[str] | None = None
    cameras: Sequence[str] | None = None
    after: float | str | None = None
    before: float | str | None = None
    tags: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    statistics: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    frozen: bool | None = None
    detector: str | None = None
    object_score: float | None = None
    listed: int | None = None

    def __post_init__(self):
        if self.n is not None and self.threshold is not None:
            raise InvalidRequest("Say n or threshold, not both.", status="LOCAL")
        for name in ("n", "per_drive"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidRequest(f"{name} must be a whole number of at least 1; got {value!r}.", status="LOCAL")
        for name in ("threshold", "diversity"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InvalidRequest(f"{name} must be a finite number; got {value}.", status="LOCAL")
        after, before = seconds("after", self.after), seconds("before", self.before)
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "before", before)
        if after is not None and before is not None and after >= before:
            raise InvalidRequest(
                f"after must be earlier than before; got after={after}, before={before}.", status="LOCAL"
            )
        if self.diversity is not None and (self.diversity < 1 or self.threshold is not None):
            raise InvalidRequest(
                f"diversity is at least 1 and goes with n, not threshold; got {self.diversity:g}.", status="LOCAL"
            )
        if self.aggregate is not None and self.aggregate not in AGGREGATES:
            raise InvalidRequest(
                f"aggregate must be one of {', '.join(AGGREGATES)}; got {self.aggregate!r}.", status="LOCAL"
            )
        if self.frozen and self.statistics is None:
            raise InvalidRequest(
                "frozen judges by the statistics of another pool; give them as statistics.", status="LOCAL"
            )
        for name in _LISTS:
            if isinstance(getattr(self, name), str):
                raise InvalidRequest(f"{name} must be a list of texts; got {getattr(self, name)!r}.", status="LOCAL")
        for one in self.types or ():
            if one not in TYPES:
                raise InvalidRequest(f"types are some of {', '.join(TYPES)}; got {one!r}.", status="LOCAL")
        for label, weight in (self.class_weights or {}).items():
            if isinstance(weight, bool) or not (math.isfinite(weight) and weight >= 0):
                raise InvalidRequest(
                    f"The weight of a class is a number of at least 0; got {label}={weight}.", status="LOCAL"
                )

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        sent: dict[str, Any] = {
            name: list(value) if name in _LISTS else value for name, value in values.items() if value is not None
        }
        if "class_weights" in sent:
            sent["class_weights"] = dict(sent["class_weights"])
        if self.statistics is not None:
            given = self.statistics
            sent["statistics"] = dict(given) if isinstance(given, Mapping) else [dict(one) for one in given]
        if "diversity" in sent:
            sent["diversity"] = {"of": float(sent["diversity"])}
        return sent


def request(candidates: Iterable[Detections | Mapping[str, Any]] | None = None, **options: Any) -> Call:
    """candidates: instead of the stored frames, what `detect` answered (an entry with an error counts as unscored), or
    mappings with id, summary (None: not scored) and what is wanted of drive, camera, time, tags and descriptor.
    options: the fields of `Options`."""
    known = [field.name for field in fields(Options)]
    for name in options:
        if name not in known:
            raise InvalidRequest(f"`select` knows {', '.join(known)}; got {name!r}.", status="LOCAL")
    inputs: dict[str, np.ndarray] = {"OPTIONS": json_tensor(Options(**options).as_json())}
    if candidates is not None:
        given = [candidate(one) for one in candidates]
        if not given:
            raise InvalidRequest("`select` needs at least one candidate; got none.", status="LOCAL")
        inputs["CANDIDATES"] = strings(json.dumps(one, separators=(",", ":")) for one in given)
    return Call(
        MODEL,
        inputs,
        (
            *("IDS", "SCORES", "Z", "MAXIMA", "REASONS", "FRAMES"),
            *("WITHOUT_OBJECTS", "UNSCORED", "STATISTICS", "SEARCHED"),
        ),
    )


def candidate(one: Detections | Mapping[str, Any]) -> dict[str, Any]:
    """As the wire has it."""
    if isinstance(one, Detections):
        frame = {} if one.frame is None else one.frame.as_json()
        one = {**frame, "id": one.id, "summary": one.summary}
    elif isinstance(one, Mapping) and isinstance(one.get("frame"), Mapping):  # a line of `sluice detect --to jsonl`
        one = {**one["frame"], **one}
    summary = one.get("summary", "") if isinstance(one, Mapping) else ""
    if not isinstance(one, Mapping) or not one.get("id") or not isinstance(summary, Mapping | None):
        raise InvalidRequest(
            f"A candidate has an id and a summary, as `detect` answers them; got {one!s:.80}.", status="LOCAL"
        )
    sent: dict[str, Any] = {name: one[name] for name in _ABOUT if one.get(name)} | {"id": one["id"], "summary": summary}
    if one.get("time") is not None:
        sent["time"] = float(one["time"])
    if one.get("descriptor") is not None:
        sent["descriptor"] = [float(value) for value in one["descriptor"]]
    return sent


_ABOUT = ("drive", "camera", "tags")


def answer(tensors: Tensors) -> Selection:
    ids = texts(take(tensors, MODEL, "IDS", None))
    count = len(ids)
    scores = take(tensors, MODEL, "SCORES", count).tolist()
    z = take(tensors, MODEL, "Z", count, 4).tolist()
    maxima = take(tensors, MODEL, "MAXIMA", count, 4).tolist()
    reasons = texts(take(tensors, MODEL, "REASONS", count))
    frames = take(tensors, MODEL, "FRAMES", count)
    return Selection(
        picks=tuple(
            Pick(
                id=ids[i],
                score=scores[i],
                z=Uncertainties(*z[i]),
                maxima=Uncertainties(*maxima[i]),
                reason=reasons[i],
                frame=Frame.from_json({"id": ids[i], **(from_json(MODEL, frames[i] or b"{}") or {})}),
            )
            for i in range(count)
        ),
        without_objects=tuple(texts(take(tensors, MODEL, "WITHOUT_OBJECTS", None))),
        unscored=tuple(texts(take(tensors, MODEL, "UNSCORED", None))),
        statistics=from_json(MODEL, take(tensors, MODEL, "STATISTICS", 1)[0]),
        searched=from_json(MODEL, take(tensors, MODEL, "SEARCHED", 1)[0]),
    )
