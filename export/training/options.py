"""The options of every training's command line: --seed, --threads, and --set NAME=VALUE, which changes the recipe."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from typing import Any, TypeVar

R = TypeVar("R")


def options(parser: argparse.ArgumentParser, recipe: Any) -> None:
    """Add --seed, --threads and --set to a parser. recipe: the dataclass, or an instance, whose fields --set names."""
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default %(default)s)")

    def checked(item: str) -> str:
        try:
            changed(recipe() if isinstance(recipe, type) else recipe, [item])
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return item

    names = ", ".join(field.name for field in fields(recipe))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=checked,
        metavar="NAME=VALUE",
        help=f"change the recipe, once per change; names: {names}",
    )


def choice(recipe: Any, item: str) -> tuple[str, Any]:
    """Read NAME=VALUE and return name and value.

    Raises ValueError for a name that the recipe lacks, a value of another type, and a value that the recipe refuses.
    """
    kinds: dict[str, type] = {field.name: type(field.default) for field in fields(recipe)}
    name, _, text = item.partition("=")
    if name not in kinds:
        raise ValueError(f"unknown {name}; the recipe has {', '.join(kinds)}")
    try:
        value = kinds[name](text)
    except ValueError:
        raise ValueError(f"{name} is of type {kinds[name].__name__}, got {text!r}") from None
    (recipe if isinstance(recipe, type) else type(recipe))(**{name: value})
    return name, value


def changed(recipe: R, items: list[str]) -> R:
    """Return the recipe with some choices changed. items: NAME=VALUE. Raises ValueError as `choice` does."""
    return replace(recipe, **dict(choice(recipe, item) for item in items))  # type: ignore[type-var]  # dataclasses all
