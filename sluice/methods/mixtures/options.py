"""Options of the way from mixture heads to objects, and those of them that the training of a network has settled.

The options steer `sluice.methods.mixtures.objects`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sluice.options import check_options, choice, json_object, names_of, number, one_text, option, text_list, whole

REDUCTIONS = ("detected", "max")
SIGMOIDS = ("deviation", "variance")


@dataclass(frozen=True)
class Reading:
    """The meaning of a network's heads, which its training has settled; with another reading the boxes are wrong.

    location_sigmoid: the meaning of the sigmoid of LOCATION_VARIANCE. 'deviation' is the standard deviation of a
        component, by which the published loss divides. 'variance' is its variance, as in the patent, [0073], and as the
        name of the tensor says.
    centre_variance: SSD's scale of the offsets of cx and cy, offset * 0.1 * side of the prior = pixels.
    size_variance:   SSD's scale of the offsets of w and h, exp(offset * 0.2) = side over that of the prior.
        Both are 1 for a network that learned offsets without them.
    """

    location_sigmoid: str = "variance"
    centre_variance: float = 0.1
    size_variance: float = 0.2

    @classmethod
    def of_record(cls, record: Mapping[str, str]) -> Reading | None:
        """Read the reading from the metadata of a graph (`versions.network_record`); None if they do not hold one.

        Raises ValueError for an entry that cannot be understood.
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
        """Return the metadata from which `of_record` reads this reading."""
        return {"sluice.reading": json.dumps(dataclasses.asdict(self), sort_keys=True)}


@dataclass(frozen=True)
class Options:
    """Every constant of the way from heads to objects; the defaults are the published ones."""

    confidence: float = option(0.01, number(0, 1))  # a box enters suppression with a score above it
    candidates: int = option(200, whole(1, 10_000))  # best boxes of a class that enter suppression
    # A box survives next to a better one of its class when they overlap by this or less.
    iou: float = option(0.45, number(0, 1))
    keep: int = option(200, whole(1, 10_000))  # most boxes of a class that survive
    # Least score of an object: the uncertainties of an image are taken from objects.
    object_score: float = option(0.5, number(0, 1))
    # Least score of a box that is returned; a lower one shows evaluations more than the objects.
    min_score: float = option(0.5, number(0, 1))
    # Class uncertainty: of the detected class, as Choi et al. publish it, or the greatest over all C, as the patent
    # says ([0086], [0104]).
    class_reduce: str = option("detected", choice(REDUCTIONS))
    # As in `Reading`. 'variance' takes the sigmoid as it is. For heads that were trained on a deviation this is what
    # the authors' code computes, the mean of the components' deviations in place of the mean of their variances.
    location_sigmoid: str = option(Reading.location_sigmoid, choice(SIGMOIDS))
    centre_variance: float = option(Reading.centre_variance, number(1e-6, 1e6))
    size_variance: float = option(Reading.size_variance, number(1e-6, 1e6))
    labels: tuple[str, ...] | None = option(None, text_list)  # names of the classes to detect; None means all
    # A text that tells how the image was laid on the canvas of the network; `detect` writes its canvases. Nothing is
    # computed from the text, but the way shapes what is found, so the text is part of the version.
    shown: str = option("", one_text)

    def __post_init__(self) -> None:
        check_options(self)

    @classmethod
    def from_json(cls, given: Any, defaults: Options | None = None, without: Collection[str] = ()) -> Options:
        """Return options from JSON text, or from an object that was parsed already.

        defaults: the values of the options that are not given. without: names of options that may not be given.
        Raises InvalidArgument for a name that does not exist, and for a value out of its range.
        """
        known = [name for name in names_of(cls) if name not in without]
        return dataclasses.replace(defaults or cls(), **json_object(given, known=known))

    def shaping(self) -> dict[str, Any]:
        """Return the options that shape the detections of an image, each in one spelling; a version is made of them.

        `object_score` is left out: it only decides which detections a summary counts, and each summary carries it.
        """
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "object_score"}
        labels = None if self.labels is None else sorted(set(self.labels))
        return {**{name: float(v) if isinstance(v, int | float) else v for name, v in values.items()}, "labels": labels}
