"""The task `interpolate` of `sample`: the pictures on the way from one to another, along the great circle between their
latents."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import numpy as np

from .. import options
from ..answers.sample import Latents
from ..errors import InvalidRequest
from ..query import ImageLike, encoded
from ..tensors import Call, strings
from .sample import Drawing, Labels, Options, call, flat, seeds_tensor

__all__ = ["InterpolateKeywords", "Moving", "request"]

Images = Sequence[ImageLike | tuple[ImageLike, ImageLike]]
Seeds = Sequence[int | Sequence[int]] | np.ndarray


class Moving(Drawing, total=False):
    """The fields of `sample.Options` that `interpolate` knows, for type checkers and editors."""

    between: int | None
    fit: bool | None


class InterpolateKeywords(Moving, total=False):
    """What `interpolate` takes besides the model."""

    seeds: Seeds | None
    images: Images | None
    latents: Latents | np.ndarray | None
    labels: Labels | None


def request(
    model: str | None = None,
    *,
    seeds: Seeds | None = None,
    images: Images | None = None,
    latents: Latents | np.ndarray | None = None,
    labels: Labels | None = None,
    **given: Unpack[Moving],
) -> tuple[Call, int]:
    """The call, and how many pairs it has. Exactly one of seeds, images and latents; files are read here.

    seeds, images: pairs [(3, 9), (4, 5)], or flat: the first pair, the second pair, ...
    latents: [2 p, C, S, S], or [p, 2, C, S, S], or what `encode` gave.
    labels:  the class of each pair, or one for all.
    """
    options.known("interpolate", InterpolateKeywords.__annotations__, given, ("model", "on_event", "timeout"))
    kinds = [name for name, one in (("seeds", seeds), ("images", images), ("latents", latents)) if one is not None]
    if len(kinds) != 1:
        got = " and ".join(kinds) or "none of them"
        raise InvalidRequest(f"`interpolate` needs pairs of seeds, of images or of latents; got {got}.")
    if seeds is not None:
        inputs = {"SEEDS": seeds_tensor(_flat(seeds, "seeds"))}
    elif images is not None:
        inputs = {"IMAGES": strings(encoded(image) for image in _flat(images, "images"))}
    else:
        assert latents is not None
        inputs = {"TENSORS": flat(latents, pairs=True)}
    count = len(next(iter(inputs.values())))
    if count < 2 or count % 2:
        raise InvalidRequest(f"{kinds[0]} must be pairs, so of an even number; got {count}.")
    return call("interpolate", model, inputs, labels, count // 2, {}, Options(**given)), count // 2


def _flat(values: Iterable[Any], name: str) -> list[Any]:
    """Pairs as a flat list; what is flat already is left as it is."""
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{name} must be a list of pairs; got {values!r:.80}.")
    found: list[Any] = []
    for value in values:
        if isinstance(value, list | tuple | np.ndarray):
            if len(value) != 2:
                raise InvalidRequest(f"{name} must be pairs; got one of {len(value)}.")
            found.extend(value)
        else:
            found.append(value)
    return found
