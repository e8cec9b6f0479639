"""Holds a query, which is an image or a stored frame with regions of interest; and reads images as encoded bytes."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .drawing.pictures import UNREAD, unread
from .errors import InvalidRequest, MetadataIgnored
from .frames import Box

__all__ = ["ImageLike", "Query", "encoded", "name_of"]

ImageLike = bytes | bytearray | memoryview | str | os.PathLike
"""Encoded bytes (JPEG, PNG, WebP), or the path of a file with such bytes. Never decoded pixels."""


@dataclass(frozen=True)
class Query:
    """Look for what these regions show.

    image: encoded bytes or a path; or
    id:    the id of a stored frame. Exactly one of the two must be given.
    rois:  one or more (x0, y0, x1, y1), pixels of the query image, x right, y down; the image covers [0, W] x [0, H].

    Query("bike.jpg", rois=[(210, 80, 260, 140)])
    Query(id="0016E5-000390", rois=[(0, 0, 32, 32), (64, 0, 96, 32)])
    """

    image: ImageLike | None = None
    id: str | None = None
    rois: Sequence[Sequence[float]] = ()

    def __post_init__(self) -> None:
        if (self.image is None) == (self.id is None):
            got = "neither" if self.image is None else "both"
            raise InvalidRequest(f"A query needs an image or the id of a frame; got {got}.")
        if isinstance(self.id, str) and not self.id:
            raise InvalidRequest("The id of the query is empty.")
        if self.id is not None and not isinstance(self.id, str):
            raise InvalidRequest(f"The id of the query is a text; got {self.id!r:.80}.")
        if isinstance(self.rois, str) or not isinstance(self.rois, Iterable):
            raise InvalidRequest(f"rois must be a list of (x0, y0, x1, y1) in pixels; got {self.rois!r:.80}.")
        object.__setattr__(self, "rois", tuple(_box(roi) for roi in self.rois))
        if not self.rois:
            raise InvalidRequest(
                "A query needs at least one ROI; got none. For the whole image give (0, 0, width, height).",
            )


def _box(roi: Sequence[float]) -> Box:
    """Return a region as a box. Raises InvalidRequest unless it is four finite numbers with x0 < x1 and y0 < y1."""
    try:
        box = Box(*(float(value) for value in roi))
    except (TypeError, ValueError):
        raise InvalidRequest(f"A ROI is four numbers x0, y0, x1, y1 in pixels; got {roi!r}.") from None
    if not all(math.isfinite(value) for value in box):
        raise InvalidRequest(f"A ROI must be finite; got {tuple(box)}.")
    if box.x1 <= box.x0 or box.y1 <= box.y0:
        raise InvalidRequest(f"A ROI is x0, y0, x1, y1 with x0 < x1 and y0 < y1; got {tuple(box)}.")
    return box


def encoded(image: ImageLike) -> bytes:
    """Return the encoded bytes of an image.

    Raises InvalidRequest if the file cannot be read or there are no bytes. Warns with MetadataIgnored if a file has
    metadata that cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
        if not data:
            raise InvalidRequest("The image has zero bytes.")
        return data
    if not isinstance(image, str | os.PathLike):
        raise InvalidRequest(
            f"An image is encoded bytes (JPEG, PNG, WebP) or a path; got {type(image).__name__}. "
            "Encode pixels first, for example with Pillow's Image.save.",
        )
    try:
        data = Path(image).read_bytes()
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"{os.fspath(image)!s:.300} cannot be read: {why}.") from None
    if not data:
        raise InvalidRequest(f"{os.fspath(image)} has zero bytes.")
    if unread(data):
        warnings.warn(MetadataIgnored(f"{os.fspath(image)}: {UNREAD}"), stacklevel=2)
    return data


def name_of(image: ImageLike, index: int) -> str:
    """Return the name of an image in answers: its path, or `index`, its place in the list."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else str(index)
