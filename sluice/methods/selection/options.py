"""What a request for a selection may say, each with its range."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Search
from sluice.methods.mixtures.summaries import TYPES
from sluice.methods.selection import no_effect
from sluice.methods.selection.pool import Statistics
from sluice.options import parsed

AGGREGATES = ("max", "mean", "sum")
DEFAULT_N = 100
MAX_N = 10_000  # picks of one answer
MAX_DIVERSE = 10_000  # frames among which a diverse selection picks: the work is this times the picks
MAX_LISTED = 100_000
LIGHTEST = 1e-6  # weight of a class that still counts; its inverse is the greatest
FILTERS = ("drives", "cameras", "after", "before", "tags", "exclude")


@dataclass(frozen=True)
class Options:
    """How to pick. Raises InvalidArgument naming the field that is not what it must be."""

    n: int | None = None  # how many; None: 100, or with a threshold as many as reach it, at most 10,000
    threshold: float | None = None  # least score, inclusive; instead of n
    aggregate: str = "max"  # over the types: max (published), mean, sum
    types: tuple[str, ...] | None = None  # of TYPES; None: all that the detector gives
    # Weight of a class, 1 where it is not named: z times it above the pool's mean, divided by it below; 0: left out.
    class_weights: Mapping[str, float] = field(default_factory=dict)
    per_drive: int | None = None  # most picks of one drive; frames without a drive count as one
    # Picks that look unlike each other: k-centre on the frames' descriptors, among the best n * diversity. 1 picks the
    # same frames as None does, in another order. In JSON {"of": 5} or 5.
    diversity: float | None = None
    labelled: tuple[str, ...] = ()  # ids that belong neither to the picks nor to the pool; unknown ones do no harm
    labelled_tag: str | None = None  # frames with this tag likewise
    detector: str | None = None  # whose scores, by its version; None: the one that this server runs
    # Least score of an object; None: 0.5, or the aggregator's min_score where that is higher. Frames keep objects from
    # min_score on, so less is refused.
    object_score: float | None = None
    statistics: Statistics | None = None  # as an earlier answer gave them; None: taken from the pool
    # Judge the images by these statistics although they are of another pool: a vehicle that has seen ten frames, by the
    # fleet's. Said in the answer. False: statistics of another pool are refused.
    frozen: bool = False
    listed: int = 10_000  # most ids in the lists of frames without objects and of unscored frames
    filters: Search = field(default_factory=Search)  # which frames may be picked; the pool stays whole

    def __post_init__(self) -> None:
        if self.n is not None and self.threshold is not None:
            raise InvalidArgument("give n or threshold, not both: n picks the best, threshold all that reach it")
        if not isinstance(self.frozen, bool):
            raise InvalidArgument(f"frozen is true or false; got {self.frozen!r:.80}")
        if self.frozen and self.statistics is None:
            raise InvalidArgument(
                "frozen judges images by the statistics of another pool; give them as `statistics`, as `select` over "
                "that pool answered them, or leave frozen out"
            )
        self._whole("n", MAX_N)
        self._whole("per_drive", None)
        _number("threshold", self.threshold, -math.inf)
        _number("diversity", self.diversity, 1)
        _number("object_score", self.object_score, 0, 1)
        if self.diversity is not None and self.threshold is not None:
            raise InvalidArgument("diversity picks n frames that look unlike each other; give n instead of threshold")
        if self.aggregate not in AGGREGATES:
            raise InvalidArgument(f"aggregate is one of {', '.join(AGGREGATES)}; got {self.aggregate!r:.80}")
        if self.types is not None:
            types = _texts("types", self.types)
            if not types or not set(types) <= set(TYPES):
                raise InvalidArgument(f"types are some of {', '.join(TYPES)}, or null for all; got {list(types)!r:.80}")
            object.__setattr__(self, "types", tuple(name for name in TYPES if name in types))
        object.__setattr__(self, "labelled", _texts("labelled", self.labelled or ()))
        for key in ("labelled_tag", "detector"):
            if getattr(self, key) is not None and not isinstance(getattr(self, key), str):
                raise InvalidArgument(f"{key} is a text or null; got {getattr(self, key)!r:.80}")
        if not isinstance(self.listed, int) or isinstance(self.listed, bool) or not 0 <= self.listed <= MAX_LISTED:
            raise InvalidArgument(f"listed is a whole number from 0 to {MAX_LISTED:,}; got {self.listed!r:.80}")
        self._check_weights()

    def _whole(self, key: str, most: int | None) -> None:
        value = getattr(self, key)
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
            limit = f"from 1 to {most:,}" if most else "of 1 or more"
            raise InvalidArgument(f"{key} is a whole number {limit}, or null; got {value!r:.80}")

    def _check_weights(self) -> None:
        if self.class_weights is None:
            object.__setattr__(self, "class_weights", {})
        if not isinstance(self.class_weights, Mapping):
            raise InvalidArgument(
                f"class_weights is an object of class names and weights; got {self.class_weights!r:.80}"
            )
        for label, weight in self.class_weights.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not isinstance(label, str) or not number or not (weight == 0 or LIGHTEST <= weight <= 1 / LIGHTEST):
                raise InvalidArgument(
                    f"class_weights[{label!r:.80}] is a number from {LIGHTEST:g} to {1 / LIGHTEST:g}, or 0 to leave "
                    f"the class out; got {weight!r:.80}"
                )

    def count(self) -> int:
        """How many to pick, without a threshold."""
        return DEFAULT_N if self.n is None else self.n

    def left_out(self) -> tuple[str, ...]:
        """The classes of weight 0, sorted."""
        return tuple(sorted(label for label, weight in self.class_weights.items() if weight == 0))

    def weights(self, labels: Sequence[str]) -> np.ndarray:
        """float64 [labels]."""
        return np.array([self.class_weights.get(label, 1) for label in labels], np.float64)

    def check_classes(self, labels: Sequence[str]) -> None:
        """Raise InvalidArgument for a weight of a class that the detector does not know, or if no class is left."""
        unknown = sorted(set(self.class_weights) - set(labels))
        if unknown:
            raise InvalidArgument(
                f"class_weights has {', '.join(unknown)!s:.200}; the detector knows {', '.join(labels)!s:.400}"
            )
        if labels and not self.weights(labels).any():
            raise InvalidArgument("class_weights leaves every class out; give at least one a weight above 0")

    @classmethod
    def from_json(cls, given: str | bytes | Mapping[str, Any]) -> Options:
        """From JSON text or its object; the filters of a search lie beside the other keys. Unknown keys are refused."""
        if isinstance(given, str | bytes):
            given = parsed(given or "{}", "OPTIONS")
        names = [f.name for f in fields(cls) if f.name != "filters"] + list(FILTERS)
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"OPTIONS is a JSON object with some of {', '.join(names)}; got {given!r:.80}")
        unknown = sorted(set(map(str, given)) - set(names))
        if unknown:
            raise InvalidArgument(f"OPTIONS has {', '.join(unknown)!s:.200}; select knows {', '.join(names)}")
        own = {key: value for key, value in given.items() if key not in FILTERS}
        if own.get("statistics") is not None:
            own["statistics"] = Statistics.from_json(own["statistics"])
        if isinstance(own.get("diversity"), Mapping):
            if set(own["diversity"]) != {"of"}:
                raise InvalidArgument('diversity is {"of": number} or the number alone, 1 or more')
            own["diversity"] = own["diversity"]["of"]
        filters = {key: value for key, value in given.items() if key in FILTERS}
        return replace(cls(**own), filters=Search.from_json(filters))


def without_effect(frames: no_effect.Frames, options: Options) -> list[dict[str, Any]]:
    """What of the options names what no frame has, or does nothing beside the others; entries as of
    `sluice.methods.selection.no_effect.entry`."""
    told = no_effect.named(frames, "labelled", "id", options.labelled)
    if options.labelled_tag is not None:
        told += no_effect.named(frames, "labelled_tag", "tag", [options.labelled_tag])
    told += no_effect.filters(frames, options.filters)
    if options.aggregate != "max" and options.types is not None and len(options.types) == 1:
        told.append(no_effect.entry("aggregate", "there is one type, whose z-score stands alone"))
    return told


def _number(key: str, value: Any, low: float, high: float = math.inf) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not isfinite: it fails on a whole number beyond every float.
    if not number or not abs(value) <= sys.float_info.max or not low <= value <= high:
        limits = f" of {low:g} or more" if high == math.inf else f" from {low:g} to {high:g}"
        limits = "" if low == -math.inf else limits
        raise InvalidArgument(f"{key} is a finite number{limits}; got {value!r:.80}")


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"{key} is a list of texts; got {value!r:.80}")
    return tuple(value)
