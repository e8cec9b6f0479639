"""The verb `detect`, and the model `uncertainty_aggregator` behind it: pictures in, objects and uncertainties out.

A picture goes to `object_detector`, which is two models one after the other: `mixture_detector` gives raw heads, 4.5 MB
of them, and `uncertainty_aggregator` makes the few objects of them. So heads never leave the server unless somebody
asks the first model by its name. Heads of any other detector may be brought to the second. The maths is in
`sluice.mixtures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sluice import contracts, decoding, images, mixtures
from sluice.calls import Call, Tensors, each, json_object, json_strings, strings, text, texts
from sluice.errors import InvalidArgument, NotFound, Refusal
from sluice.images import Geometry
from sluice.mixture_options import Options, Reading
from sluice.mixtures import Heads
from sluice.summaries import Detections, Summary
from sluice.versions import detector_version, network_record, network_version

HEADS = (
    "PRIORS", "LOCATION_MEAN", "LOCATION_VARIANCE", "LOCATION_WEIGHT", "CLASS_MEAN", "CLASS_VARIANCE", "CLASS_WEIGHT",
)  # fmt: skip
OBJECTS = ("IMAGE", "BOXES", "CLASSES", "SCORES", "BOX_UNCERTAINTIES", "CLASS_UNCERTAINTIES")


# ---------------------------------------------------------------------------------------- uncertainty_aggregator


@dataclass(frozen=True)
class Defaults(Options):
    """What holds where a request's options say nothing; and whose heads they are where it says nothing.

    The fields of `Reading` are by default as the network was trained, which its graph says: 'network', and 0.
    """

    location_sigmoid: str = "network"
    centre_variance: float = 0.0
    size_variance: float = 0.0
    detector: str = "mixture_detector"

    def __post_init__(self) -> None:
        self.options(Reading())  # which refuses what is out of its range

    def options(self, reading: Reading) -> Options:
        """These defaults for a network that is read so."""
        values = {field.name: getattr(self, field.name) for field in fields(Options)}
        for field in fields(Reading):
            if values[field.name] in ("network", 0):
                values[field.name] = getattr(reading, field.name)
        return Options(**values)


def read_reading(repository: Path, detector: str, defaults: Defaults) -> Reading:
    """How a detector of this server is to be read, as its graph says.

    Raises ValueError with the remedy where neither the graph nor all of the parameters say it.
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
    """The classes of a detector of this server, without the background: the lines of its labels.txt.

    Raises FileNotFoundError and ValueError with the remedy where the file is missing or names a class twice.
    """
    path = repository / detector / "labels.txt"
    if not path.exists():
        raise FileNotFoundError(f"{detector}/labels.txt is missing; write its classes there, one a line, no background")
    labels = tuple(filter(None, (line.strip() for line in path.read_text("utf-8-sig").split("\n"))))
    if len(set(labels)) != len(labels):
        raise ValueError(f"{detector}/labels.txt names a class twice; every line must be another")
    return labels


