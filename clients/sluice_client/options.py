"""Checks the options of all verbs: it refuses a name that is no option, and a value of another kind.

Type checkers read the options as the `Keywords` of each verb. The checks here are for callers without a type checker,
and for ranges, which it cannot see. Every function raises InvalidRequest with a sentence that names the option.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InvalidRequest

__all__ = ["choices", "flag", "flags", "known", "lists", "number", "numbers_in", "texts", "whole", "wholes"]


def known(verb: str, names: Iterable[str], given: Iterable[str], own: Sequence[str] = ()) -> None:
    """Refuse a name among `given` that is not an option of the verb.

    names: of the verb's options.
    own:   names of the method's other arguments, which a caller may have misspelt.
    """
    options = list(names)
    for name in given:
        if name not in options:
            near = difflib.get_close_matches(name, [*options, *own], 1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise InvalidRequest(f"`{verb}` knows {', '.join(options)}; got {name!r}.{meant}")


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return `value` as an int; NumPy's integers are taken, too. most: None for no upper limit."""
    limits = f"of at least {least}" if most is None else f"{least}..{most}"
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is None or isinstance(value, bool) or found < least or (most is not None and found > most):
        raise InvalidRequest(f"{name} must be a whole number {limits}; got {value!r:.80}.")
    return found


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return `value`, finite and in low..high, as an int or float; NumPy's numbers are taken, too."""
    finite = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        finite = finite and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        finite = False
    if not finite or not low <= value <= high:
        limits = f"lie in {low:g}..{high:g}"
        if high == math.inf:
            limits = "be a finite number" + ("" if low == -math.inf else f" of at least {low:g}")
        raise InvalidRequest(f"{name} must {limits}; got {value!r:.80}.")
    return operator.index(value) if isinstance(value, numbers.Integral) else float(value)


def flag(name: str, value: Any) -> bool:
    """Return `value`, which must be True or False, because a text such as "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidRequest(f"{name} must be True or False; got {value!r:.80}.")
    return bool(value)


def texts(name: str, value: Any, least: int = 0, of: str = "text") -> list[str]:
    """Return a collection of texts as a list.

    least: how many texts there must be. of: the word for a text in the error.
    An iterator is refused, because it can be read only once, and answers repeat the texts.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
        raise InvalidRequest(f"{name} must be a list of {of}s; got {value!r:.80}.")
    found = list(value)
    for place, one in enumerate(found):
        if not isinstance(one, str):
            raise InvalidRequest(f"{name} must be a list of {of}s; number {place} is {one!r:.80}.")
    if len(found) < least:
        raise InvalidRequest(f"{name} must be a list of at least one {of}; got {value!r:.80}.")
    return found


# Fields of a dataclass of options. None says that the option was not given; a field that is None is left alone. ------


def choices(of: object, **allowed: Sequence[str]) -> None:
    """Check that each of these fields is one of its words."""
    for name, value in _given(of, allowed):
        if not isinstance(value, str) or value not in allowed[name]:
            raise InvalidRequest(f"{name} must be one of {', '.join(allowed[name])}; got {value!r:.80}.")


def wholes(of: object, **limits: tuple[int, int | None]) -> None:
    """Check that each of these fields is a whole number from its least to its most, and store it as an int."""
    for name, value in _given(of, limits):
        object.__setattr__(of, name, whole(name, value, *limits[name]))


def numbers_in(of: object, **limits: tuple[float, float]) -> None:
    """Check that each of these fields is a number from its least to its most, and store it as an int or float."""
    for name, value in _given(of, limits):
        object.__setattr__(of, name, number(name, value, *limits[name]))


def lists(of: object, *names: str) -> None:
    """Check that each of these fields is a list of texts, and store it as a tuple."""
    for name, value in _given(of, names):
        object.__setattr__(of, name, tuple(texts(name, value)))


def flags(of: object, *names: str) -> None:
    """Check that each of these fields is True or False, and store it as a bool."""
    for name, value in _given(of, names):
        object.__setattr__(of, name, flag(name, value))


def _given(of: object, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Return (name, value) of those of these fields that are not None."""
    return [(name, value) for name in names if (value := getattr(of, name)) is not None]
