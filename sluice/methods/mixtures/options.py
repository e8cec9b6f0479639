"""How mixture heads become objects: every constant of the method, and what a network's training has settled of them.

The maths that they steer is in `sluice.methods.mixtures.objects`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sluice.errors import InvalidArgument
from sluice.options import parsed

REDUCTIONS = ("detected", "max")
SIGMOIDS = ("deviation", "variance")


@dataclass(frozen=True)
class Reading:
    """How the heads of a network must be read: as its training wrote them, no matter of taste.

    location_sigmoid: what the sigmoid of LOCATION_VARIANCE is: the standard deviation of a component (the published
        loss divides by it) or its variance (the patent, [0073]; what the tensor's name says, and so the default here).
    centre_variance: SSD's scale of the offsets of cx, cy: offset * 0.1 * prior's size = pixels; size_variance: of w, h:
        exp(offset * 0.2) = factor. 1 for a network that learned offsets without them.
    """

    location_sigmoid: str = "variance"
    centre_variance: float = 0.1
    size_variance: float = 0.2

    @classmethod
    def of_record(cls, record: Mapping[str, str]) -> Reading | None:
        """From what a graph says of itself (`sluice.versions.network_record`); None where it does not say.

        Raises ValueError for what says it in another way.
        """
        if "sluice.reading" in record:
            try:
                given = json.loads(record["sluice.reading"])
                reading = cls(**given)
                Options(**given)
            except (ValueError, TypeError) as error:
                raise ValueError(f"the graph's sluice.reading is not understood ({error}); export it again") from None
            return reading
        # The first edition of the export did not write it; every network that it knew was trained on a deviation.
        return cls("deviation") if record.get("sluice.edition") == "1" else None

    def as_record(self) -> dict[str, str]:
        """The inverse of `of_record`."""
        return {"sluice.reading": json.dumps(dataclasses.asdict(self), sort_keys=True)}


@dataclass(frozen=True)
class Options:
    """How heads become objects. Every constant of the method; the defaults are the published ones."""

    confidence: float = 0.01  # a box enters suppression with a score above it
    candidates: int = 200  # best boxes of a class that enter suppression
    iou: float = 0.45  # a box survives next to a better one of its class when they overlap by this or less
    keep: int = 200  # most boxes of a class that survive
    object_score: float = 0.5  # least score of an object: what the uncertainties of an image are taken from
    min_score: float = 0.5  # least score of a box that is returned; lower shows evaluations more than the objects
    # Class uncertainty: of the detected class, as Choi et al. publish it, or the greatest over all C, as the patent
    # says ([0086], [0104]).
    class_reduce: str = "detected"
    # As in `Reading`. 'variance' takes the sigmoid as it is: for heads that were trained on a deviation that is what
    # the authors' code computes, the mean of the components' deviations in the place of that of their variances.
    location_sigmoid: str = Reading.location_sigmoid
    centre_variance: float = Reading.centre_variance
    size_variance: float = Reading.size_variance
    labels: tuple[str, ...] | None = None  # only these classes; None: all
    # How the picture was laid on the network's canvas, in the words of whoever did it (`detect` says its canvases):
    # nothing is computed from it, but it shapes what is found, so it is part of the version.
    shown: str = ""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("confidence", 0, 1), ("iou", 0, 1), ("object_score", 0, 1), ("min_score", 0, 1),
            ("centre_variance", 1e-6, 1e6), ("size_variance", 1e-6, 1e6),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InvalidArgument(f"{name} is a number from {low} to {high}, got {value!r}")
        for name in ("candidates", "keep"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000:
                raise InvalidArgument(f"{name} is a whole number from 1 to 10000, got {value!r}")
        for name, known in (("class_reduce", REDUCTIONS), ("location_sigmoid", SIGMOIDS)):
            if getattr(self, name) not in known:
                raise InvalidArgument(f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not isinstance(self.labels or (), tuple) or not all(isinstance(label, str) for label in self.labels or ()):
            raise InvalidArgument(f"labels is a list of names or null, got {self.labels!r}")
        if not isinstance(self.shown, str):
            raise InvalidArgument(f"shown is a text, got {self.shown!r:.80}")

    @classmethod
    def from_json(cls, given: Any, defaults: Options | None = None, without: Collection[str] = ()) -> Options:
        """From JSON text or its object; what is not given is as in `defaults`. without: names that may not be given.

        Raises InvalidArgument for a key that does not exist, and for a value out of its range.
        """
        if isinstance(given, str | bytes):
            given = parsed(given or "{}", "OPTIONS")
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"OPTIONS is a JSON object, got {str(given)[:80]}")
        names = [field.name for field in dataclasses.fields(Options)]
        known = [name for name in names if name not in without]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise InvalidArgument(f"OPTIONS has {unknown}; known are: {', '.join(known)}")
        values = {**{name: getattr(defaults or Options(), name) for name in names}, **given}
        if isinstance(values["labels"], list):
            values["labels"] = tuple(values["labels"])
        return Options(**values)

    def shaping(self) -> dict[str, Any]:
        """What of these options shapes the rows of an image, in one spelling each: of this a version is made.

        `object_score` is not: it only says which rows a summary counts, and each summary carries it.
        """
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "object_score"}
        labels = None if self.labels is None else sorted(set(self.labels))
        return {**{name: float(v) if isinstance(v, int | float) else v for name, v in values.items()}, "labels": labels}
