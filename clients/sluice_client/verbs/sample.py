"""`sample`: what is asked of the diffusion sampler. New pictures from seeds or latents, latents of pictures, and what
lies between two pictures. What it answers stands in `events` and `samples`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np

from .. import options
from ..answers.sample import Latents
from ..answers.sample_events import MODEL
from ..errors import InvalidRequest
from ..options import whole
from ..tensors import Call, json_tensor

__all__ = ["FORMATS", "GRIDS", "RULES", "SOLVERS", "Drawing", "Labels", "Options", "SampleKeywords", "Solving", "call",
           "flat", "request", "seeds_tensor"]  # fmt: skip

Solver = Literal["ddim", "genie", "ab2", "dpmpp_2m", "unipc"]
Grid = Literal["quadratic", "linear"]
Rule = Literal["difference", "given", "first_order"]
Format = Literal["png", "tensor"]
SOLVERS: tuple[str, ...] = get_args(Solver)
GRIDS: tuple[str, ...] = get_args(Grid)
RULES: tuple[str, ...] = get_args(Rule)
FORMATS: tuple[str, ...] = get_args(Format)

_OUTPUTS = ("EVENT", "INDEX", "IMAGES", "TENSORS", "ERRORS")


Labels = int | Sequence[int] | np.ndarray
"""The class of all, or of each."""


class Solving(TypedDict, total=False):
    """Those fields of `Options` that all three tasks know, for type checkers and editors."""

    solver: Solver | None
    steps: int | None
    grid: Grid | None
    guidance: float | None
    guidance_rule: Rule | None
    curvature: bool | None
    difference: float | None


class Drawing(Solving, total=False):
    """And those of the tasks that answer pictures."""

    analytic_first: bool | None
    denoise: bool | None
    preview: int | None
    format: Format | None


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

    solver: Solver | None = None
    steps: int | None = None
    grid: Grid | None = None
    analytic_first: bool | None = None
    denoise: bool | None = None
    guidance: float | None = None
    guidance_rule: Rule | None = None
    curvature: bool | None = None
    difference: float | None = None
    preview: int | None = None
    format: Format | None = None
    between: int | None = None
    fit: bool | None = None

    def __post_init__(self) -> None:
        options.choices(self, solver=SOLVERS, grid=GRIDS, guidance_rule=RULES, format=FORMATS)
        options.wholes(self, steps=(1, 1000), preview=(0, None), between=(2, 256))
        options.numbers_in(self, guidance=(0.0, 100.0), difference=(1e-6, 1.0))
        options.flags(self, "analytic_first", "denoise", "curvature", "fit")

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


class SampleKeywords(Drawing, total=False):
    """What `sample` takes besides the model, for type checkers and editors."""

    seeds: Iterable[int] | None
    seed: int | None
    count: int | None
    labels: Labels | None
    latents: Latents | np.ndarray | None


def request(
    model: str | None = None,
    *,
    seeds: Iterable[int] | None = None,
    seed: int | None = None,
    count: int | None = None,
    labels: Labels | None = None,
    latents: Latents | np.ndarray | None = None,
    **given: Unpack[Drawing],
) -> Call:
    """New pictures.

    model:   the network, such as "digits"; None: the server's first.
    seeds:   0..2**64-1, one an image, such as range(64); or seed and count: seed, seed + 1, ... (0 and 1); or
    latents: [n, C, S, S] to begin from, or what `encode` gave.
    labels:  the class of each image, or one for all; for networks with classes.
    given:   those of `Options`, without between and fit.
    """
    inputs: dict[str, np.ndarray] = {}
    amount: int | None = 1 if count is None else count
    if seeds is not None:
        if seed is not None or count is not None:
            raise InvalidRequest("Give seeds, or seed and count, not both.")
        inputs["SEEDS"] = seeds_tensor(seeds)
        amount = len(inputs["SEEDS"])
    if latents is not None:
        if inputs or seed is not None or count is not None:
            raise InvalidRequest("Give seeds or latents to begin from, not both.")
        inputs["TENSORS"] = flat(latents)
        amount = len(inputs["TENSORS"])
    own: dict[str, Any] = {}
    if seed is not None:
        own["seed"] = whole("seed", seed, 0, 2**64 - 1)
    if count is not None:
        own["count"] = whole("count", count, 1)
    options.known("sample", SampleKeywords.__annotations__, given, ("model", "on_event", "timeout"))
    return call("sample", model, inputs, labels, amount, own, Options(**given))


def call(
    task: str,
    model: str | None,
    inputs: dict[str, np.ndarray],
    labels: Labels | None,
    amount: int | None,
    own: dict[str, Any],
    chosen: Options,
) -> Call:
    """One request of any of the three tasks. amount: how many labels fit besides one."""
    if model is not None and (not isinstance(model, str) or not model):
        raise InvalidRequest(f"model must be the name of a network, such as digits; got {model!r}.")
    asked: dict[str, Any] = {"model": model, "task": None if task == "sample" else task, **own}
    sent = {name: value for name, value in asked.items() if value is not None} | chosen.as_json()
    tensors = {"OPTIONS": json_tensor(sent), **inputs}
    if labels is not None:
        tensors["LABELS"] = labels_tensor(labels, amount)
    return Call(MODEL, tensors, _OUTPUTS)


def seeds_tensor(seeds: Iterable[int]) -> np.ndarray:
    """uint64 [n], n >= 1."""
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise InvalidRequest(f"seeds must be a list of whole numbers, such as range(64); got {seeds!r:.80}.")
    numbers = [whole("A seed", seed, 0, 2**64 - 1) for seed in seeds]
    if not numbers:
        raise InvalidRequest("seeds must hold at least one seed; got none.")
    return np.array(numbers, np.uint64)


def labels_tensor(labels: Labels, amount: int | None) -> np.ndarray:
    """int64 [1], or [amount]. amount: None where it is not known here."""
    given = [labels] if isinstance(labels, int | np.integer) and not isinstance(labels, bool) else labels
    if isinstance(given, str | bytes | bool) or not isinstance(given, Iterable):
        raise InvalidRequest(f"labels must be a whole number, or a list of them; got {labels!r:.80}.")
    numbers = [whole("A label", label, 0, 2**63 - 1) for label in given]
    if amount is not None and len(numbers) not in (1, amount):
        raise InvalidRequest(f"labels must be one for all, or one for each of {amount}; got {len(numbers)}.")
    if not numbers:
        raise InvalidRequest("labels must hold at least one label; got none.")
    return np.array(numbers, np.int64)


def flat(latents: Latents | np.ndarray, name: str = "latents", pairs: bool = False) -> np.ndarray:
    """float32 [n, C, S, S], all finite. pairs: takes [p, 2, C, S, S] too."""
    if isinstance(latents, Latents):
        lost = [f"{called}: {error}" for called, error in zip(latents.names, latents.errors, strict=True) if error]
        if lost:
            raise InvalidRequest(
                f"{len(lost)} of these latents could not be made ({lost[0]}); take `.good()` for the others."
            )
        latents = latents.tensors
    try:
        array = np.asarray(latents)
    except ValueError:
        array = np.empty(0)
    if pairs and array.ndim == 5 and array.shape[1] == 2:
        array = array.reshape(-1, *array.shape[2:])
    if array.dtype.kind not in "fiu" or array.ndim != 4 or not array.size:
        raise InvalidRequest(f"{name} must be numbers of shape [n, C, S, S]; got {array.dtype} {list(array.shape)}.")
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=(1, 2, 3))))
        raise InvalidRequest(f"{name} must be finite numbers; those of number {row} are not.")
    return array
