"""Reads what a caller may choose: JSON and texts, each value checked against its kind.

A `Kind` says in words what a value must be, and takes it or refuses it. A dataclass holds the options of one request;
`option` writes the kind of a field beside its default, and `check_options` applies the kinds:

    @dataclass(frozen=True)
    class Options:
        steps: int = option(10, whole(1, 1000))
        grid: str = option("quadratic", choice(("quadratic", "linear")))

        def __post_init__(self) -> None:
            check_options(self)

    of_json(Options, '{"steps": 5}')    # Options(steps=5, grid='quadratic')
    of_json(Options, '{"steps": 0}')    # InvalidArgument: steps is a whole number from 1 to 1000; got 0
    of_json(Options, '{"step": 5}')     # InvalidArgument: OPTIONS has 'step'; known are: steps, grid
    whole(1, 9)("count", 3)             # 3; a kind also reads a value that belongs to no dataclass
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np

from sluice.errors import InvalidArgument

T = TypeVar("T")

# ------------------------------------------------------------------------------------------------ kinds of values


@dataclass(frozen=True)
class Kind(Generic[T]):
    """The check of one value.

    expected: what a value must be, in words that follow "NAME is".
    accept: returns the value in its own type, or None to refuse.
    null: whether None is a value, too.
    """

    expected: str
    accept: Callable[[Any], T | None]
    null: bool = False

    def __call__(self, name: str, value: Any) -> T:
        """Return the value of the option `name`. Raises InvalidArgument with what was expected and what came."""
        if value is None and self.null:
            return cast(T, None)
        taken = self.accept(value)
        if taken is None:
            or_null = ", or null" if self.null else ""
            raise InvalidArgument(f"{name} is {self.expected}{or_null}; got {value!r:.80}")
        return taken

    def or_null(self) -> Kind[T | None]:
        """Return the same kind, of which None is a value, too."""
        return Kind(self.expected, self.accept, True)


def whole(low: int, high: int | None = None) -> Kind[int]:
    """Return the kind of whole numbers from `low` to `high`, both inclusive; without `high` of all from `low` on."""

    def accept(value: Any) -> int | None:
        number = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return int(value) if number and low <= value and (high is None or value <= high) else None

    return Kind(f"a whole number {f'of {low} or more' if high is None else f'from {low} to {high}'}", accept)


def number(low: float | None = None, high: float | None = None) -> Kind[float]:
    """Return the kind of finite numbers from `low` to `high`, both inclusive; None is no limit."""
    least, most = -math.inf if low is None else low, math.inf if high is None else high

    def accept(value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return None
        try:
            taken = float(value)
        except OverflowError:  # a whole number beyond every float
            return None
        return taken if math.isfinite(taken) and least <= taken <= most else None

    if low is not None and high is not None:
        return Kind(f"a number from {low:g} to {high:g}", accept)
    limit = f" of {low:g} or more" if low is not None else f" of {high:g} or less" if high is not None else ""
    return Kind(f"a finite number{limit}", accept)


flag: Kind[bool] = Kind("true or false", lambda value: value if isinstance(value, bool) else None)
one_text: Kind[str] = Kind("a text", lambda value: value if isinstance(value, str) else None)


def choice(known: Collection[T]) -> Kind[T]:
    """Return the kind of a few known values, texts or true and false."""

    def accept(value: Any) -> T | None:
        # Types are compared, too, because 1 == True; and nothing is hashed, because a list cannot be.
        return next((one for one in known if isinstance(value, type(one)) and value == one), None)

    words = (one if isinstance(one, str) else json.dumps(one) for one in known)
    return Kind(f"one of {', '.join(words)}", accept)


def _text_list(value: Any) -> tuple[str, ...] | None:
    good = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return tuple(value) if good else None


text_list: Kind[tuple[str, ...]] = Kind("a list of texts", _text_list)


# ------------------------------------------------------------------------------------------------ options of a request


def option(default: Any, kind: Kind[Any], **metadata: Any) -> Any:
    """Return a dataclass field with its default and its kind. Null is allowed if the default is None.

    metadata: more that readers of the class need to know of the field.
    """
    kind = kind.or_null() if default is None else kind
    return dataclasses.field(default=default, metadata={"kind": kind, **metadata})


def check_options(options: Any) -> None:
    """Check each `option` of a dataclass, in place, in the order of its fields. Call it in `__post_init__`.

    Raises InvalidArgument naming the first option that is not of its kind.
    """
    for name, kind in _kinds(options.__class__):
        object.__setattr__(options, name, kind(name, getattr(options, name)))


@functools.cache
def _kinds(cls: type) -> tuple[tuple[str, Kind[Any]], ...]:
    """Return the names and kinds of a dataclass's options."""
    return tuple((one.name, one.metadata["kind"]) for one in dataclasses.fields(cls) if "kind" in one.metadata)


def names_of(cls: type) -> tuple[str, ...]:
    """Return the names of a dataclass's fields."""
    return tuple(one.name for one in dataclasses.fields(cls))


def of_json(cls: type[T], given: Any, what: str = "OPTIONS") -> T:
    """Return the dataclass `cls` from JSON text, or from an object that was parsed already, with some of its fields.

    what: the caller's word for the object, such as OPTIONS.
    Raises InvalidArgument for what is no JSON object, an unknown name, or a value that is not of its kind.
    """
    return cls(**split(given, names_of(cls), what=what)[0])


def split(given: Any, *groups: Iterable[str], what: str = "OPTIONS") -> list[dict[str, Any]]:
    """Return the members of a caller's JSON object that belong to each group of names.

    Raises InvalidArgument as `json_object`, and for a name that is in no group.
    """
    known = [tuple(group) for group in groups]
    members = json_object(given, what, [name for group in known for name in group])
    return [{name: members[name] for name in group if name in members} for group in known]


def json_object(given: Any, what: str = "OPTIONS", known: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the members of a JSON object: JSON text, where empty text is {}; or an object that was parsed already.

    what: the caller's word for the object. known: the names that it may have; None allows any.
    Raises InvalidArgument for what is no JSON object, and for an unknown name.
    """
    if isinstance(given, str | bytes):
        given = parsed(given or "{}", what)
    if not isinstance(given, Mapping):
        some = "" if known is None else f" with some of {', '.join(known)}"
        raise InvalidArgument(f"{what} is a JSON object{some}; got {given!r:.80}")
    if known is not None and (unknown := sorted(set(map(str, given)) - set(known))):
        raise InvalidArgument(f"{what} has {', '.join(map(repr, unknown))!s:.200}; known are: {', '.join(known)}")
    return dict(given)


# ------------------------------------------------------------------------------------------------ JSON and texts


def text(value: Any) -> str:
    """Return one element of a tensor of strings as text. Raises InvalidArgument if it is not UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise InvalidArgument("text must be UTF-8") from None


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(given: str | bytes, what: str) -> Any:
    """Return the value of a caller's JSON. what: the caller's word for it.

    Raises InvalidArgument for what is not JSON, and for half a character: an escaped surrogate without its other half,
    which nothing can store or print.
    """
    given = text(given)
    try:
        value = json.loads(given)
        if _SURROGATE.search(given):
            for key, part in value.items() if isinstance(value, dict) else [("", value)]:
                where = f"{what}: {key!a:.80}" if key else what
                json.dumps([key, part], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise InvalidArgument(f"{where} has half a character, the surrogate {half} alone; leave it out") from None
    except (ValueError, RecursionError) as error:  # the latter if it is nested a thousand deep
        raise InvalidArgument(f"{what} is not JSON: {error}") from None
    return value
