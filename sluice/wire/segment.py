"""A request of `segment`, read and checked before anything is decoded or asked of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods import grouping
from sluice.methods.grouping.windows import Plan
from sluice.options import check_options, choice, flag, names_of, option, split
from sluice.wire import pictures
from sluice.wire.calls import json_object, texts

WINDOWS = ("auto", "whole", "slide")
FORMATS = ("png", "rle")
METHOD = ("templates", "rule", "top", "background")  # fields of `grouping.Options` that a caller may choose


@dataclass(frozen=True)
class Config(pictures.Config):
    """The way in which the network sees images, and limits of one request."""

    auto: str = "whole"  # what the option `window` means by auto: whole or slide
    short: int = 448  # of sliding windows: pixels of the image's short side
    multiple: int = 16  # of which the network takes sides, pixels
    crop: int = 448  # of sliding windows: pixels of a window's side
    stride: int = 224  # of sliding windows: pixels from one window to the next
    templates: str = "subset"  # unless a request says otherwise
    rule: str = "official"  # unless a request says otherwise
    max_classes: int = 1_000
    max_name: int = 256  # characters of a class name

    def __post_init__(self) -> None:
        if self.auto not in WINDOWS[1:]:
            raise ValueError(f"parameter 'auto' is whole or slide, got {self.auto!r}")
        for window in WINDOWS[1:]:
            self.options(window, {})  # refuses sizes that cannot be

    def options(self, window: str, given: Mapping[str, Any]) -> grouping.Options:
        """Return the method's options for a window, one of WINDOWS. given: the caller's choices among METHOD."""
        window = self.auto if window == "auto" else window
        view, short = ("whole", self.size) if window == "whole" else ("windows", self.short)
        return grouping.Options(
            **{"templates": self.templates, "rule": self.rule, **given},
            view=view, short=short, longest=self.longest, window=self.crop, stride=self.stride,
            multiple=self.multiple,
        )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """The choices of a caller about the answer. Raises InvalidArgument naming the option at fault."""

    window: str = option("auto", choice(WINDOWS))
    format: str = option("png", choice(FORMATS))  # of the masks
    groups: bool = option(False, flag)  # answer the map of groups, too
    confidence: bool = option(False, flag)  # answer the map of confidence, too
    allow_unknown: bool = option(False, flag)  # answer names with words that the network has not learned

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Request:
    """A checked request. names: of the classes, as the caller wrote them."""

    names: list[str]
    options: grouping.Options
    answer: Answer

    def plan(self, height: int, width: int) -> Plan:
        """Plan the windows of an image of this size, pixels."""
        return grouping.plan_of(height, width, self.options)


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """Read a request: CLASSES and OPTIONS. Raises InvalidArgument naming the class or the option at fault."""
    method, answer = split(json_object(inputs), METHOD, names_of(Answer))
    wanted = Answer(**answer)
    return Request(_names(inputs, config), config.options(wanted.window, method), wanted)


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
    return names


def facts(request: Request) -> dict[str, Any]:
    """Return the options as they were understood, for NOTES of the answer."""
    options = dataclasses.asdict(request.options)
    window = "whole" if options["view"] == "whole" else "slide"
    return {name: options[name] for name in METHOD} | {"window": window}
