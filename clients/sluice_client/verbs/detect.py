"""The verb `detect`: finds the objects in images, each with the uncertainty of its place and of its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np

from .. import options
from ..answers.detect import Detected, Detections, Object
from ..errors import InvalidRequest, UnexpectedAnswer
from ..frames import Box
from ..query import ImageLike
from ..tensors import Call, Tensors, from_json, json_tensor, take, texts
from . import pieces

__all__ = ["MODEL", "REDUCTIONS", "SIGMOIDS", "DetectKeywords", "Options", "Work", "answer", "request", "works"]

MODEL = "detect"

Reduction = Literal["detected", "max"]
Sigmoid = Literal["deviation", "variance"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)
SIGMOIDS: tuple[str, ...] = get_args(Sigmoid)


class DetectKeywords(TypedDict, total=False):
    """The fields of `Options`, for type checkers and editors."""

    confidence: float | None
    candidates: int | None
    iou: float | None
    keep: int | None
    object_score: float | None
    min_score: float | None
    class_reduce: Reduction | None
    location_sigmoid: Sigmoid | None
    labels: Sequence[str] | None


@dataclass(frozen=True)
class Options:
    """The options of `detect`. An option that is None is not sent, and the server's default, in brackets, holds.

    confidence:   least score of a box that enters non-maximum suppression, 0..1 (0.01).
    candidates:   the most boxes per class that enter the suppression (200).
    iou:          boxes of a class that overlap by more than this share are one object, 0..1 (0.45).
    keep:         the most objects per class that the suppression leaves (200).
    object_score: least score of a box that counts as an object in the summary, and so in `select`, 0..1 (0.5).
    min_score:    least score of an object that is answered, 0..1 (0.5). An evaluation wants a lower one.
    class_reduce: "detected" takes the class uncertainty of the detected class, "max" the greatest over all classes
                  ("detected").
    location_sigmoid: whether the network's location head gives a standard "deviation" or a "variance" (as the network
                  was trained). The published code reads "variance" from a network that was trained on a deviation, as
                  the shipped network was.
    labels:       names of classes; only objects of these classes are answered (all classes).

    All but object_score are part of the detector's version, which comes back as `model`: `select` does not mix objects
    that were found with different options.
    """

    confidence: float | None = None
    candidates: int | None = None
    iou: float | None = None
    keep: int | None = None
    object_score: float | None = None
    min_score: float | None = None
    class_reduce: Reduction | None = None
    location_sigmoid: Sigmoid | None = None
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        options.numbers_in(self, confidence=(0, 1), iou=(0, 1), object_score=(0, 1), min_score=(0, 1))
        options.wholes(self, candidates=(1, None), keep=(1, None))
        options.choices(self, class_reduce=REDUCTIONS, location_sigmoid=SIGMOIDS)
        options.lists(self, "labels")

    @classmethod
    def of(cls, **given: Unpack[DetectKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        own = ("images", "ids", "keep_scores", "progress", "batch", "in_flight", "timeout")
        options.known(MODEL, [field.name for field in fields(cls)], given, own)
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options that are sent, by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def request(
    images: Sequence[ImageLike] | None = None,
    *,
    ids: Sequence[str] | None = None,
    keep_scores: bool = False,
    **given: Unpack[DetectKeywords],
) -> Call:
    """Return the call.

    images:      encoded bytes or paths; or
    ids:         of stored frames. Exactly one of the two must be given.
    keep_scores: True to store the result with the frames, for `select`. Needs ids.
    given:       the fields of `Options`.
    """
    source = pieces.tensors(MODEL, images, ids)
    return _call(source, _kept(keep_scores, ids), Options.of(**given))


def _kept(keep_scores: bool, ids: Sequence[str] | None) -> bool:
    """Return keep_scores. Raises InvalidRequest if it is True without ids, since only stored frames keep scores."""
    if options.flag("keep_scores", keep_scores) and ids is None:
        raise InvalidRequest("keep_scores is for stored frames; give their ids.")
    return bool(keep_scores)


def _call(source: dict[str, np.ndarray], keep_scores: bool, chosen: Options) -> Call:
    """Return the call. source: the tensor IMAGES or IDS."""
    sent = chosen.as_json()
    if keep_scores:
        sent["keep_scores"] = True
    return Call(
        MODEL,
        {**source, "OPTIONS": json_tensor(sent)},
        (
            *("IMAGE", "BOXES", "CLASSES", "SCORES", "BOX_UNCERTAINTIES", "CLASS_UNCERTAINTIES"),
            *("SUMMARIES", "ERRORS", "LABELS", "MODEL"),
        ),
    )


def answer(tensors: Tensors, names: Sequence[str] | None = None) -> Detected:
    """Read the answer to `request`. names: of the images, in order; None for their places in the list."""
    summaries = take(tensors, MODEL, "SUMMARIES", None if names is None else len(names))
    count = len(summaries)
    called = [str(i) for i in range(count)] if names is None else list(names)
    image = take(tensors, MODEL, "IMAGE", None)
    found = len(image)
    boxes = take(tensors, MODEL, "BOXES", found, 4).tolist()
    classes = take(tensors, MODEL, "CLASSES", found)
    scores = take(tensors, MODEL, "SCORES", found).tolist()
    places = take(tensors, MODEL, "BOX_UNCERTAINTIES", found, 8).tolist()
    kinds = take(tensors, MODEL, "CLASS_UNCERTAINTIES", found, 2).tolist()
    failures = texts(take(tensors, MODEL, "ERRORS", count))
    labels = tuple(texts(take(tensors, MODEL, "LABELS", None)))
    model = texts(take(tensors, MODEL, "MODEL", 1))[0]
    for name, values, limit in (("IMAGE", image, count), ("CLASSES", classes, len(labels))):
        if found and not (np.min(values) >= 0 and np.max(values) < limit):
            raise UnexpectedAnswer(f"`{MODEL}` should answer {name} of 0 to {limit - 1}; got {np.max(values)}.")
    objects: list[list[Object]] = [[] for _ in range(count)]
    for i in range(found):
        objects[image[i]].append(
            Object(
                label=labels[classes[i]],
                class_id=int(classes[i]),
                score=scores[i],
                box=Box(*boxes[i]),
                box_aleatoric=tuple(places[i][:4]),
                box_epistemic=tuple(places[i][4:]),
                class_aleatoric=kinds[i][0],
                class_epistemic=kinds[i][1],
            )
        )
    return Detected(
        images=tuple(
            Detections(
                id=called[i],
                objects=tuple(objects[i]),
                summary=None if failures[i] else from_json(MODEL, summaries[i]),
                model=model,
                error=failures[i] or None,
            )
            for i in range(count)
        ),
        labels=labels,
        model=model,
    )


@dataclass(frozen=True)
class Work:
    """One of the calls that many images or ids are cut into."""

    piece: pieces.Piece
    keep_scores: bool
    chosen: Options

    def request(self) -> Call | None:
        """Return the call; None if no image could be read, so that there is nothing to send."""
        source = self.piece.tensors(MODEL)
        return None if source is None else _call(source, self.keep_scores, self.chosen)

    def answer(self, tensors: Tensors | None) -> Detected:
        """Read the answer, with the images' sizes, and with the images that could not be read in their places.

        tensors: None if nothing was sent.
        """
        answered = Detected(()) if tensors is None else answer(tensors, self.piece.readable())
        sized = [
            replace(one, width=width, height=height)
            for one, (width, height) in zip(answered.images, self.piece.sizes(), strict=True)
        ]
        merged = self.piece.merge(sized, lambda name, error: Detections(name, error=error))
        return Detected(tuple(merged), answered.labels, answered.model)


def works(
    images: Sequence[ImageLike] | None,
    ids: Sequence[str] | None,
    count: int,
    *,
    keep_scores: bool = False,
    **given: Unpack[DetectKeywords],
) -> Iterator[Work]:
    """Cut many images or ids into calls of at most `count`. The other arguments are those of `request`.

    Files are read when their call is drawn. Raises InvalidRequest before anything is drawn.
    """
    chosen, keep_scores = Options.of(**given), _kept(keep_scores, ids)
    return (Work(piece, keep_scores, chosen) for piece in pieces.cut(MODEL, images, ids, count))
