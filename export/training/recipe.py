"""What every training's command line has: seed, threads, and changing the recipe by `--set NAME=VALUE`."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from typing import Any, TypeVar

R = TypeVar("R")


def options(parser: argparse.ArgumentParser, recipe: Any) -> None:
    """Add --seed, --threads and --set to a parser; recipe: the dataclass, or one of it, whose fields --set names."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    names = ", ".join(field.name for field in fields(recipe))
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help=f"change the recipe; names: {names}"
    )


def changed(recipe: R, items: list[str]) -> R:
    """A recipe with some choices changed. items: NAME=VALUE.

    Raises SystemExit for a name that it does not have, and for a value that is not of the field's type.
    """
    kinds = {field.name: type(field.default) for field in fields(recipe)}  # type: ignore[arg-type]
    values = asdict(recipe)  # type: ignore[call-overload]
    for item in items:
        name, _, value = item.partition("=")
        if name not in kinds:
            raise SystemExit(f"unknown {name}; the recipe has {', '.join(kinds)}")
        try:
            values[name] = kinds[name](value)
        except ValueError:
            raise SystemExit(
                f"{name} is of type {kinds[name].__name__}, got {value!r}; write --set {name}=..."
            ) from None
    return type(recipe)(**values)
