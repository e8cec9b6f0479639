"""The verb `segment`: says for every pixel which class it shows. Classes are given by their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np

from .. import options
from ..answers.segment import Segmentation, Segmented
from ..answers.words import Words
from ..errors import InvalidRequest, UnexpectedAnswer
from ..query import ImageLike
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take, texts
from . import pieces

__all__ = [
    "FORMATS",
    "MODEL",
    "RULES",
    "TEMPLATES",
    "WINDOWS",
    "Options",
    "SegmentKeywords",
    "Templates",
    "Work",
    "answer",
    "check_templates",
    "names",
    "request",
    "works",
]

MODEL = "segment"

Templates = Literal["simple", "subset", "full", "identity"]
Rule = Literal["official", "plain", "guided"]
Window = Literal["auto", "whole", "slide"]
Format = Literal["png", "rle"]
TEMPLATES: tuple[str, ...] = get_args(Templates)
RULES: tuple[str, ...] = get_args(Rule)
WINDOWS: tuple[str, ...] = get_args(Window)
FORMATS: tuple[str, ...] = get_args(Format)


class SegmentKeywords(TypedDict, total=False):
    """The fields of `Options`, for type checkers and editors."""

    templates: Templates | None
    rule: Rule | None
    top: int | None
    background: float | None
    window: Window | None
    format: Format | None
    groups: bool
    confidence: bool
    allow_unknown: bool


@dataclass(frozen=True)
class Options:
    """The options of `segment`. An option that is None is not sent, and the server's default, in brackets, holds.

    templates:  the sentences that a name is put into: "simple" is one sentence, "subset" 7, "full" 80, and "identity"
                the name as it is ("subset").
    rule:       "official" is the published rule, "plain" the mean cosine of the groups, weighted by their share, and
                "guided" its probabilities, smoothed along the surfaces that the picture shows ("guided", as shipped).
    top:        with the official rule, how many classes one view of the image may show (5).
    background: least confidence of a pixel that gets a class, 0..1; a pixel below is background. None gives every pixel
                a class.
    window:     "whole" shows the network the whole image, "slide" windows that slide over it, "auto" whichever of the
                two the server finds better ("auto").
    format:     in which form masks are sent, "png", or "rle" for COCO's run lengths ("png").
    groups:     True answers the map of groups, too.
    confidence: True answers the map of confidence, too.
    allow_unknown: True to answer also if the network has not learned a word of a name; False to refuse such a name.
    """

    templates: Templates | None = None
    rule: Rule | None = None
    top: int | None = None
    background: float | None = None
    window: Window | None = None
    format: Format | None = None
    groups: bool = False
    confidence: bool = False
    allow_unknown: bool = False

    def __post_init__(self) -> None:
        options.choices(self, templates=TEMPLATES, rule=RULES, window=WINDOWS, format=FORMATS)
        options.wholes(self, top=(1, None))
        options.numbers_in(self, background=(0, 1))
        options.flags(self, "groups", "confidence", "allow_unknown")

    @classmethod
    def of(cls, **given: Unpack[SegmentKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        own = ("images", "ids", "classes", "progress", "batch", "in_flight", "timeout")
        options.known(MODEL, [field.name for field in fields(cls)], given, own)
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options that are sent, by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}


def check_templates(value: Templates | None) -> None:
    """Raise InvalidRequest unless the value names a set of sentences or is None."""
    if value is not None and (not isinstance(value, str) or value not in TEMPLATES):
        raise InvalidRequest(f"templates must be None or one of {', '.join(TEMPLATES)}; got {value!r:.80}.")


def names(classes: Sequence[str], what: str = "classes") -> list[str]:
    """Return the names. Raises InvalidRequest unless they are a list of texts, none of them blank. what: for errors."""
    found = options.texts(what, classes, least=1)
    for place, name in enumerate(found):
        if not name.strip():
            raise InvalidRequest(f"{what} must be texts, none of them empty; number {place} is {name!r}.")
    return found


def request(
    images: Sequence[ImageLike] | None = None,
    *,
    ids: Sequence[str] | None = None,
    classes: Sequence[str],
    **given: Unpack[SegmentKeywords],
) -> Call:
    """Return the call.

    images:  encoded bytes or paths; or
    ids:     of stored frames. Exactly one of the two must be given.
    classes: names of the classes.
    given:   the fields of `Options`.
    """
    return _call(pieces.tensors(MODEL, images, ids), names(classes), Options.of(**given))


def _call(source: dict[str, np.ndarray], classes: Sequence[str], chosen: Options) -> Call:
    """Return the call. source: the tensor IMAGES or IDS."""
    return Call(
        MODEL,
        {**source, "CLASSES": strings(classes), "OPTIONS": json_tensor(chosen.as_json())},
        ("MASKS", "SCORES", "AREAS", "GROUPS", "CONFIDENCE", "ERRORS", "NOTES", "MODEL"),
    )


def answer(tensors: Tensors, classes: Sequence[str], ids: Sequence[str] | None = None) -> Segmented:
    """Read the answer to `request`.

    classes: the names that were sent.
    ids:     names of the images, in order; None for their places in the list.
    """
    masks = take(tensors, MODEL, "MASKS", None if ids is None else len(ids))
    count, kinds = len(masks), tuple(classes)
    called = [str(i) for i in range(count)] if ids is None else list(ids)
    scores = take(tensors, MODEL, "SCORES", count, len(kinds)).tolist()
    areas = take(tensors, MODEL, "AREAS", count, len(kinds)).tolist()
    groups = take(tensors, MODEL, "GROUPS", count)
    confidence = take(tensors, MODEL, "CONFIDENCE", count)
    failures = texts(take(tensors, MODEL, "ERRORS", count))
    notes = from_json(MODEL, take(tensors, MODEL, "NOTES", 1)[0])
    model = texts(take(tensors, MODEL, "MODEL", 1))[0]
    grouping = notes.pop("groups", None) or [None] * count
    sizes = notes.pop("sizes", None)
    words = Words.of({name: notes.pop(name, None) for name in ("unknown", "ignored", "same")}, kinds)
    if not isinstance(sizes, list) or len(sizes) != count:
        raise UnexpectedAnswer(f"`{MODEL}` should tell the sizes of {count} masks in its NOTES; got {sizes!r:.80}.")
    found = []
    for i in range(count):
        if not failures[i] and not masks[i]:
            raise UnexpectedAnswer(f"`{MODEL}` should answer a mask or say why there is none; got neither for {i}.")
        found.append(
            Segmentation(
                id=called[i],
                classes=kinds,
                scores=tuple(scores[i]),
                areas=tuple(areas[i]),
                data=bytes(masks[i]),
                width=sizes[i][1] if sizes[i] else None,
                height=sizes[i][0] if sizes[i] else None,
                groups_png=bytes(groups[i]),
                confidence_png=bytes(confidence[i]),
                grouping=grouping[i],
                model=model,
                error=failures[i] or None,
                words=words,
            )
        )
    truncated = tuple(kinds[i] for i in notes.pop("truncated", ()) if 0 <= i < len(kinds))
    return Segmented(tuple(found), kinds, model, truncated, words, notes)


@dataclass(frozen=True)
class Work:
    """One of the calls that many images or ids are cut into."""

    piece: pieces.Piece
    classes: Sequence[str]
    chosen: Options

    def request(self) -> Call | None:
        """Return the call; None if no image could be read, so that there is nothing to send."""
        source = self.piece.tensors(MODEL)
        return None if source is None else _call(source, self.classes, self.chosen)

    def answer(self, tensors: Tensors | None) -> Segmented:
        """Read the answer, with the images that could not be read in their places.

        tensors: None if nothing was sent.
        """
        kinds = tuple(self.classes)
        answered = Segmented((), kinds) if tensors is None else answer(tensors, kinds, self.piece.readable())
        nothing = (float("nan"),) * len(kinds)

        def failed(name: str, error: str) -> Segmentation:
            return Segmentation(name, kinds, nothing, nothing, error=error)

        return replace(answered, images=tuple(self.piece.merge(answered.images, failed)))


def works(
    images: Sequence[ImageLike] | None,
    ids: Sequence[str] | None,
    classes: Sequence[str],
    count: int,
    **given: Unpack[SegmentKeywords],
) -> Iterator[Work]:
    """Cut many images or ids into calls of at most `count`. The other arguments are those of `request`.

    Files are read when their call is drawn. Raises InvalidRequest before anything is drawn.
    """
    checked, chosen = names(classes), Options.of(**given)
    return (Work(piece, checked, chosen) for piece in pieces.cut(MODEL, images, ids, count))
