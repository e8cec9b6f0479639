"""A request of `retrieve`: its options and texts, read and checked. Its regions are read in `sluice.wire.query`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Search
from sluice.methods.grouping.prompts import TEMPLATES
from sluice.options import check_options, choice, flag, names_of, option, split
from sluice.wire.calls import check_count, json_object, texts
from sluice.wire.query import Config


@dataclass(frozen=True)
class Wording:
    """The choices of a caller about TEXTS. Raises InvalidArgument naming the option at fault."""

    templates: str | None = option(None, choice(tuple(TEMPLATES)))  # None takes each text as it is
    allow_unknown: bool = option(False, flag)  # rank by texts with words that the network has not learned, too

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Request:
    """A checked request.

    search: the options that the gallery reads, fields of `Search`. texts: what frames are ranked by, or None if the
    request looks for regions alone.
    """

    search: dict[str, Any]
    wording: Wording
    texts: list[str] | None


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """Read the options and texts of a request.

    Raises InvalidArgument for an unknown option, for options about texts without any, for too many texts, and for
    texts where this server ranks by no words.
    """
    search, about = split(json_object(inputs), names_of(Search), names_of(Wording))
    given = texts(inputs, "TEXTS")
    if given is None:
        if about.get("templates") is not None:
            raise InvalidArgument("templates are sentences for TEXTS; give some, or leave templates out")
        if "allow_unknown" in about:
            raise InvalidArgument("allow_unknown is about TEXTS; give some, or leave allow_unknown out")
        return Request(search, Wording(), None)
    if not config.texts:
        raise InvalidArgument("this server does not rank by words: give ROIS, or switch on `texts` of `retrieve`")
    check_count("texts", len(given), config.max_texts)
    return Request(search, Wording(**about), given)