class Aggregator:
    """Heads in, objects and summaries out; tensors as in `model_repository/uncertainty_aggregator/config.pbtxt`."""

    def __init__(self, defaults: Defaults, labels: Sequence[str], network: str, reading: Reading | None = None):
        """labels, network (its version), reading: of the detector whose heads come without LABELS and DETECTOR."""
        self.labels, self.network = tuple(labels), network
        self.defaults, self.others = defaults.options(reading or Reading()), defaults.options(Reading())

    @classmethod
    def serving(cls, repository: Path, defaults: Defaults) -> Aggregator:
        """Of the detector that the parameters name. Raises ValueError and FileNotFoundError with the remedy."""
        name = defaults.detector
        network = network_version(repository, name)
        return cls(defaults, read_labels(repository, name), network, read_reading(repository, name, defaults))

    def run(self, inputs: Mapping[str, np.ndarray]) -> Tensors:
        """Answer one request; one without any heads is told LABELS and MODEL, and that there are no images.

        Raises InvalidArgument naming the tensor, the image or the option at fault.
        """
        labels, network, defaults = self._detector(inputs)
        options = Options.from_json(json_object(inputs), defaults)
        version = detector_version(network, options)
        mixtures.check_labels(options, labels)
        found: list[Detections] = []
        if any(name in inputs for name in HEADS):
            heads = Heads.of(inputs)
            if "LABELS" not in inputs and heads.classes != len(labels) + 1:
                raise InvalidArgument(
                    f"the heads have {heads.classes} classes with the background, {network} has {len(labels) + 1}; "
                    f"give LABELS, {heads.classes - 1} names, and DETECTOR, the version of the detector they are from"
                )
            geometry = _geometries(inputs["GEOMETRY"]) if "GEOMETRY" in inputs else None
            found = mixtures.detections(heads, geometry, options, labels)
        summaries = [Summary.of(one, labels, options.object_score, version).to_json() for one in found]
        return {
            **_objects([one.above(options.min_score) for one in found]),
            "SUMMARIES": strings(summaries),
            "LABELS": strings(labels),
            "MODEL": strings([version]),
        }

    def _detector(self, inputs: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], str, Options]:
        """Classes and version of the network whose heads a request brings, and what holds for them by default."""
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
    if rows.ndim != 2 or rows.shape[1] != 6 or not np.isfinite(rows).all() or (rows[:, :4] <= 0).any():
        raise InvalidArgument(
            "GEOMETRY has a row an image: width, height, scale_x, scale_y (all above 0), left, top; as `image_decoder` "
            "gives it, or leave it out to get boxes in pixels of the canvas"
        )
    return [Geometry.from_array(row) for row in rows]


def _objects(found: Sequence[Detections], places: Sequence[int] | None = None) -> Tensors:
    """The detections of all images one after the other; places: the number of each image (default: 0, 1, ...)."""
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
    }


# ------------------------------------------------------------------------------------------------ detect


@dataclass(frozen=True)
class Config(images.Config):
    """Limits of one request, checked before anything is decoded; and the detector's canvases."""

    canvases: str = "512x384 576x320 448x448 384x512 320x576"  # width x height, multiples of 32
    max_images: int = 256
    in_flight: int = 8  # images of one request that wait for the network at the same time

    @property
    def shown(self) -> str:
        """How pictures are laid on the canvas, as `sluice.mixture_options.Options.shown`."""
        return " ".join(self.canvases.split()) + ("" if self.keep_aspect else " stretched")


@dataclass(frozen=True)
class Served:
    """The detector of this server, as `detect` answers without options: what stored rows are stamped with."""

    version: str
    labels: tuple[str, ...]
    min_score: float  # least score of the boxes that it stores


def served(repository: Path, detector: str) -> Served | None:
    """Of the network of that name, with the parameters of the models that make rows of its heads; None where there is
    none, or none was exported.

    Raises ValueError and FileNotFoundError with the remedy where its graph, its classes or a parameter is not right.
    """
    if not any(repository.glob(f"{detector}/[0-9]*/model.onnx")):
        return None
    defaults = contracts.configured(Defaults, repository, "uncertainty_aggregator")
    reading = read_reading(repository, detector, defaults)
    shown = contracts.configured(Config, repository, "detect").shown
    options = replace(defaults.options(reading), shown=shown)
    version = detector_version(network_version(repository, detector), options)
    return Served(version, read_labels(repository, detector), options.min_score)


@dataclass(frozen=True)
class Detected:
    """What was found in one image. summary: JSON as of `sluice.summaries.Summary`. labels, model: of the detector."""

    detections: Detections
    summary: str
    labels: tuple[str, ...]
    model: str


async def detect_one(
    call: Call, data: bytes, config: Config | None = None, options: Mapping[str, Any] | None = None
) -> Detected:
    """One encoded image -> its objects, boxes in pixels of the image.

    options: as in `sluice.mixture_options.Options`; what is missing is as the aggregator's parameters say.
    Raises InvalidArgument for bytes that are no image, for wrong options, and for heads that are no numbers; and what
    is nobody's own fault: a full queue, a broken network.
    """
    config = config or Config()
    canvas, geometry = await decoding.run(images.read, data, config)
    inputs = {
        "IMAGE": canvas[None],
        "GEOMETRY": geometry.as_array()[None],
        "OPTIONS": json_strings([{**(options or {}), "shown": config.shown}]),
    }
    answer = await call("object_detector", inputs, [*OBJECTS[1:], "SUMMARIES", "LABELS", "MODEL"])
    return Detected(
        Detections(*(np.array(answer[name]) for name in OBJECTS[1:])),
        text(answer["SUMMARIES"][0]),
        tuple(map(text, answer["LABELS"])),
        text(answer["MODEL"][0]),
    )


