"""The task `interpolate` of `sample`: the pictures on the way from one to another, along the great circle between their
latents."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import InvalidRequest
from .query import encoded
from .sample import call, flat, seeds_tensor
from .samples import Latents
from .tensors import Call, strings

__all__ = ["OPTIONS", "request"]

OPTIONS = (
    *("solver", "steps", "grid", "analytic_first", "denoise", "guidance", "guidance_rule"),
    *("curvature", "difference", "preview", "format", "between", "fit"),
)


def request(
    model: str | None = None,
    *,
    seeds: Sequence[Any] | None = None,
    images: Sequence[Any] | None = None,
    latents: Latents | np.ndarray | None = None,
    labels: int | Sequence[int] | None = None,
    **options: Any,
) -> tuple[Call, int]:
    """The call, and how many pairs it has. Exactly one of seeds, images and latents; files are read here.

    seeds, images: pairs [(3, 9), (4, 5)], or flat: the first pair, the second pair, ...
    latents: [2 p, C, S, S], or [p, 2, C, S, S], or what `encode` gave.
    labels:  the class of each pair, or one for all.
    """
    given = [name for name, one in (("seeds", seeds), ("images", images), ("latents", latents)) if one is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise _wrong(f"`interpolate` needs pairs of seeds, of images or of latents; got {got}.")
    if seeds is not None:
        inputs = {"SEEDS": seeds_tensor(_flat(seeds, "seeds"))}
    elif images is not None:
        inputs = {"IMAGES": strings(encoded(image) for image in _flat(images, "images"))}
    else:
        assert latents is not None
        inputs = {"TENSORS": flat(latents, pairs=True)}
    count = len(next(iter(inputs.values())))
    if count < 2 or count % 2:
        raise _wrong(f"{given[0]} must be pairs, so of an even number; got {count}.")
    return call("interpolate", model, inputs, labels, count // 2, {}, options, OPTIONS), count // 2


def _flat(values: Sequence[Any], name: str) -> list[Any]:
    """Pairs as a flat list; what is flat already is left as it is."""
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Iterable):
        raise _wrong(f"{name} must be a list of pairs; got {values!r:.80}.")
    found: list[Any] = []
    for value in values:
        if isinstance(value, list | tuple | np.ndarray):
            if len(value) != 2:
                raise _wrong(f"{name} must be pairs; got one of {len(value)}.")
            found.extend(value)
        else:
            found.append(value)
    return found


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, status="LOCAL")
