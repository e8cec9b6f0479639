"""The model `uncertainty_aggregator`: a detector's output to objects with the uncertainties that it gives.

The output is mixture heads, which give all four, or the boxes and scores of a plain detector's members
(`sluice.methods.mixtures.members`), which give the epistemic two or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from sluice.errors import InvalidArgument
from sluice.images import Geometry
from sluice.methods import mixtures
from sluice.methods.mixtures import members as plain
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.members import Members, Predictions
from sluice.methods.mixtures.options import Options, Reading
from sluice.methods.mixtures.summaries import Detections, Summary
from sluice.versions import network_record, network_version, shaped
from sluice.wire.calls import Tensors, json_object, strings, texts

HEADS = (
    "PRIORS", "LOCATION_MEAN", "LOCATION_VARIANCE", "LOCATION_WEIGHT", "CLASS_MEAN", "CLASS_VARIANCE", "CLASS_WEIGHT",
)  # fmt: skip


PREDICTIONS = ("MEMBER_BOXES", "MEMBER_SCORES", "MEMBERS")
ONLY_MIXTURES = ("class_reduce", "location_sigmoid")  # options without a meaning for a plain detector


@dataclass(frozen=True)
class Defaults(Options):
    """The options that hold unless a request says otherwise, and the detector whose heads come without a name.

    The fields of `Reading` may be 'network' and 0, which stand for what the network's graph says of its training.
    """

    location_sigmoid: str = "network"
    centre_variance: float = 0.0
    size_variance: float = 0.0
    detector: str = "mixture_detector"

    def __post_init__(self) -> None:
        self.options(Reading())  # refuses values out of their range

    def options(self, reading: Reading) -> Options:
        """Return these defaults for a network with this reading."""
        values = {field.name: getattr(self, field.name) for field in fields(Options)}
        for field in fields(Reading):
            if values[field.name] in ("network", 0):
                values[field.name] = getattr(reading, field.name)
        return Options(**values)


def read_reading(repository: Path, detector: str, defaults: Defaults) -> Reading:
    """Return how the heads of a detector of this server must be read, as its graph says.

    Raises ValueError with the remedy if neither the graph nor the parameters say it in full.
    """
    reading = Reading.of_record(network_record(repository, detector))
    # Two readings that differ in everything come out alike only where the parameters say everything.
    if reading is None and defaults.options(Reading()) != defaults.options(Reading("deviation", 1.0, 1.0)):
        raise ValueError(
            f"{detector}/1/model.onnx does not say what the sigmoid of its LOCATION_VARIANCE is, nor the scale of its "
            "offsets; export it with python -m export, or set location_sigmoid (deviation or variance), "
            "centre_variance and size_variance in uncertainty_aggregator/config.pbtxt"
        )
    return reading or Reading()


def read_labels(repository: Path, detector: str) -> tuple[str, ...]:
    """Read the class names of a detector of this server, without the background: the lines of its labels.txt.

    Raises FileNotFoundError and ValueError with the remedy if the file is missing or names a class twice.
    """
    path = repository / detector / "labels.txt"
    if not path.exists():
        raise FileNotFoundError(f"{detector}/labels.txt is missing; write its classes there, one a line, no background")
    labels = tuple(filter(None, (line.strip() for line in path.read_text("utf-8-sig").split("\n"))))
    if len(set(labels)) != len(labels):
        raise ValueError(f"{detector}/labels.txt names a class twice; every line must be another")
    return labels


class Aggregator:
    """Makes objects and summaries of heads; tensors as in `model_repository/uncertainty_aggregator/config.pbtxt`."""

    def __init__(
        self,
        defaults: Defaults,
        labels: Sequence[str],
        network: str,
        reading: Reading | None = None,
        members: Members | None = None,
    ):
        """labels, network (its version), reading: of the detector whose heads come without LABELS and DETECTOR.

        reading: the usual one if not given. members: None if that detector gives mixture heads.
        """
        self.labels, self.network, self.members = tuple(labels), network, members
        self.defaults, self.others = defaults.options(reading or Reading()), defaults.options(Reading())

    @classmethod
    def serving(cls, repository: Path, defaults: Defaults) -> Aggregator:
        """Make the aggregator of the detector that the parameters name.

        Raises ValueError and FileNotFoundError with the remedy, as `read_labels` and `read_reading` do.
        """
        name = defaults.detector
        network = network_version(repository, name)
        members = Members.of_record(network_record(repository, name))
        return cls(defaults, read_labels(repository, name), network, read_reading(repository, name, defaults), members)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        """Answer one request. The answer to a request without heads holds LABELS and MODEL, and no images.

        Raises InvalidArgument naming the tensor, the image or the option at fault.
        """
        labels, network, defaults = self._detector(inputs)
        asked = json_object(inputs)
        options = Options.from_json(asked, defaults)
        version = detector_version(network, options)
        mixtures.check_labels(options, labels)
        found: list[Detections] = []
        given = None
        if any(name in inputs for name in PREDICTIONS) or (self.members and "LABELS" not in inputs):
            given = self._members(asked).given
            if any(name in inputs for name in (*PREDICTIONS, *HEADS)):
                found = self._plain(inputs, options, labels)
        elif any(name in inputs for name in HEADS):
            heads = Heads.of(inputs)
            if "LABELS" not in inputs and heads.classes != len(labels) + 1:
                raise InvalidArgument(
                    f"the heads have {heads.classes} classes with the background, {network} has {len(labels) + 1}; "
                    f"give LABELS, {heads.classes - 1} names, and DETECTOR, the version of the detector they are from"
                )
            geometry = _geometries(inputs["GEOMETRY"]) if "GEOMETRY" in inputs else None
            found = mixtures.detections(heads, geometry, options, labels)
        summaries = [Summary.of(one, labels, options.object_score, version, given).to_json() for one in found]
        return {
            **objects([one.above(options.min_score) for one in found]),
            "SUMMARIES": strings(summaries),
            "LABELS": strings(labels),
            "MODEL": strings([version]),
        }

    def _members(self, asked: Mapping[str, object]) -> Members:
        """Return the members of the served detector. asked: the options of a request.

        Raises InvalidArgument where it gives mixture heads, and for options that mean nothing without them.
        """
        if self.members is None:
            raise InvalidArgument(
                f"{self.network} gives mixture heads; {', '.join(PREDICTIONS)} are of a detector that `sluice export "
                "detector` made, and only its own server reads them"
            )
        idle = [name for name in ONLY_MIXTURES if asked.get(name) is not None]
        if idle:
            raise InvalidArgument(f"{', '.join(idle)} steer mixture heads, which {self.network} lacks; leave them out")
        return self.members

    def _plain(self, inputs: Mapping[str, np.ndarray], options: Options, labels: Sequence[str]) -> list[Detections]:
        """Return the objects of each image from the boxes and scores of a plain detector. Raises InvalidArgument."""
        assert self.members is not None
        predictions = Predictions.of(inputs)
        if predictions.scores.shape[2] != len(labels):
            raise InvalidArgument(
                f"MEMBER_SCORES has {predictions.scores.shape[2]} classes, {self.network} has {len(labels)}"
            )
        geometry = _geometries(inputs["GEOMETRY"]) if "GEOMETRY" in inputs else None
        wanted = [c for c, label in enumerate(labels) if options.labels is None or label in options.labels]
        return plain.detections(predictions, self.members, geometry, options, wanted)

    def _detector(self, inputs: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], str, Options]:
        """Return class names and version of the network whose heads a request brings, and the defaults for them."""
        labels, network = texts(inputs, "LABELS"), texts(inputs, "DETECTOR")
        if labels is None and network is None:
            return self.labels, self.network, self.defaults
        if labels is None or network is None or len(network) != 1 or not network[0]:
            raise InvalidArgument(
                "heads of another detector need LABELS, its classes without the background, and DETECTOR, its name and "
                "version as one text; give both or neither"
            )
        if len(set(labels)) != len(labels):
            raise InvalidArgument("LABELS must all differ; got one twice")
        return tuple(labels), network[0], self.others


def _geometries(rows: np.ndarray) -> list[Geometry]:
    """Read GEOMETRY, float32 [B, 6]. Raises InvalidArgument for what cannot be the geometry of an image."""
    if rows.ndim != 2 or rows.shape[1] != 6 or not np.isfinite(rows).all() or (rows[:, :4] <= 0).any():
        raise InvalidArgument(
            "GEOMETRY has a row per image: width, height, scale_x, scale_y (all above 0), left, top; as "
            "`image_decoder` gives it, or leave it out to get boxes in pixels of the canvas"
        )
    return [Geometry.from_array(row) for row in rows]


def objects(found: Sequence[Detections], places: Sequence[int] | None = None) -> Tensors:
    """Return the detections of all images as tensors, one image after the other; FAINT has a number per image.

    places: number of each image in the request; 0, 1, 2 and so on if not given.
    """
    counts = [len(one) for one in found]
    rows = Detections.from_array(np.concatenate([Detections.none().as_array(), *(one.as_array() for one in found)]))
    numbers = np.arange(len(found)) if places is None else np.asarray(places)
    return {
        "IMAGE": np.repeat(numbers, counts).astype(np.int32),
        "BOXES": rows.boxes,
        "CLASSES": rows.classes,
        "SCORES": rows.scores,
        "BOX_UNCERTAINTIES": rows.box_uncertainties,
        "CLASS_UNCERTAINTIES": rows.class_uncertainties,
        "FAINT": np.array([one.faint for one in found], np.float32),
    }


def detector_version(network: str, options: Options) -> str:
    """Return the version of a detector, 'network/hash'. The hash covers all options that shape its rows.

    network: version, as of `network_version`, or the name and version that a caller gave.
    Two answers of one version were made with the same constants, so their uncertainties compare.
    """
    return shaped(network, options.shaping())
