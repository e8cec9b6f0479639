"""Looks after the stored frames: list, get, image, delete, describe. Each has a request and an answer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from ..answers.detect import Detections, Object
from ..answers.no_effect import NoEffect
from ..errors import RequestIgnored, UnexpectedAnswer
from ..filters import Filter, FilterKeywords
from ..frames import Frame
from ..options import whole
from ..tensors import Call, Tensors, from_json, json_tensor, take
from .pieces import names

__all__ = [
    "MODEL",
    "Ids",
    "Page",
    "delete_answer",
    "delete_request",
    "describe_answer",
    "describe_request",
    "get_answer",
    "get_request",
    "image_answer",
    "image_request",
    "list_answer",
    "list_request",
    "objects_answer",
    "objects_request",
    "precision_answer",
    "precision_request",
    "unembedded_request",
    "unscored_answer",
    "unscored_request",
]

MODEL = "frame_gallery"

_LARGEST_PAGE = 1000


@dataclass(frozen=True)
class Page:
    """Some frames, in the order in which they were stored.

    next:      the cursor of the next page; None if this is the last page.
    no_effect: on the first page, the filters that name something that no stored frame has.
    """

    frames: tuple[Frame, ...]
    next: str | None
    no_effect: tuple[NoEffect, ...] = ()


@dataclass(frozen=True)
class Ids:
    """The ids of some frames, in the order in which the frames were stored. next: as of `Page`."""

    ids: tuple[str, ...]
    next: str | None


def _call(command: dict[str, Any], *outputs: str) -> Call:
    """Return the call for a command. outputs: the tensors of its answer, ANSWER if none is named."""
    return Call(MODEL, {"COMMAND": json_tensor(command)}, outputs or ("ANSWER",))


def _answer(tensors: Tensors, kind: type) -> Any:
    """Return the value of the answer's JSON. Raises UnexpectedAnswer if it is of another kind."""
    value = from_json(MODEL, take(tensors, MODEL, "ANSWER", 1)[0])
    if not isinstance(value, kind):
        raise UnexpectedAnswer(f"`{MODEL}` should answer a JSON {kind.__name__}; got {value!r:.80}.")
    return value


def list_request(cursor: str | None = "", limit: int = 500, **given: Unpack[FilterKeywords]) -> Call:
    """Return the call for a page of frames.

    cursor: "" or None for the first page, then `Page.next`. limit: the most frames of the page, 1..1000.
    given:  the filters, fields of `Filter`.
    """
    most = whole("page", limit, 1, _LARGEST_PAGE)
    return _call({"op": "list", "cursor": cursor or None, "limit": most, **Filter.of(**given).as_json()})


def list_answer(tensors: Tensors) -> Page:
    """Read a page of frames. Warns with RequestIgnored for each filter that had no effect."""
    value = _answer(tensors, dict)
    if not isinstance(value.get("frames"), list):
        raise UnexpectedAnswer(f"`{MODEL}` should answer a list of frames; got {sorted(value)}.")
    page = Page(tuple(Frame.from_json(frame) for frame in value["frames"]), value.get("next"), NoEffect.of(value))
    for one in page.no_effect:  # the frames of all pages come as one stream, which has no field for it
        warnings.warn(RequestIgnored(str(one)), stacklevel=2)
    return page


def unscored_request(cursor: str | None = "", limit: int = 500) -> Call:
    """Return the call for a page of frames that the server's detector has not scored. cursor, limit: as of a list."""
    return _ids_request("unscored", cursor, limit)


def unembedded_request(cursor: str | None = "", limit: int = 500) -> Call:
    """Return the call for a page of frames without an embedding of this server; `unscored_answer` reads its answer."""
    return _ids_request("unembedded", cursor, limit)


def _ids_request(operation: str, cursor: str | None, limit: int) -> Call:
    return _call({"op": operation, "cursor": cursor or None, "limit": whole("page", limit, 1, _LARGEST_PAGE)})


def unscored_answer(tensors: Tensors) -> Ids:
    """Read a page of ids."""
    value = _answer(tensors, dict)
    if not isinstance(value.get("ids"), list):
        raise UnexpectedAnswer(f"`{MODEL}` should answer a list of ids; got {sorted(value)}.")
    return Ids(tuple(str(id) for id in value["ids"]), value.get("next"))


def get_request(ids: Sequence[str]) -> Call:
    """Return the call for the facts of these frames."""
    return _call({"op": "get", "ids": names(ids), "images": False})


def get_answer(tensors: Tensors) -> list[Frame]:
    """Read the frames, in the order of the ids."""
    return [Frame.from_json(frame) for frame in _answer(tensors, list)]


def objects_request(ids: Sequence[str]) -> Call:
    """Return the call for the objects that are stored with these frames."""
    return _call({"op": "get", "ids": names(ids), "images": False, "objects": True})


def objects_answer(tensors: Tensors) -> list[Detections]:
    """Read the objects that the detector found when it scored each frame; a frame without scores has an `error`."""
    found = []
    for value in _answer(tensors, list):
        stored, model = value.pop("objects", None), value.pop("detector", None)
        summary = value.pop("summary", None)
        frame = Frame.from_json(value)
        try:
            objects = tuple(map(Object.from_stored, stored or ()))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UnexpectedAnswer(
                f"`{MODEL}` should answer objects with their uncertainties; {error!r:.80}."
            ) from None
        problem = "no detector has scored this frame; run `sluice score`" if stored is None else None
        found.append(
            Detections(frame.id, objects, summary, model or "", frame.width, frame.height, frame, error=problem)
        )
    return found


def image_request(id: str) -> Call:
    """Return the call for the encoded image of a frame."""
    return _call({"op": "get", "ids": names([id]), "images": True}, "ANSWER", "ENCODED")


def image_answer(tensors: Tensors) -> bytes:
    """Read the encoded bytes, as they were added."""
    return bytes(take(tensors, MODEL, "ENCODED", 1)[0])


def delete_request(ids: Sequence[str]) -> Call:
    """Return the call that removes these frames."""
    return _call({"op": "delete", "ids": names(ids)})


def delete_answer(tensors: Tensors) -> list[str]:
    """Read the ids of the frames that were stored and are removed now."""
    return [str(id) for id in _answer(tensors, list)]


def precision_request() -> Call:
    """Return the call for the weights and the precision of the server's networks."""
    return _call({"op": "precision"})


def precision_answer(tensors: Tensors) -> dict[str, Any]:
    """Read the weights and the precision of the server's networks, as `answers.health.Health` has them."""
    return _answer(tensors, dict)


def describe_request() -> Call:
    """Return the call for the state of the gallery."""
    return _call({"op": "describe"})


def describe_answer(tensors: Tensors) -> dict[str, Any]:
    """Read the state of the gallery: counts of frames, drives and cameras, versions, bytes."""
    return _answer(tensors, dict)
