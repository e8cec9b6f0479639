"""Facts that the cards of `retrieve`, `detect` and `segment` share: the picture or why it is missing, and the frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from ..drawing.pictures import Picture
from ..frames import Frame

__all__ = ["Card", "Fact", "attempt", "frame_facts", "seconds", "side"]

_Made = TypeVar("_Made")

# (up to so many cards, pixels of a picture's longer side): a page of many cards must remain small enough to be mailed.
_SIDES = ((24, 800), (120, 480), (float("inf"), 320))


class Fact(NamedTuple):
    """A short text of a card; `strong` follows in bold."""

    text: str
    strong: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One image of a page.

    place:   in the order in which the images were given, from 0.
    picture: None when the image cannot be shown; `missing` then tells why.
    error:   why the server could say nothing about the image, or None if it could.
    """

    place: int
    id: str
    picture: Picture | None
    missing: str
    error: str | None
    facts: list[Fact]


def side(count: int) -> int:
    """Return how many pixels the longer side of a picture has on a page of `count` cards."""
    return next(pixels for most, pixels in _SIDES if count <= most)


def attempt(make: Callable[[], _Made]) -> tuple[_Made | None, str]:
    """Return what `make` returns and "", or None and the reason when it raises.

    Every exception counts, because each source of images has its own, and one missing image must not spoil the page.
    """
    try:
        return make(), ""
    except Exception as error:
        return None, str(error) or type(error).__name__


def frame_facts(frame: Frame) -> list[Fact]:
    """Return drive, camera, time and tags of a frame, of those that it has."""
    facts = [Fact("drive", frame.drive)] if frame.drive else []
    facts += [Fact(frame.camera)] if frame.camera else []
    facts += [Fact(f"{seconds(frame.time)} s")] if frame.time is not None else []
    return facts + ([Fact(", ".join(frame.tags))] if frame.tags else [])


def seconds(value: float) -> str:
    """Write seconds with at most three decimals: 1234.5 becomes "1,234.5"."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")
