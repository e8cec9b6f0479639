"""`sample`: what is asked of the diffusion sampler. New pictures from seeds or latents, latents of pictures, and what
lies between two pictures. What it answers stands in `events` and `samples`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .errors import InvalidRequest
from .events import MODEL
from .samples import Latents
from .tensors import Call, json_tensor

__all__ = ["FORMATS", "GRIDS", "RULES", "SOLVERS", "Options", "call", "flat", "request", "seeds_tensor", "whole"]

SOLVERS = ("ddim", "genie", "ab2", "dpmpp_2m", "unipc")
GRIDS = ("quadratic", "linear")
RULES = ("difference", "given", "first_order")
FORMATS = ("png", "tensor")

_OUTPUTS = ("EVENT", "INDEX", "IMAGES", "TENSORS", "ERRORS")


@dataclass(frozen=True)
class Options:
    """How to sample. What is left at None is not sent, and the server's default holds.

    solver:         ddim, genie, ab2, dpmpp_2m or unipc (server's default genie).
    steps:          1..1000 (10); grid: how they lie in time, quadratic (default) or linear.
    analytic_first: the first step without the network, exact for pure noise: one network call less (False).
    denoise:        remove the noise that is left after the last step: one network call more (False).
    guidance:       weight of classifier-free guidance, 0..100 (0: none), for networks with classes.
    guidance_rule:  where the guided derivative comes from: difference (default), given, first_order.
    curvature:      False: genie takes its derivative by a difference, with a second call a step, though the network has
                    a curvature head (True); without a head it always does, and the end says so: more["derivative"].
    difference:     share of the step for that difference, 1e-6..1 (0.1).
    preview:        a preview every so many steps; 0 (default): none.
    format:         of the images: png (default), or tensor: float32, about -1..1.
    between:        `interpolate` only: images a pair, both ends included, 2..256 (8).
    fit:            `encode` and `interpolate` only: True cuts the middle square out of a picture and scales it;
                    False (default) refuses pictures of another size than the network's.
    """

    solver: str | None = None
    steps: int | None = None
    grid: str | None = None
    analytic_first: bool | None = None
    denoise: bool | None = None
    guidance: float | None = None
    guidance_rule: str | None = None
    curvature: bool | None = None
    difference: float | None = None
    preview: int | None = None
    format: str | None = None
    between: int | None = None
    fit: bool | None = None

    def __post_init__(self):
        for name, allowed in (("solver", SOLVERS), ("grid", GRIDS), ("guidance_rule", RULES), ("format", FORMATS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise _wrong(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")
        for name, least, most in (("steps", 1, 1000), ("preview", 0, None), ("between", 2, 256)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole(name, value, least, most))
        for name, low, high in (("guidance", 0.0, 100.0), ("difference", 1e-6, 1.0)):
            value = getattr(self, name)
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if value is not None and not (number and low <= value <= high):
                raise _wrong(f"{name} must lie in {low:g}..{high:g}; got {value!r}.")
        for name in ("analytic_first", "denoise", "curvature", "fit"):
            if getattr(self, name) not in (None, True, False):
                raise _wrong(f"{name} must be True or False; got {getattr(self, name)!r}.")

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


SAMPLING = tuple(field.name for field in fields(Options) if field.name not in ("between", "fit"))


def request(
    model: str | None = None,
    *,
    seeds: Iterable[int] | None = None,
    seed: int | None = None,
    count: int | None = None,
    labels: int | Sequence[int] | None = None,
    latents: Latents | np.ndarray | None = None,
    **options: Any,
) -> Call:
    """New pictures.

    model:   the network, such as "digits"; None: the server's first.
    seeds:   0..2**64-1, one an image, such as range(64); or seed and count: seed, seed + 1, ... (0 and 1); or
    latents: [n, C, S, S] to begin from, or what `encode` gave.
    labels:  the class of each image, or one for all; for networks with classes.
    options: those of `Options`, without between and fit.
    """
    inputs: dict[str, np.ndarray] = {}
    amount: int | None = 1 if count is None else count
    if seeds is not None:
        if seed is not None or count is not None:
            raise _wrong("Give seeds, or seed and count, not both.")
        inputs["SEEDS"] = seeds_tensor(seeds)
        amount = len(inputs["SEEDS"])
    if latents is not None:
        if inputs or seed is not None or count is not None:
            raise _wrong("Give seeds or latents to begin from, not both.")
        inputs["TENSORS"] = flat(latents)
        amount = len(inputs["TENSORS"])
    own: dict[str, Any] = {}
    if seed is not None:
        own["seed"] = whole("seed", seed, 0, 2**64 - 1)
    if count is not None:
        own["count"] = whole("count", count, 1)
    return call("sample", model, inputs, labels, amount, own, options, SAMPLING)


def call(
    task: str,
    model: str | None,
    inputs: dict[str, np.ndarray],
    labels: int | Sequence[int] | None,
    amount: int | None,
    own: dict[str, Any],
    options: dict[str, Any],
    known: Sequence[str],
) -> Call:
    """One request of any of the three tasks. amount: how many labels fit besides one. known: names of the options."""
    for name in options:
        if name not in known:
            raise _wrong(f"`{task}` knows {', '.join(known)}; got {name!r}.")
    if model is not None and (not isinstance(model, str) or not model):
        raise _wrong(f"model must be the name of a network, such as digits; got {model!r}.")
    asked: dict[str, Any] = {"model": model, "task": None if task == "sample" else task, **own}
    sent = {name: value for name, value in asked.items() if value is not None} | Options(**options).as_json()
    tensors = {"OPTIONS": json_tensor(sent), **inputs}
    if labels is not None:
        tensors["LABELS"] = labels_tensor(labels, amount)
    return Call(MODEL, tensors, _OUTPUTS)


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int; NumPy's are taken too. Raises InvalidRequest for what is none, or out of its range."""
    limits = f"of at least {least}" if most is None else f"{least}..{most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        raise _wrong(f"{name} must be a whole number {limits}; got {value!r}.")
    return number


def seeds_tensor(seeds: Iterable[int]) -> np.ndarray:
    """uint64 [n], n >= 1."""
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise _wrong(f"seeds must be a list of whole numbers, such as range(64); got {seeds!r:.80}.")
    numbers = [whole("A seed", seed, 0, 2**64 - 1) for seed in seeds]
    if not numbers:
        raise _wrong("seeds must hold at least one seed; got none.")
    return np.array(numbers, np.uint64)


def labels_tensor(labels: int | Sequence[int], amount: int | None) -> np.ndarray:
    """int64 [1], or [amount]. amount: None where it is not known here."""
    given = [labels] if isinstance(labels, int | np.integer) and not isinstance(labels, bool) else labels
    if isinstance(given, str | bytes | bool) or not isinstance(given, Iterable):
        raise _wrong(f"labels must be a whole number, or a list of them; got {labels!r:.80}.")
    numbers = [whole("A label", label, 0, 2**63 - 1) for label in given]
    if amount is not None and len(numbers) not in (1, amount):
        raise _wrong(f"labels must be one for all, or one for each of {amount}; got {len(numbers)}.")
    if not numbers:
        raise _wrong("labels must hold at least one label; got none.")
    return np.array(numbers, np.int64)


def flat(latents: Latents | np.ndarray, name: str = "latents", pairs: bool = False) -> np.ndarray:
    """float32 [n, C, S, S], all finite. pairs: takes [p, 2, C, S, S] too."""
    if isinstance(latents, Latents):
        lost = [f"{called}: {error}" for called, error in zip(latents.names, latents.errors, strict=True) if error]
        if lost:
            raise _wrong(f"{len(lost)} of these latents could not be made ({lost[0]}); take `.good()` for the others.")
        latents = latents.tensors
    try:
        array = np.asarray(latents)
    except ValueError:
        array = np.empty(0)
    if pairs and array.ndim == 5 and array.shape[1] == 2:
        array = array.reshape(-1, *array.shape[2:])
    if array.dtype.kind not in "fiu" or array.ndim != 4 or not array.size:
        raise _wrong(f"{name} must be numbers of shape [n, C, S, S]; got {array.dtype} {list(array.shape)}.")
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=(1, 2, 3))))
        raise _wrong(f"{name} must be finite numbers; those of number {row} are not.")
    return array


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, status="LOCAL")
