"""Shapes and dtypes of the public functions and values of `sluice.methods`, which machines check in these tests.

The server needs neither jaxtyping nor beartype, so the annotations stand here and not in the code. Each signature below
names the arrays of a function, or the attributes of an object when it has been made. Words are axes, and an axis of one
name has one length in one call. `checking` puts the checks around the functions, so that all tests in this folder run
through them.

A call is checked after it has returned. So a function may refuse bad arguments in its own words, and whatever it
accepts and returns must have the shapes that are written here.
"""
# ruff: noqa: F722, F821 -- the axes of an annotation are no names of Python

import contextlib
import functools
import inspect
import sys

import numpy as np
from beartype.door import is_bearable
from jaxtyping import Bool, Float, Float16, Float32, Float64, Int, Int8, Int32, Int64, Num, Shaped, UInt8, UInt16
from jaxtyping import jaxtyped as in_one_call

from sluice.images import valid_cells
from sluice.methods import genie, grouping, matching, mixtures, selection, video
from sluice.methods.genie import pictures, schedule, solvers
from sluice.methods.grouping import guided_filter, painting, rules, run_lengths, upsampling
from sluice.methods.scan import blocks, certify, codes, engine, sums
from sluice.methods.video import planes, scaling

A = np.ndarray
SIGNATURES = {}


class Misfit(AssertionError):
    """An array does not have the shape or the dtype of the signature."""


def of(checked):
    """Register the signature that follows for a function or a class."""

    def register(signature):
        SIGNATURES[checked] = signature
        return signature

    return register


def fits(name, hints, values):
    """Raise Misfit unless every value has the shape and dtype of its hint, the same axis always with one length."""
    with in_one_call("context"):
        for of, hint in hints.items():
            if not is_bearable(values[of], hint):
                got = values[of] if not hasattr(values[of], "dtype") else f"{values[of].dtype}{list(values[of].shape)}"
                raise Misfit(f"{name}: {of} should be {hint}, got {got!s:.200}")


def checked(function, signature):
    """Return the function with its arguments and its result checked after each call."""
    parameters, hints = inspect.signature(function), inspect.get_annotations(signature)

    @functools.wraps(function)
    def call(*given, **named):
        result = function(*given, **named)
        bound = parameters.bind(*given, **named)
        bound.apply_defaults()
        fits(function.__qualname__, hints, {**bound.arguments, "return": result})
        return result

    return call


def checked_init(kind, signature):
    """Return the `__init__` of a class with the attributes of each new object checked."""
    made, hints = kind.__init__, inspect.get_annotations(signature)

    @functools.wraps(made)
    def init(self, *given, **named):
        made(self, *given, **named)
        fits(kind.__qualname__, hints, {name: getattr(self, name) for name in hints})

    return init


@contextlib.contextmanager
def checking(signatures=SIGNATURES, prefixes=("sluice.", "tests.methods.")):
    """Check every call of the functions and classes of `signatures`, wherever a module has imported them."""
    changes = []
    wrapped = {}
    for one, signature in signatures.items():
        if isinstance(one, type):
            changes.append((one, "__init__", one.__init__, checked_init(one, signature)))
        else:
            wrapped[one] = checked(one, signature)
    for name, module in list(sys.modules.items()):
        if name.startswith(prefixes) and name != __name__:
            for attribute, value in list(vars(module).items()):
                if inspect.isfunction(value) and value in wrapped:
                    changes.append((module, attribute, value, wrapped[value]))
    for where, attribute, _, new in changes:
        setattr(where, attribute, new)
    try:
        yield
    finally:
        for where, attribute, old, _ in changes:
            setattr(where, attribute, old)


# Geometry of images: h x w cells of a feature map.


@of(valid_cells)
def _() -> Bool[A, "h w"]: ...


# Matching: R regions, Q template rows, C channels, N frames, P cells of a frame.


