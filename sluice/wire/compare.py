"""A request of `compare`, read and checked before anything is asked of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.grouping.prompts import TEMPLATES
from sluice.options import check_options, choice, flag, of_json, option
from sluice.wire import pictures
from sluice.wire.calls import check_count, json_object, texts


@dataclass(frozen=True)
class Config(pictures.Config):
    """The way in which the network sees images, and limits of one request."""

    max_images: int = 256
    max_texts: int = 1_000


@dataclass(frozen=True)
class Options:
    """The choices of a caller. Raises InvalidArgument naming the option at fault."""

    templates: str | None = option(None, choice(tuple(TEMPLATES)))  # None takes each text as it is
    embeddings: bool = option(False, flag)  # answer the embeddings, too
    keep_embeddings: bool = option(False, flag)  # have the gallery keep those of its frames
    allow_unknown: bool = option(False, flag)  # answer texts with words that the network has not learned

    def __post_init__(self) -> None:
        check_options(self)


def read(inputs: Mapping[str, np.ndarray], config: Config) -> tuple[list[str], Options]:
    """Return the texts of a request, none if TEXTS is not given, and its options.

    Raises InvalidArgument for too many texts, for wrong options, and for a request that asks for nothing.
    """
    options = of_json(Options, json_object(inputs))
    count = inputs["TEXTS"].size if "TEXTS" in inputs else 0
    if count:
        check_count("texts", count, config.max_texts)
    elif not (options.embeddings or options.keep_embeddings):
        raise InvalidArgument("give TEXTS, one at least, or ask for embeddings alone with the option embeddings: true")
    return texts(inputs, "TEXTS") or [], options
