"""A request of `compare`, read and checked before anything is asked of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.grouping.prompts import TEMPLATES
from sluice.options import flag
from sluice.wire import pictures
from sluice.wire.calls import json_object, texts

OPTIONS = ("templates", "embeddings", "keep_embeddings", "allow_unknown")


@dataclass(frozen=True)
class Config(pictures.Config):
    """How the network sees pictures, and limits of one request."""

    max_images: int = 256
    max_texts: int = 1_000


def read(inputs: Mapping[str, np.ndarray], config: Config) -> tuple[list[str], str | None, bool, bool, bool]:
    """Texts, templates, whether the vectors are wanted, whether the gallery is to keep those of the frames, and whether
    unknown words are allowed."""
    options = json_object(inputs)
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidArgument(f"OPTIONS has {unknown}; known are: {', '.join(OPTIONS)}")
    templates = options.get("templates")
    wanted, keep, allow = (flag(one, options.get(one, False)) for one in OPTIONS[1:])
    if templates is not None and templates not in tuple(TEMPLATES):
        raise InvalidArgument(f"templates is null or one of {', '.join(TEMPLATES)}, got {templates!r}")
    count = inputs["TEXTS"].size if "TEXTS" in inputs else 0
    if count > config.max_texts:
        raise InvalidArgument(f"a request holds 1 to {config.max_texts:,} texts, got {count:,}; split it")
    if not (count or wanted or keep):
        raise InvalidArgument("give TEXTS, one at least, or ask for embeddings alone with the option embeddings: true")
    return texts(inputs, "TEXTS") or [], templates, wanted, keep, allow