@of(matching.Templates)
class _:
    rows: Float32[A, "Q C"]
    roi: Int32[A, "Q"]
    query: Int32[A, "R"]
    cells: Int32[A, "R"] | None
    shape: Int32[A, "R 2"] | None


@of(matching.unit)
def _(vectors: Num[A, "*n C"]) -> Float32[A, "*n C"]: ...


@of(matching.roi_cells)
def _() -> tuple[int, int, int, int]: ...


@of(matching.stack)
def _() -> matching.Templates: ...


@of(matching.template)
def _(features: Float[A, "h w C"]) -> Float32[A, "rows C"]: ...


@of(matching.similarity)
def _(features: Float[A, "*place C"]) -> Float32[A, "P Q"]: ...


@of(matching.scores)
def _(features: Float[A, "*place C"], valid: Bool[A, "..."] | None) -> Float32[A, "R"]: ...


@of(matching.form_scores)
def _(per_row: Num[A, "*n Q"], per_cell: Float[A, "*n R"] | None) -> Float32[A, "*n R"]: ...


@of(matching.image_scores)
def _(features: Float[A, "h w C"]) -> Float32[A, "R"]: ...


@of(matching.combine)
def _(roi_scores: Float[A, "N R"], query: Int[A, "R"]) -> Float32[A, "N"] | Float32[A, "N queries"]: ...


@of(matching.scoring_query)
def _(roi_scores: Float[A, "R"], query: Int[A, "R"]) -> int: ...


@of(matching.top)
def _(values: Num[A, "N"] | list, rank: Num[A, "N"] | None) -> Int64[A, "n"]: ...


@of(matching.heat)
def _(features: Float[A, "h w C"], valid: Bool[A, "h w"] | None) -> Float32[A, "h w"]: ...


@of(matching.best_windows)
def _(features: Float[A, "h w C"], valid: Bool[A, "h w"] | None) -> Int32[A, "R 4"]: ...


@of(matching.window_boxes)
def _(windows: Int[A, "R 4"]) -> Float32[A, "R 4"]: ...


@of(matching.found_again)
def _(features: Float[A, "h w C"]) -> Float32[A, "R 4"]: ...


# Scan: n frames of P cells with C channels, N frames in a pool.


@of(codes.Codes)
class _:
    codes: UInt8[A, "n P C"]
    scale: Float32[A, "n"]
    error: Float32[A, "n"]


@of(codes.TemplateCodes)
class _:
    codes: Int8[A, "C Q"]
    scale: Float64[A, "Q"]
    length: Float64[A, "Q"]
    error: Float64[A, "Q"]


@of(codes.quantise)
def _(features: Float16[A, "n P C"] | Float32[A, "n P C"]) -> codes.Codes: ...


@of(blocks.Block)
class _:
    codes: UInt8[A, "n P C"]
    scale: Float32[A, "n"]
    error: Float32[A, "n"]
    exact: Float16[A, "n P C"]
    valid: Bool[A, "n P"] | None


@of(sums.sums)
def _(frames: Shaped[A, "n ..."]) -> Int64[A, "n"]: ...


@of(sums.Sums)
class _:
    codes: Int64[A, "n"]
    exact: Int64[A, "n"]
    known: Bool[A, "n"]


@of(certify.certify)
def _(
    lower: Float32[A, "N"], upper: Float32[A, "N"], rank: Int[A, "N"] | None, group: Int[A, "N"] | None
) -> tuple[Int64[A, "n"], Float32[A, "n"]]: ...


@of(engine.scan)
def _() -> tuple[Float32[A, "N R"], Float64[A, "N R"]]: ...


@of(engine.Result)
class _:
    block: Int64[A, "n"]
    row: Int64[A, "n"]
    scores: Float32[A, "n"]
    query: Int32[A, "n"]
    roi_scores: Float32[A, "n R"]
    damaged: Int64[A, "m 2"]


# Mixtures: B images, N priors, K components, C classes; m detections.


