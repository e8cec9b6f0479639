"""What a request of `segment` asks for, checked before anything is decoded or asked of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods import grouping
from sluice.methods.grouping import prompts
from sluice.methods.grouping.windows import Plan
from sluice.options import flag
from sluice.wire import pictures
from sluice.wire.calls import json_object, texts

WINDOWS = ("auto", "whole", "slide")
FORMATS = ("png", "rle")
OPTIONS = ("templates", "rule", "top", "background", "window", "format", "groups", "confidence", "allow_unknown")


@dataclass(frozen=True)
class Config(pictures.Config):
    """How the network sees pictures, and limits of one request."""

    auto: str = "whole"  # what `window` auto means
    short: int = 448  # slide: pixels of the short side
    crop: int = 448  # slide: side of a window
    stride: int = 224  # slide: from one window to the next
    templates: str = "subset"  # where a request does not say
    rule: str = "official"  # likewise
    max_classes: int = 1_000
    max_name: int = 256  # characters of a class name

    def __post_init__(self) -> None:
        if self.auto not in WINDOWS[1:]:
            raise ValueError(f"parameter 'auto' is whole or slide, got {self.auto!r}")
        for window in WINDOWS[1:]:
            self.options(window, {})  # which refuses sizes that cannot be

    def options(self, window: str, given: Mapping[str, Any]) -> grouping.Options:
        """given: fields of the options that a caller may set."""
        window = self.auto if window == "auto" else window
        view, short = ("whole", self.size) if window == "whole" else ("windows", self.short)
        return grouping.Options(
            **{"templates": self.templates, "rule": self.rule, **given},
            view=view, short=short, longest=self.longest, window=self.crop, stride=self.stride,
        )  # fmt: skip


@dataclass(frozen=True)
class Request:
    """names: as the caller wrote them. groups, confidence: whether these maps are wanted. allow_unknown: whether names
    that the network has not learned are answered, too."""

    names: list[str]
    options: grouping.Options
    format: str
    groups: bool
    confidence: bool
    allow_unknown: bool

    def plan(self, height: int, width: int) -> Plan:
        return grouping.plan_of(height, width, self.options)


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """Raises InvalidArgument naming the class or the option at fault."""
    given = json_object(inputs)
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise InvalidArgument(f"OPTIONS has {unknown}; known are: {', '.join(OPTIONS)}")
    window, format_ = given.pop("window", "auto"), given.pop("format", "png")
    for name, value, known in (("window", window, WINDOWS), ("format", format_, FORMATS)):
        if value not in known:
            raise InvalidArgument(f"{name} is one of {', '.join(known)}, got {value!r}")
    wanted = {name: flag(name, given.pop(name, False)) for name in ("groups", "confidence", "allow_unknown")}
    options = config.options(window, given)
    return Request(_names(inputs, config), options, format_, **wanted)


def _names(inputs: Mapping[str, np.ndarray], config: Config) -> list[str]:
    count = inputs["CLASSES"].size
    if not 0 < count <= config.max_classes:
        raise InvalidArgument(f"a request holds 1 to {config.max_classes:,} class names, got {count:,}")
    names = texts(inputs, "CLASSES") or []
    for i, name in enumerate(names):
        if len(name) > config.max_name:
            raise InvalidArgument(
                f"class name {i} has {len(name):,} characters, more than the limit of {config.max_name}; it begins "
                f"with {name[:40]!r}"
            )
    prompts.check_names(names)
    return names


def facts(request: Request) -> dict[str, Any]:
    """The options as they were understood, for the answer."""
    options = dataclasses.asdict(request.options)
    window = "whole" if options["view"] == "whole" else "slide"
    return {name: options[name] for name in ("templates", "rule", "top", "background")} | {"window": window}
