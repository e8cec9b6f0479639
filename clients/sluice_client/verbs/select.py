"""The verb `select`: picks the images to label next, from the stored frames or from candidates of the caller."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Unpack, get_args

import numpy as np

from .. import options
from ..answers.detect import TYPES, Detections, Uncertainties
from ..answers.select import Pick, Selection
from ..errors import InvalidRequest
from ..filters import Filter, FilterKeywords
from ..frames import Frame
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take, texts

__all__ = ["AGGREGATES", "MODEL", "Options", "SelectKeywords", "answer", "candidate", "request"]

MODEL = "select"

Aggregate = Literal["max", "mean", "sum"]
UncertaintyType = Literal["location_aleatoric", "location_epistemic", "class_aleatoric", "class_epistemic"]
AGGREGATES: tuple[str, ...] = get_args(Aggregate)


class SelectKeywords(FilterKeywords, total=False):
    """The fields of `Options`, for type checkers and editors."""

    n: int | None
    threshold: float | None
    over_objects: Aggregate | None
    aggregate: Aggregate | None
    rank_empty: bool | None
    types: Sequence[UncertaintyType] | None
    class_weights: Mapping[str, float] | None
    per_drive: int | None
    diversity: float | None
    labelled: Sequence[str] | None
    labelled_tag: str | None
    statistics: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    frozen: bool | None
    detector: str | None
    object_score: float | None
    listed: int | None


@dataclass(frozen=True)
class Options(Filter):
    """The options of `select`. An option that is None is not sent, and the server's default, in brackets, holds.

    n:              the most images to pick (100); or
    threshold:      pick all images whose score is at least this many standard deviations. Not both of the two.
    over_objects:   the z-scores of an image's objects become one number per type by their "sum", "mean" or "max"
                    ("sum").
    aggregate:      an image's score is the "mean", "max" or "sum" of these four numbers ("mean"). The published form is
                    "max" for both.
    rank_empty:     False to list the images in which no object was found, as published, instead of ranking them by the
                    boxes whose scores are too low for an object (True).
    types:          which of the four uncertainties count (all).
    class_weights:  weights >= 0 by the classes' labels. z-scores above the mean are multiplied by the weight, those
                    below are divided by it; where objects are summed, the sum over an image's objects of a class is.
                    A class that is not named has weight 1; weight 0 leaves a class out.
    per_drive:      the most picks of one drive.
    diversity:      at least 1; pick images whose frame descriptors differ from each other, out of the best
                    `n * diversity` candidates. Needs n.
    labelled:       ids of frames that have labels already; they are neither picked nor part of the pool.
    labelled_tag:   a tag; frames with this tag have labels already.
    drives, cameras, after, before, tags, exclude: which frames may be picked, as of `filters.Filter`. They do not
                    change the pool that scores are measured against.
    statistics:     `Selection.statistics` of an earlier answer, to score against its pool; or several, to be merged.
                    Refused for images of another pool unless `frozen` is True.
    frozen:         True to score images by the statistics of another pool, such as a vehicle's frames by the fleet's.
                    Needs statistics; `Selection.frozen` tells that it was so.
    detector:       version of the detector whose scores count (the detector that the server runs).
    object_score:   least score of a stored object that counts, 0..1 (0.5). Refused if it is less than the server's
                    min_score, since frames keep no objects below. For candidates, `detect` decides it.
    listed:         the most ids in `Selection.without_objects` and in `Selection.unscored`.
    """

    n: int | None = None
    threshold: float | None = None
    aggregate: Aggregate | None = None
    types: Sequence[UncertaintyType] | None = None
    class_weights: Mapping[str, float] | None = None
    per_drive: int | None = None
    diversity: float | None = None
    labelled: Sequence[str] | None = None
    labelled_tag: str | None = None
    _: KW_ONLY  # the filters stood here once: a position must not change its meaning
    over_objects: Aggregate | None = None
    rank_empty: bool | None = None
    statistics: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    frozen: bool | None = None
    detector: str | None = None
    object_score: float | None = None
    listed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n is not None and self.threshold is not None:
            raise InvalidRequest("Say n or threshold, not both.")
        options.wholes(self, n=(1, None), per_drive=(1, None), listed=(0, None))
        options.numbers_in(self, threshold=(-math.inf, math.inf), diversity=(-math.inf, math.inf), object_score=(0, 1))
        options.choices(self, over_objects=AGGREGATES, aggregate=AGGREGATES)
        options.lists(self, "types", "labelled")
        options.flags(self, "frozen", "rank_empty")
        if self.diversity is not None and (self.diversity < 1 or self.threshold is not None):
            raise InvalidRequest(f"diversity is at least 1 and goes with n, not threshold; got {self.diversity:g}.")
        if self.frozen and self.statistics is None:
            raise InvalidRequest("frozen judges by the statistics of another pool; give them as statistics.")
        for one in self.types or ():
            if one not in TYPES:
                raise InvalidRequest(f"types are some of {', '.join(TYPES)}; got {one!r}.")
        if self.class_weights is not None and not isinstance(self.class_weights, Mapping):
            raise InvalidRequest(
                f'class_weights must be a mapping, such as {{"Car": 2.0}}; got {self.class_weights!r:.80}.'
            )
        for label, weight in (self.class_weights or {}).items():
            try:
                options.number("The weight", weight, 0)
            except InvalidRequest:
                raise InvalidRequest(
                    f"The weight of a class is a number of at least 0; got {label}={weight!r:.80}."
                ) from None
        several = [self.statistics] if isinstance(self.statistics, Mapping) else self.statistics
        if several is not None and (
            isinstance(several, str | bytes)
            or not isinstance(several, Sequence)
            or not all(isinstance(one, Mapping) for one in several)
        ):
            raise InvalidRequest(
                f"statistics are those of an earlier answer, or a list of such; got {self.statistics!r:.80}."
            )

    @classmethod
    def of(cls, **given: Unpack[SelectKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        options.known(MODEL, cls.names(), given, ("candidates", "timeout"))
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options that are sent, by their names."""
        sent = super().as_json()
        if "class_weights" in sent:
            sent["class_weights"] = {label: float(weight) for label, weight in sent["class_weights"].items()}
        if self.statistics is not None:
            given = self.statistics
            sent["statistics"] = dict(given) if isinstance(given, Mapping) else [dict(one) for one in given]
        if "diversity" in sent:
            sent["diversity"] = {"of": float(sent["diversity"])}
        return sent