@of(mixtures.Heads)
class _:
    priors: Float32[A, "B N 4"]
    location_mean: Float32[A, "B N K 4"]
    location_variance: Float32[A, "B N K 4"]
    location_weight: Float32[A, "B N K 4"]
    class_mean: Float32[A, "B N K C"]
    class_variance: Float32[A, "B N K C"] | None
    class_weight: Float32[A, "B N K"]


@of(mixtures.Detections)
class _:
    boxes: Float32[A, "m 4"]
    classes: Int32[A, "m"]
    scores: Float32[A, "m"]
    box_uncertainties: Float32[A, "m 8"]
    class_uncertainties: Float32[A, "m 2"]


@of(mixtures.Moments)
class _:
    mean: Float64[A, "types"]  # 4, or 1 of a detector without uncertainties
    m2: Float64[A, "types"]


@of(mixtures.Part)
class _:
    maxima: Float64[A, "types"] | None


@of(mixtures.decode)
def _(priors: Num[A, "m 4"], offsets: Num[A, "m 4"]) -> Float64[A, "m 4"]: ...


@of(mixtures.overlaps)
def _(boxes: Num[A, "m 4"]) -> Float64[A, "m m"]: ...


@of(mixtures.nms)
def _(boxes: Num[A, "m 4"]) -> Int64[A, "n"]: ...


@of(mixtures.mix)
def _(
    pi: Float[A, "*n K 1"] | Float[A, "*n K D"], mu: Float[A, "*n K D"], var: Float[A, "*n K D"]
) -> tuple[Float[A, "*n D"], Float[A, "*n D"], Float[A, "*n D"]]: ...


@of(mixtures.mix_location)
def _(
    mean: Float[A, "*n K D"], variance: Float[A, "*n K D"], weight: Float[A, "*n K D"]
) -> tuple[Float[A, "*n D"], Float[A, "*n D"], Float[A, "*n D"]]: ...


@of(mixtures.mix_class)
def _(
    mean: Float[A, "*n K C"], variance: Float[A, "*n K C"] | None, weight: Float[A, "*n K"]
) -> tuple[Float[A, "*n C"], Float[A, "*n C"], Float[A, "*n C"]]: ...


# Selection: r objects of f frames; m vectors.


@of(selection.weighted)
def _(z: Float64[A, "r types"], weight: Float64[A, "r"]) -> Float64[A, "r types"]: ...


@of(selection.frame_z)
def _(z: Float64[A, "r types"], counts: Int[A, "f"]) -> Float64[A, "f types"]: ...


@of(selection.aggregate)
def _(z: Float64[A, "f types"]) -> Float64[A, "f"]: ...


@of(selection.place_in_group)
def _(group: Int[A, "m"]) -> Int64[A, "m"]: ...


@of(selection.k_centre)
def _(vectors: Float32[A, "m C"]) -> tuple[Int64[A, "n"], Float64[A, "n"]]: ...


# Grouping: V windows, G groups, E channels, C classes; h x w patches or pixels, H x W pixels of the result.


@of(grouping.normalised)
def _(vectors: Num[A, "*n E"]) -> Float32[A, "*n E"]: ...


@of(grouping.class_embeddings)
def _(embeddings: Float[A, "sentences E"]) -> Float32[A, "C E"]: ...


@of(grouping.similarity)
def _(images: Num[A, "B E"], texts: Num[A, "T E"]) -> Float32[A, "B T"]: ...


@of(grouping.ranking)
def _(cosine: Float[A, "B T"]) -> Float32[A, "B T"]: ...


@of(grouping.Grouped)
class _:
    groups: Float32[A, "V G E"]
    embedding: Float32[A, "V E"]
    assignment: Float32[A, "V G h w"]
    windows: UInt8[A, "V H W 3"] | None


@of(guided_filter.GuidedFilter.apply)
def _(maps: Float32[A, "V h w"]) -> Float32[A, "V H W"]: ...


