"""The task `interpolate` of the verb `sample`: makes the pictures between two others, along the great circle between
their latents."""

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
    """The keywords of `interpolate` besides the model, for type checkers and editors."""

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
    """Return the call, and how many pairs it has. Files are read here.

    model:   name of the network; None for the server's first.
    seeds:   pairs of whole numbers 0..2**64-1, such as [(3, 9), (4, 5)] or flat [3, 9, 4, 5]; or
    images:  pairs of encoded bytes or paths, likewise; or
    latents: [2 p, C, S, S], or [p, 2, C, S, S], or the answer of `encode`. Exactly one of the three must be given.
    labels:  the class of each pair, or one class for all.
    given:   the options of `Moving`.
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
    """Return pairs as a flat list; a list that is flat already stays as it is."""
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
