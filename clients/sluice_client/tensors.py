"""Turns Python values into tensors that are sent, and tensors of answers into Python values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from .errors import InvalidRequest, UnexpectedAnswer

__all__ = ["Call", "Reader", "Tensors", "Work", "from_json", "json_tensor", "strings", "take", "texts"]

Tensors = Mapping[str, np.ndarray]


class Call(NamedTuple):
    """A request of a verb or a model, not yet sent.

    inputs:  arrays by the names of their tensors; an array of dtype object holds bytes, Triton's STRING.
    outputs: the names of the tensors that the server shall answer.
    """

    model: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]


R = TypeVar("R", covariant=True)


class Work(Protocol[R]):
    """One of many calls. `request` returns None if there is nothing to ask; `answer` is then given None."""

    def request(self) -> Call | None: ...
    def answer(self, tensors: Tensors | None) -> R: ...


class Reader(Protocol[R]):
    """Turns each answer of one stream into an event. `finish` raises if the stream ended too early."""

    def event(self, tensors: Tensors) -> R: ...
    def finish(self) -> None: ...


def strings(values: Iterable[bytes | str]) -> np.ndarray:
    """Return texts and bytes as an array [n] of dtype object that holds bytes; texts become UTF-8.

    NumPy's own `S` type is not used, because it drops trailing zero bytes. Raises InvalidRequest for a text that UTF-8
    cannot hold.
    """
    data = [_encoded(value) if isinstance(value, str) else value for value in values]
    array = np.empty(len(data), dtype=np.object_)
    array[:] = data
    return array


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"A text must be UTF-8; {text!r:.200} is not.") from None


def json_tensor(value: Any) -> np.ndarray:
    """Return a value as an array [1] of dtype object that holds its JSON text.

    Raises InvalidRequest for NaN, infinity and other values that JSON cannot hold.
    """
    try:
        return strings([json.dumps(value, allow_nan=False, separators=(",", ":"))])
    except TypeError as error:
        raise InvalidRequest(f"{error}; got {value!r:.200}.") from None
    except ValueError:
        raise InvalidRequest(f"Numbers must be finite; got {value!r:.200}.") from None


def take(tensors: Tensors, model: str, name: str, *shape: int | None) -> np.ndarray:
    """Return one tensor of a model's answer.

    shape: the expected lengths of the axes; None for an axis of any length.
    Raises UnexpectedAnswer if the tensor is missing or has another shape.
    """
    if name not in tensors or tensors[name] is None:
        raise UnexpectedAnswer(f"`{model}` should answer {name}; got {sorted(tensors)}.")
    array = tensors[name]
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        want = ["any" if length is None else length for length in shape]
        raise UnexpectedAnswer(f"`{model}` should answer {name} of shape {want}; got {list(array.shape)}.")
    return array


def texts(array: np.ndarray) -> list[str]:
    """Return the elements of a tensor of bytes as texts."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in array.ravel()]


def from_json(model: str, text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises UnexpectedAnswer, which names the model, if the text is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise UnexpectedAnswer(f"`{model}` should answer JSON; got {text[:80]!r}.") from None