@of(guided_filter.around)
def _(maps: Float[A, "*n h w"]) -> Float[A, "*n h w"]: ...


@of(guided_filter.inverses)
def _(matrices: Float[A, "3 3 *n"]) -> Float[A, "3 3 *n"]: ...


@of(rules.cosines)
def _(vectors: Float[A, "*n E"], classes: Float[A, "C E"]) -> Float64[A, "*n C"]: ...


@of(rules.official_scores)
def _(groups: Float[A, "*n G C"], whole: Float[A, "*n C"]) -> Float64[A, "*n G C"]: ...


@of(rules.unclaimed)
def _(scores: Float[A, "*n G C"]) -> Bool[A, "*n G"]: ...


@of(painting.Painted)
class _:
    labels: UInt8[A, "H W"] | UInt16[A, "H W"]
    best: Float32[A, "H W"]


@of(painting.group_map)
def _() -> UInt16[A, "H W"]: ...


@of(grouping.segment)
def _(classes: Float[A, "C E"]) -> grouping.Segmentation: ...


@of(grouping.Segmentation)
class _:
    labels: UInt8[A, "H W"] | UInt16[A, "H W"]
    presence: Float32[A, "C"]
    similarity: Float32[A, "C"]
    pixels: Int64[A, "labels"]
    group_labels: UInt8[A, "VG"] | UInt16[A, "VG"]
    group_scores: Float32[A, "VG"]


@of(upsampling.upsample)
def _(maps: Num[A, "*n h w"]) -> Float32[A, "*n H W"]: ...


@of(upsampling.strongest)
def _(maps: Num[A, "G h w"]) -> UInt8[A, "H W"]: ...


@of(run_lengths.compress)
def _(counts: Int64[A, "n"]) -> str: ...


# GENIE: B samples, R rows of a call.


@of(genie.noise)
def _() -> Float[A, "n *shape"]: ...


@of(genie.slerp)
def _(one: Num[A, "*x"], other: Num[A, "*x"]) -> Float[A, "n *x"]: ...


@of(genie.sample)
def _(latents: Num[A, "B *x"]) -> Float[A, "B *x"]: ...


@of(genie.encode)
def _(images: Num[A, "B *x"]) -> Float[A, "B *x"]: ...


@of(genie.Call)
class _:
    x: Float[A, "R *x"]
    t: Float64[A, "R"]
    null: Bool[A, "R"]


@of(solvers.Point)
class _:
    xbar: Float[A, "*x"]
    eps: Float[A, "*x"]
    derivative: Float[A, "*x"] | None
    estimate: Float[A, "*x"] | None


@of(schedule.grid)
def _() -> Float64[A, "n"]: ...


@of(schedule.eps_of_v)
def _(v: Float[A, "B *x"], x: Float[A, "B *x"], t: Float[A, "B"]) -> Float[A, "B *x"]: ...


@of(schedule.eps_derivative_of_v)
def _(dv: Float[A, "B *x"], v: Float[A, "B *x"], x: Float[A, "B *x"], t: Float[A, "B"]) -> Float[A, "B *x"]: ...


@of(pictures.bytes_of)
def _(picture: Float[A, "C H W"]) -> UInt8[A, "H W"] | UInt8[A, "H W C"]: ...


@of(pictures.read)
def _() -> Float32[A, "C H W"]: ...


# Video: pictures of H x W pixels.


@of(video.Picture)
class _:
    luma: UInt8[A, "H W"]
    chroma: UInt8[A, "h w 2"]


@of(planes.doubled)
def _(small: Float[A, "h w C"]) -> Float[A, "H W C"]: ...


@of(planes.halved)
def _(large: Num[A, "H W C"]) -> Float[A, "h w C"]: ...


@of(video.area)
def _(plane: UInt8[A, "H W *C"]) -> UInt8[A, "h w *C"]: ...


@of(scaling.shares)
def _() -> tuple[Int64[A, "parts K"], Float32[A, "parts K"]]: ...