async def detect(call: Call, inputs: Any, config: Config) -> Tensors:
    """What is in each image and how sure that is; tensors as in `ensembles/detect/config.pbtxt`.

    An image that cannot be read, or an id that is not stored, has no objects and its reason in ERRORS; the others are
    answered. With keep_scores the gallery keeps what was found, for `select`.
    """
    given = [name for name in ("IMAGES", "IDS") if name in inputs]
    if len(given) != 1:
        raise InvalidArgument(f"give IMAGES or IDS, exactly one of them; got {' and '.join(given) or 'neither'}")
    batch = list(inputs[given[0]].reshape(-1))
    if not 0 < len(batch) <= config.max_images:
        raise InvalidArgument(f"a request holds 1 to {config.max_images} images, got {len(batch)}; split it")
    options = json_object(inputs)
    keep = _keeps(options, given[0])
    Options.from_json(options, without=("shown",))  # that is for `detect` to say
    if options.get("labels"):
        await _detector(call, config, options)  # which refuses unknown labels, once and not image by image

    async def one(item: Any) -> Detected | Refusal:
        try:
            data = bytes(item) if given[0] == "IMAGES" else await _stored(call, text(item))
            return await detect_one(call, data, config, options)
        except (InvalidArgument, NotFound) as refusal:
            return refusal

    found = await each(batch, one, config.in_flight, inputs.check_cancelled)
    good = [(i, one) for i, one in enumerate(found) if isinstance(one, Detected)]
    if keep and good:
        await _keep(call, [text(batch[i]) for i, _ in good], [one for _, one in good])
    labels, model = (good[0][1].labels, good[0][1].model) if good else await _detector(call, config, options)
    return {
        **_objects([one.detections for _, one in good], [i for i, _ in good]),
        "SUMMARIES": strings(one.summary if isinstance(one, Detected) else "" for one in found),
        "ERRORS": strings("" if isinstance(one, Detected) else str(one) for one in found),
        "LABELS": strings(labels),
        "MODEL": strings([model]),
    }


async def _detector(call: Call, config: Config, options: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Labels and version of the detector, which the aggregator says when it is asked without heads."""
    asked = {"OPTIONS": json_strings([{**options, "shown": config.shown}])}
    answer = await call("uncertainty_aggregator", asked, ["LABELS", "MODEL"])
    return tuple(map(text, answer["LABELS"])), text(answer["MODEL"][0])


def _keeps(options: dict[str, Any], kind: str) -> bool:
    """Whether the gallery is to keep what is found; takes keep_scores out of the options."""
    keep = options.pop("keep_scores", False)
    if not isinstance(keep, bool):
        raise InvalidArgument(f"keep_scores is true or false, got {keep!r}")
    if keep and kind != "IDS":
        raise InvalidArgument("keep_scores is for stored frames; give IDS, or store the images first with `ingest`")
    if keep and options:
        raise InvalidArgument(
            f"keep_scores stores what every frame of the gallery is compared by, so it takes no other options; got "
            f"{sorted(options)}"
        )
    return keep


async def _stored(call: Call, id_: str) -> bytes:
    """The bytes of one stored frame; each for itself, so that an id that is not there fails alone."""
    command = {"op": "get", "ids": [id_], "images": True}
    answer = await call("frame_gallery", {"COMMAND": json_strings([command])}, ["ENCODED"])
    return bytes(answer["ENCODED"][0])


async def _keep(call: Call, ids: list[str], found: list[Detected]) -> None:
    """Write what was found to the frames' rows."""
    tensors = {
        "COMMAND": json_strings(
            [{"op": "score", "ids": ids, "detector": found[0].model, "labels": list(found[0].labels)}]
        ),
        "DETECTIONS": np.concatenate([one.detections.as_array() for one in found]),
        "COUNTS": np.array([len(one.detections) for one in found], np.int32),
    }
    await call("frame_gallery", tensors, ["ANSWER"])
