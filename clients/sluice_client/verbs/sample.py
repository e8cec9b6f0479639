"""The verb `sample`: asks the diffusion sampler for new pictures, made from seeds or latents. Its tasks `encode` and
`interpolate` have modules of their own; answers are read by `answers.sample` and `answers.sample_events`."""

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
"""One class for all images, or the class of each."""


class Solving(TypedDict, total=False):
    """The fields of `Options` that all three tasks have, for type checkers and editors."""

    solver: Solver | None
    steps: int | None
    grid: Grid | None
    guidance: float | None
    guidance_rule: Rule | None
    curvature: bool | None
    difference: float | None


class Drawing(Solving, total=False):
    """The fields of `Options` that the tasks which answer pictures have."""

    analytic_first: bool | None
    denoise: bool | None
    preview: int | None
    format: Format | None


@dataclass(frozen=True)
class Options:
    """The options of all three tasks. An option that is None is not sent, and the server's default, in brackets, holds.

    solver:         "ddim", "genie", "ab2", "dpmpp_2m" or "unipc" ("genie").
    steps:          how many steps the solver takes, 1..1000 (10).
    grid:           spacing of the steps in time, "quadratic" or "linear" ("linear" for genie, ddim and ab2 from seeds,
                    else "quadratic"). The last event says which, in more["grid"].
    analytic_first: True makes the first step without the network, which is exact for pure noise and saves one network
                    call (False).
    denoise:        True removes the noise that is left after the last step, by one more network call (False).
    guidance:       weight of classifier-free guidance, 0..100, for networks with classes; 0 is no guidance (0).
    guidance_rule:  source of the guided derivative, "difference", "given" or "first_order" ("difference").
    curvature:      False makes genie take its derivative by a difference, with a second network call per step, though
                    the network has a curvature head (True). Without such a head genie always does so, and the last
                    event says it in more["derivative"].
    difference:     size of that difference as a share of the step, 1e-6..1 (0.1).
    preview:        how many steps lie between two previews; 0 for no previews (0).
    format:         of the images, "png", or "tensor" for float32 of about -1..1 ("png").
    between:        `interpolate` only: images per pair, both ends included, 2..256 (8).
    fit:            `encode` and `interpolate` only: True cuts the middle square out of an image and scales it; False
                    refuses images of another size than the network's (False).
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
        """Return the options that are sent, by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


class SampleKeywords(Drawing, total=False):
    """The keywords of `sample` besides the model, for type checkers and editors."""

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
    """Return the call for new pictures.

    model:   name of the network, such as "digits"; None for the server's first.
    seeds:   whole numbers 0..2**64-1, one per image, such as range(64); or
    seed:    the first of `count` seeds in a row (0); or
    count:   how many images (1); or
    latents: [n, C, S, S] to begin from, or the answer of `encode`.
    labels:  the class of each image, or one class for all; for networks with classes.
    given:   the fields of `Options`, without between and fit.
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
    """Return the call for any of the three tasks.

    inputs: the tensors that the task begins with.
    amount: how many images or pairs there are, so how many labels fit; None if the client does not know.
    own:    the task's further fields of OPTIONS; a field that is None is not sent.
    chosen: the options of all tasks.
    """
    if model is not None and (not isinstance(model, str) or not model):
        raise InvalidRequest(f"model must be the name of a network, such as digits; got {model!r}.")
    asked: dict[str, Any] = {"model": model, "task": None if task == "sample" else task, **own}
    sent = {name: value for name, value in asked.items() if value is not None} | chosen.as_json()
    tensors = {"OPTIONS": json_tensor(sent), **inputs}
    if labels is not None:
        tensors["LABELS"] = labels_tensor(labels, amount)
    return Call(MODEL, tensors, _OUTPUTS)


def seeds_tensor(seeds: Iterable[int]) -> np.ndarray:
    """Return the seeds as uint64 [n], n >= 1."""
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise InvalidRequest(f"seeds must be a list of whole numbers, such as range(64); got {seeds!r:.80}.")
    numbers = [whole("A seed", seed, 0, 2**64 - 1) for seed in seeds]
    if not numbers:
        raise InvalidRequest("seeds must hold at least one seed; got none.")
    return np.array(numbers, np.uint64)


def labels_tensor(labels: Labels, amount: int | None) -> np.ndarray:
    """Return the labels as int64 [1] or [amount]. amount: the count of images; None if the client does not know it."""
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
    """Return latents as float32 [n, C, S, S], all finite.

    name:  of the argument, for errors.
    pairs: True to take [p, 2, C, S, S], too.
    """
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
