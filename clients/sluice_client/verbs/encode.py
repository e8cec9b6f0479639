"""The task `encode` of the verb `sample`: finds the latents from which `sample` makes given images again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from .. import options
from ..answers.sample import Collector, Latents
from ..answers.sample_events import MODEL, Event, Preview, Result
from ..errors import InvalidRequest, UnexpectedAnswer
from ..query import ImageLike
from ..tensors import Call, strings
from .pieces import cut_images, listed
from .sample import Labels, Options, Solving, call, flat

__all__ = ["EncodeKeywords", "Encoding"]


class EncodeKeywords(Solving, total=False):
    """The fields of `sample.Options` that `encode` knows, for type checkers and editors."""

    fit: bool | None


class Encoding:
    """A request, and the places of its images in the caller's list. Files are read when it is made.

    images:  encoded bytes or paths; an image that cannot be read gets an error, and the others are answered; or
    tensors: float [n, C, S, S], values of about -1..1. Exactly one of the two must be given.
    """

    def __init__(self, images: Sequence[ImageLike] | None = None, tensors: np.ndarray | None = None):
        if (images is None) == (tensors is None):
            got = "neither" if images is None else "both"
            raise InvalidRequest(f"`encode` needs images, or tensors in -1..1; got {got}.")
        if images is not None:
            piece = next(cut_images("encode", images, len(listed("encode", images))))
            self.names, self.errors = piece.names, piece.errors
            self.inputs = {"IMAGES": strings(piece.images)}
            if not piece.images:
                raise InvalidRequest(piece.errors[0] or "No image can be read.")
        else:
            array = flat(np.asarray(tensors), "tensors")
            self.names = tuple(str(place) for place in range(len(array)))
            self.errors = (None,) * len(array)
            self.inputs = {"TENSORS": array}
        self.places = [place for place, error in enumerate(self.errors) if error is None]

    def request(self, model: str | None, labels: Labels | None, **given: Unpack[EncodeKeywords]) -> Call:
        """Return the call.

        model:  name of the network; None for the server's first.
        labels: the class of each image, or one class for all; for networks with classes.
        given:  the options of `EncodeKeywords`.
        """
        if isinstance(labels, Sequence | np.ndarray) and len(labels) == len(self.names) > 1:
            labels = [labels[place] for place in self.places]  # labels of the images that are sent
        own = ("images", "tensors", "model", "labels", "on_event", "timeout")
        options.known("encode", EncodeKeywords.__annotations__, given, own)
        return call("encode", model, self.inputs, labels, len(self.places), {}, Options(**given))

    def event(self, event: Event) -> Event:
        """Return the event with the places of its images in the caller's list."""
        if not isinstance(event, Preview | Result):
            return event
        if event.index and not 0 <= min(event.index) <= max(event.index) < len(self.places):
            return event  # `Collector.result` refuses such a place
        return replace(event, index=tuple(self.places[place] for place in event.index))

    def latents(self, collected: Collector) -> Latents:
        """Return the latents of all images. collected: the events, with the places of the caller's list."""
        missing = [place for place, error in enumerate(self.errors) if error is not None]
        result, end = collected.result(len(self.names), missing)
        if result.tensors is None:
            raise UnexpectedAnswer(f"`{MODEL}` should answer latents; got pictures.")
        errors = tuple(ours or theirs for ours, theirs in zip(self.errors, result.errors, strict=True))
        return Latents(result.tensors, errors, self.names, end)
