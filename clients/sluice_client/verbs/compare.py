"""The verb `compare`: says how well images and texts agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypedDict, Unpack

import numpy as np

from .. import options
from ..answers.compare import Compared
from ..answers.words import Words
from ..errors import InvalidRequest
from ..query import ImageLike
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take, texts
from . import pieces
from .segment import Templates, check_templates, names

__all__ = ["MODEL", "CompareKeywords", "Options", "Work", "answer", "joined", "request", "works"]

MODEL = "compare"


class CompareKeywords(TypedDict, total=False):
    """The fields of `Options`, for type checkers and editors."""

    templates: Templates | None
    embeddings: bool
    keep_embeddings: bool
    allow_unknown: bool


@dataclass(frozen=True)
class Options:
    """The options of `compare`.

    templates:       "simple", "subset" or "full" put each text, as a class name, into so many sentences; None and
                     "identity" take each text as it is.
    embeddings:      True to get the embeddings of images and texts in the answer.
    keep_embeddings: True to store the images' embeddings with their frames, so that `retrieve` finds them by texts.
                     Needs ids.
    allow_unknown:   True to answer also if the network has not learned a word of a text; False to refuse such a text.
    """

    templates: Templates | None = None
    embeddings: bool = False
    keep_embeddings: bool = False
    allow_unknown: bool = False

    def __post_init__(self) -> None:
        options.flags(self, "embeddings", "keep_embeddings", "allow_unknown")
        check_templates(self.templates)

    @classmethod
    def of(cls, **given: Unpack[CompareKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        own = ("images", "texts", "ids", "progress", "batch", "in_flight", "timeout")
        options.known(MODEL, [field.name for field in fields(cls)], given, own)
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options that are sent, by their names."""
        return {name: value for name, value in asdict(self).items() if value}


def request(
    images: Sequence[ImageLike] | None = None,
    *,
    ids: Sequence[str] | None = None,
    texts: Sequence[str] = (),
    **given: Unpack[CompareKeywords],
) -> Call:
    """Return the call.

    images: encoded bytes or paths; or
    ids:    of stored frames. Exactly one of the two must be given.
    texts:  may be left out if embeddings alone are wanted.
    given:  the fields of `Options`.
    """
    chosen = Options.of(**given)
    return _call(pieces.tensors(MODEL, images, ids), _said(texts, ids, chosen), chosen)


def _said(texts: Sequence[str], ids: Sequence[str] | None, chosen: Options) -> list[str]:
    """Return the texts. Raises InvalidRequest if the options do not go with them, or need ids and there are none."""
    if chosen.keep_embeddings and ids is None:
        raise InvalidRequest("keep_embeddings is for stored frames; give their ids.")
    said = options.texts("texts", texts)
    if not said and not chosen.embeddings and not chosen.keep_embeddings:
        raise InvalidRequest("texts must be a list of at least one text, unless embeddings are asked for; got none.")
    return names(said, "texts") if said else []


def _call(source: dict[str, np.ndarray], said: Sequence[str], chosen: Options) -> Call:
    """Return the call. source: the tensor IMAGES or IDS."""
    words = {"TEXTS": strings(said)} if said else {}
    return Call(
        MODEL,
        {**source, **words, "OPTIONS": json_tensor(chosen.as_json())},
        ("SIMILARITY", "PROBABILITIES", "IMAGE_EMBEDDINGS", "TEXT_EMBEDDINGS", "ERRORS", "NOTES", "MODEL"),
    )


