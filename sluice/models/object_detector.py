"""The model `object_detector`: asks it for the objects of an encoded image, and tells its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sluice import contracts, images
from sluice.methods.mixtures.members import Members
from sluice.methods.mixtures.summaries import Detections
from sluice.models.uncertainty_aggregator import Defaults, detector_version, read_labels, read_reading
from sluice.options import text
from sluice.process import decoding
from sluice.versions import network_record, network_version
from sluice.wire.calls import Call, json_strings

OBJECTS = ("IMAGE", "BOXES", "CLASSES", "SCORES", "BOX_UNCERTAINTIES", "CLASS_UNCERTAINTIES")
FOUND = (*OBJECTS[1:], "FAINT")  # of one image


@dataclass(frozen=True)
class Config(images.Config):
    """Limits of one request, checked before anything is decoded; and the detector's canvases."""

    network: ClassVar[str] = ""  # the parameters of `detect` alone say which canvases
    canvases: str = images.Config.canvases  # width x height, multiples of 32
    max_images: int = 256
    in_flight: int = 8  # images of one request that wait for the network at the same time

    @property
    def shown(self) -> str:
        """Return how images are laid on the canvas, as `sluice.methods.mixtures.options.Options.shown`."""
        return " ".join(self.canvases.split()) + ("" if self.keep_aspect else " stretched")


@dataclass(frozen=True)
class Served:
    """The detector of this server, as it answers `detect` without options; stored rows carry its version."""

    version: str
    labels: tuple[str, ...]
    min_score: float  # least score of the boxes that are stored
    given: tuple[str, ...] | None = None  # the types of uncertainty, as of `mixtures.summaries.Summary`


def served(repository: Path, detector: str) -> Served | None:
    """Return the served detector; None if no network of that name was exported.

    Its version covers the network and the parameters of the models that make rows of its heads.
    Raises ValueError and FileNotFoundError with the remedy if its graph, its classes or a parameter is wrong.
    """
    if not any(repository.glob(f"{detector}/[0-9]*/model.onnx")):
        return None
    defaults = contracts.configured(Defaults, repository, "uncertainty_aggregator")
    reading = read_reading(repository, detector, defaults)
    shown = contracts.configured(Config, repository, "detect").shown
    options = replace(defaults.options(reading), shown=shown)
    version = detector_version(network_version(repository, detector), options)
    members = Members.of_record(network_record(repository, detector))
    given = None if members is None else members.given
    return Served(version, read_labels(repository, detector), options.min_score, given)


@dataclass(frozen=True)
class Detected:
    """The objects of one image.

    summary: JSON, as of `mixtures.summaries.Summary`. labels, model: class names and version of the detector.
    """

    detections: Detections
    summary: str
    labels: tuple[str, ...]
    model: str


async def detect_one(
    call: Call, data: bytes, config: Config | None = None, options: Mapping[str, Any] | None = None
) -> Detected:
    """Find the objects of one encoded image, boxes in pixels of the image.

    options: fields of `sluice.methods.mixtures.options.Options`; the aggregator's parameters say what holds otherwise.
    Raises InvalidArgument for bytes that are no image, for wrong options, and for heads that are not finite; and what
    the image is not at fault for, such as a full queue or a broken network.
    """
    config = config or Config()
    canvas, geometry = await decoding.run(images.read, data, config)
    inputs = {
        "IMAGE": canvas[None],
        "GEOMETRY": geometry.as_array()[None],
        "OPTIONS": json_strings([{**(options or {}), "shown": config.shown}]),
    }
    answer = await call("object_detector", inputs, [*FOUND, "SUMMARIES", "LABELS", "MODEL"])
    return Detected(
        detections_in(answer),
        text(answer["SUMMARIES"][0]),
        tuple(map(text, answer["LABELS"])),
        text(answer["MODEL"][0]),
    )


def detections_in(answer: Mapping[str, np.ndarray]) -> Detections:
    """Return the detections of the one image of which an answer tells, from the tensors of FOUND."""
    boxes, classes, scores, box, class_ = (np.array(answer[name]) for name in OBJECTS[1:])
    return Detections(boxes, classes, scores, box, class_, float(answer["FAINT"][0]))


async def described(call: Call, config: Config, options: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Return class names and version of the detector, by asking the aggregator without heads."""
    asked = {"OPTIONS": json_strings([{**options, "shown": config.shown}])}
    answer = await call("uncertainty_aggregator", asked, ["LABELS", "MODEL"])
    return tuple(map(text, answer["LABELS"])), text(answer["MODEL"][0])
