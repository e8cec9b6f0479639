"""The options of a selection, each with its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Filter
from sluice.methods.mixtures.summaries import TYPES
from sluice.methods.selection import no_effect
from sluice.methods.selection.pool import Statistics
from sluice.options import (
    Kind,
    check_options,
    choice,
    flag,
    names_of,
    number,
    one_text,
    option,
    split,
    text_list,
    whole,
)

AGGREGATES = ("max", "mean", "sum")
DEFAULT_N = 100
MAX_N = 10_000  # picks of one answer
MAX_DIVERSE = 10_000  # frames among which a diverse selection picks: the work is this times the picks
MAX_LISTED = 100_000
LIGHTEST = 1e-6  # weight of a class that still counts; its inverse is the greatest


def _types(value: Any) -> tuple[str, ...] | None:
    """Return the types in the order of TYPES; None if some are not of them, or if there are none."""
    given = text_list.accept(value) or ()
    return tuple(name for name in TYPES if name in given) if given and set(given) <= set(TYPES) else None


def _weight(value: Any) -> float | None:
    """Return the weight of a class; None if it is out of its range."""
    return 0.0 if number(0, 0).accept(value) == 0 else number(LIGHTEST, 1 / LIGHTEST).accept(value)


_TYPES = Kind(f"a list of some of {', '.join(TYPES)}", _types)
_WEIGHT = Kind(f"a number from {LIGHTEST:g} to {1 / LIGHTEST:g}, or 0 to leave the class out", _weight)
_WEIGHTS = Kind[Mapping[str, float]](
    "an object of class names and weights",
    lambda value: value if isinstance(value, Mapping) and all(isinstance(label, str) for label in value) else None,
)


@dataclass(frozen=True)
class Options:
    """The rules of a selection. Raises InvalidArgument naming the field that is not of its kind."""

    # How many to pick. None: 100, or with a threshold as many as reach it, at most 10,000.
    n: int | None = option(None, whole(1, MAX_N))
    threshold: float | None = option(None, number())  # least score, inclusive; instead of n
    # The z-scores of an image's objects become one per type by their sum (mean, greatest), and the types become the
    # image's score by their mean (greatest, sum). The published form is max and max.
    over_objects: str = option("sum", choice(AGGREGATES))
    aggregate: str = option("mean", choice(AGGREGATES))
    # Frames in which no object was found are ranked, too, by the boxes whose scores are too low for an object. False:
    # they are listed, as published.
    rank_empty: bool = option(True, flag)
    types: tuple[str, ...] | None = option(None, _TYPES)  # None: all that the detector gives
    # Weight of a class, 1 where it is not named: z times it above the pool's mean, divided by it below; 0: left out.
    class_weights: Mapping[str, float] = field(default_factory=dict)
    per_drive: int | None = option(None, whole(1))  # most picks per drive; frames without a drive count as one drive
    # Picks that look unlike each other: k-centre on the frames' descriptors, among the best n * diversity. 1 picks the
    # same frames as None does, in another order. In JSON {"of": 5} or 5.
    diversity: float | None = option(None, number(1))
    # Ids that belong neither to the picks nor to the pool; unknown ones do no harm.
    labelled: tuple[str, ...] = option((), text_list.or_null())
    labelled_tag: str | None = option(None, one_text)  # frames with this tag likewise
    detector: str | None = option(None, one_text)  # whose scores, by its version; None: the one that this server runs
    # Least score of an object; None: 0.5, or the aggregator's min_score where that is higher. Frames keep objects from
    # min_score on, so less is refused.
    object_score: float | None = option(None, number(0, 1))
    statistics: Statistics | None = None  # as an earlier answer gave them; None: taken from the pool
    # Judge the images by these statistics although they are of another pool: a vehicle that has seen ten frames, by the
    # fleet's. Said in the answer. False: statistics of another pool are refused.
    frozen: bool = option(False, flag)
    # Most ids in the lists of frames without objects and of unscored frames.
    listed: int = option(10_000, whole(0, MAX_LISTED))
    filters: Filter = field(default_factory=Filter)  # which frames may be picked; the pool stays whole

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "labelled", self.labelled or ())
        weights = _WEIGHTS("class_weights", {} if self.class_weights is None else self.class_weights)
        weights = {label: _WEIGHT(f"class_weights[{label!r:.80}]", weight) for label, weight in weights.items()}
        object.__setattr__(self, "class_weights", weights)
        if self.n is not None and self.threshold is not None:
            raise InvalidArgument("give n or threshold, not both: n picks the best, threshold all that reach it")
        if self.frozen and self.statistics is None:
            raise InvalidArgument(
                "frozen judges images by the statistics of another pool; give them as `statistics`, as `select` over "
                "that pool answered them, or leave frozen out"
            )
        if self.diversity is not None and self.threshold is not None:
            raise InvalidArgument("diversity picks n frames that look unlike each other; give n instead of threshold")

    def count(self) -> int:
        """Return how many to pick without a threshold."""
        return DEFAULT_N if self.n is None else self.n

    def left_out(self) -> tuple[str, ...]:
        """Return the classes of weight 0, sorted."""
        return tuple(sorted(label for label, weight in self.class_weights.items() if weight == 0))

    def weights(self, labels: Sequence[str]) -> np.ndarray:
        """Return the weight of each label, float64 [labels]."""
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
        """Return options from JSON text, or from an object that was parsed already; the filters lie beside the other
        members. Raises InvalidArgument for an unknown name, and for a value that is not of its kind."""
        known = [name for name in names_of(cls) if name != "filters"]
        own, filters = split(given, known, names_of(Filter))
        if own.get("statistics") is not None:
            own["statistics"] = Statistics.from_json(own["statistics"])
        if isinstance(own.get("diversity"), Mapping):
            if set(own["diversity"]) != {"of"}:
                raise InvalidArgument('diversity is {"of": number} or the number alone, 1 or more')
            own["diversity"] = own["diversity"]["of"]
        return cls(**own, filters=Filter(**filters))


def without_effect(frames: no_effect.Frames, options: Options) -> list[dict[str, Any]]:
    """Return an entry per option that names what no frame has, or that does nothing beside the others.

    The entries are those of `sluice.methods.selection.no_effect.entry`.
    """
    told = no_effect.named(frames, "labelled", "id", options.labelled)
    if options.labelled_tag is not None:
        told += no_effect.named(frames, "labelled_tag", "tag", [options.labelled_tag])
    told += no_effect.filters(frames, options.filters)
    if options.aggregate != Options.aggregate and options.types is not None and len(options.types) == 1:
        told.append(no_effect.entry("aggregate", "there is one type, whose z-score stands alone"))
    return told