def request(
    candidates: Iterable[Detections | Mapping[str, Any]] | None = None, **given: Unpack[SelectKeywords]
) -> Call:
    """Return the call.

    candidates: None to pick from the stored frames; else the answer of `detect`, of which an entry with an error counts
                as not scored, or mappings with id, summary (None if not scored) and, if known, drive, camera, time,
                tags and descriptor.
    given:      the fields of `Options`.
    """
    inputs: dict[str, np.ndarray] = {"OPTIONS": json_tensor(Options.of(**given).as_json())}
    if candidates is not None:
        if isinstance(candidates, Mapping) or not isinstance(candidates, Iterable):
            raise InvalidRequest(f"candidates must be a list, as `detect` answers it; got {candidates!r:.80}.")
        listed = [candidate(one) for one in candidates]
        if not listed:
            raise InvalidRequest("`select` needs at least one candidate; got none.")
        inputs["CANDIDATES"] = strings(json.dumps(one, separators=(",", ":")) for one in listed)
    return Call(
        MODEL,
        inputs,
        (
            *("IDS", "SCORES", "Z", "MAXIMA", "REASONS", "FRAMES"),
            *("WITHOUT_OBJECTS", "UNSCORED", "STATISTICS", "SEARCHED"),
        ),
    )


def candidate(one: Detections | Mapping[str, Any]) -> dict[str, Any]:
    """Return a candidate as the JSON object that is sent. Raises InvalidRequest if it has no id or no summary."""
    if isinstance(one, Detections):
        frame = {} if one.frame is None else one.frame.as_json()
        one = {**frame, "id": one.id, "summary": one.summary}
    elif isinstance(one, Mapping) and isinstance(one.get("frame"), Mapping):  # a line of `sluice detect --to jsonl`
        one = {**one["frame"], **one}
    summary = one.get("summary", "") if isinstance(one, Mapping) else ""
    if not isinstance(one, Mapping) or not one.get("id") or not isinstance(summary, Mapping | None):
        raise InvalidRequest(f"A candidate has an id and a summary, as `detect` answers them; got {one!s:.80}.")
    sent: dict[str, Any] = {name: one[name] for name in _ABOUT if one.get(name)} | {"id": one["id"], "summary": summary}
    try:
        if one.get("time") is not None:
            sent["time"] = float(one["time"])
        if one.get("descriptor") is not None:
            sent["descriptor"] = [float(value) for value in one["descriptor"]]
    except (OverflowError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"The time and the descriptor of the candidate {one['id']!s:.80} are numbers; {error}."
        ) from None
    return sent


_ABOUT = ("drive", "camera", "tags")


def answer(tensors: Tensors) -> Selection:
    """Read the answer to `request`."""
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
