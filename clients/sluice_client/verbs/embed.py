"""The verb `embed`: answers the feature map of an image."""

from __future__ import annotations

from ..answers.embed import Features
from ..query import ImageLike, encoded
from ..tensors import Call, Tensors, strings, take

__all__ = ["MODEL", "answer", "request"]

MODEL = "embed"


def request(image: ImageLike) -> Call:
    """Return the call for one image, encoded bytes or a path."""
    # The first axis is the batch, since the ensemble batches. One image per call: canvases may differ in shape.
    return Call(MODEL, {"ENCODED": strings([encoded(image)]).reshape(1, 1)}, ("FEATURES", "GEOMETRY"))


def answer(tensors: Tensors) -> Features:
    """Read the answer to `request`."""
    return Features(
        features=take(tensors, MODEL, "FEATURES", 1, None, None, None)[0],
        geometry=take(tensors, MODEL, "GEOMETRY", 1, 6)[0],
    )