def answer(tensors: Tensors, said: Sequence[str], ids: Sequence[str] | None = None) -> Compared:
    """Read the answer to `request`.

    said: the texts that were sent.
    ids:  names of the images, in order; None for their places in the list.
    """
    failures = texts(take(tensors, MODEL, "ERRORS", None if ids is None else len(ids)))
    count = len(failures)
    seen = take(tensors, MODEL, "IMAGE_EMBEDDINGS", None, None)
    read = take(tensors, MODEL, "TEXT_EMBEDDINGS", None, None)
    notes = from_json(MODEL, take(tensors, MODEL, "NOTES", 1)[0])
    asked = len(seen) == count
    return Compared(
        ids=tuple(str(i) for i in range(count)) if ids is None else tuple(ids),
        texts=tuple(said),
        similarity=take(tensors, MODEL, "SIMILARITY", count, len(said)),
        probabilities=take(tensors, MODEL, "PROBABILITIES", count, len(said)),
        errors=tuple(failure or None for failure in failures),
        image_embeddings=seen if asked else None,
        text_embeddings=read if asked else None,
        scale=float(notes.get("scale") or 0.0),
        model=texts(take(tensors, MODEL, "MODEL", 1))[0],
        truncated=tuple(said[i] for i in notes.get("truncated", ()) if 0 <= i < len(said)),
        words=Words.of(notes, said),
    )


@dataclass(frozen=True)
class Work:
    """One of the calls that many images or ids are cut into."""

    piece: pieces.Piece
    texts: Sequence[str]
    chosen: Options

    def request(self) -> Call | None:
        """Return the call; None if no image could be read, so that there is nothing to send."""
        source = self.piece.tensors(MODEL)
        return None if source is None else _call(source, self.texts, self.chosen)

    def answer(self, tensors: Tensors | None) -> Compared:
        """Read the answer, with the images that could not be read in their places.

        tensors: None if nothing was sent.
        """
        piece, count = self.piece, len(self.texts)
        nothing = np.zeros((0, count), np.float32)
        found = (
            Compared((), tuple(self.texts), nothing, nothing, ())
            if tensors is None
            else answer(tensors, self.texts, piece.readable())
        )
        good = [row for row, error in enumerate(piece.errors) if error is None]

        def placed(rows: np.ndarray) -> np.ndarray:
            """Return one row per image: NaN for images that could not be read."""
            table = np.full((len(piece.names), rows.shape[1]), np.nan, np.float32)
            table[good] = rows
            return table

        seen = found.image_embeddings
        return Compared(
            ids=tuple(piece.names),
            texts=found.texts,
            similarity=placed(found.similarity),
            probabilities=placed(found.probabilities),
            errors=tuple(piece.merge(found.errors, lambda name, error: error)),
            image_embeddings=None if seen is None else placed(seen),
            text_embeddings=found.text_embeddings,
            scale=found.scale,
            model=found.model,
            truncated=found.truncated,
            words=found.words,
        )


def works(
    images: Sequence[ImageLike] | None,
    ids: Sequence[str] | None,
    texts: Sequence[str],
    count: int,
    **given: Unpack[CompareKeywords],
) -> Iterator[Work]:
    """Cut many images or ids into calls of at most `count`. The other arguments are those of `request`.

    Files are read when their call is drawn. Raises InvalidRequest before anything is drawn.
    """
    chosen = Options.of(**given)
    cut = pieces.cut(MODEL, images, ids, count)
    said = tuple(_said(texts, ids, chosen))
    return (Work(piece, said, chosen) for piece in cut)


def joined(parts: Sequence[Compared]) -> Compared:
    """Join the answers of several calls with the same texts into one."""
    told = next((one for one in parts if one.model), parts[0])
    seen = None
    if told.image_embeddings is not None:
        size = told.image_embeddings.shape[1]
        seen = np.concatenate(
            [
                np.full((len(one), size), np.nan, np.float32) if one.image_embeddings is None else one.image_embeddings
                for one in parts
            ]
        )
    return Compared(
        ids=tuple(id for one in parts for id in one.ids),
        texts=told.texts,
        similarity=np.concatenate([one.similarity for one in parts]),
        probabilities=np.concatenate([one.probabilities for one in parts]),
        errors=tuple(error for one in parts for error in one.errors),
        image_embeddings=seen,
        text_embeddings=told.text_embeddings,
        scale=told.scale,
        model=told.model,
        truncated=told.truncated,
        words=told.words,
    )
