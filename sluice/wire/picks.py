"""The picks of a selection as the tensors in which `select` and `gallery_search` answer them."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np

from sluice.methods import selection
from sluice.methods.mixtures.summaries import ENTROPY, TYPES
from sluice.methods.selection import no_effect
from sluice.methods.selection.options import Options
from sluice.methods.selection.pool import Pool
from sluice.wire.calls import Tensors, json_strings, strings

OUTPUTS = (
    *("IDS", "SCORES", "Z", "MAXIMA", "REASONS", "FRAMES"),
    *("WITHOUT_OBJECTS", "UNSCORED", "STATISTICS", "SEARCHED"),
)


class Named(Pool, Protocol):
    """A pool that can say what its numbers stand for."""

    no_effect: list[dict[str, Any]]  # options without an effect on this pool, as `selection.no_effect.entry` makes them

    def ids(self, frames: np.ndarray) -> list[str]:
        """Return the ids of the frames with these numbers."""

    def described(self, frames: np.ndarray) -> list[dict[str, Any]]:
        """Return what is known of the frames with these numbers, as FRAMES of `ensembles/select/config.pbtxt`."""

    def unscored(self, limit: int) -> tuple[list[str], int]:
        """Return the first `limit` ids of frames that the detector has not looked at, and how many there are."""


def answer(pool: Named, options: Options) -> Tensors:
    """Select frames of a pool; return them as tensors, as in `ensembles/select/config.pbtxt`.

    Raises InvalidArgument as `selection.select` does.
    """
    started = time.perf_counter()
    picked = selection.select(pool, options)
    unscored, missing = pool.unscored(options.listed)
    of = picked.statistics
    searched: dict[str, Any] = {
        "frames": picked.judged,
        "reached": picked.reached,
        "without_objects": picked.without,
        "unscored": missing,
        "seconds": round(time.perf_counter() - started, 6),
        "empty_ranked": picked.empty,
        "faintless": picked.faintless,
        "remedy": _remedy(missing, picked, pool.detector),
        "frozen": picked.frozen,
        "judged_by": {"pool": list(of.pool), "frames": of.frames, "objects": of.moments.n},
    }
    if of.measures() == (ENTROPY,):
        searched["ranked_by"] = ENTROPY
    without = list(pool.no_effect)
    if options.frozen and not picked.frozen:
        without.append(no_effect.entry("frozen", "the statistics are of this very pool"))
    if without:
        searched["no_effect"] = without
    return {
        "IDS": strings(pool.ids(picked.frames)),
        "SCORES": picked.scores.astype(np.float32),
        "Z": _per_type(picked.z),
        "MAXIMA": _per_type(picked.maxima),
        "REASONS": strings(picked.reasons),
        "FRAMES": json_strings(pool.described(picked.frames)),
        "WITHOUT_OBJECTS": strings(pool.ids(picked.without_objects)),
        "UNSCORED": strings(unscored),
        "STATISTICS": json_strings([of.to_json()]),
        "SEARCHED": json_strings([searched]),
    }


def _per_type(values: np.ndarray) -> np.ndarray:
    """Return values per frame and type, float32 [n, 4]: NaN for all types where entropies, [n, 1], took their place."""
    if values.shape[1] == len(TYPES):
        return values.astype(np.float32)
    return np.full((len(values), len(TYPES)), np.nan, np.float32)


def _remedy(missing: int, picked: selection.Selected, detector: str) -> str | None:
    """Return what to do about images that could not be ranked; None if there are none. missing: unscored ones."""
    judge = picked.statistics.faint
    if picked.faintless and (judge is None or (picked.frozen and not judge.n)):
        return (
            f"{picked.faintless:,} images without an object are not ranked, because the statistics know no such image "
            "or are of an older server; take them anew"
        )
    lacks = [f"{missing:,} images have no scores of {detector or 'any detector'}"] if missing else []
    if picked.faintless:
        lacks.append(f"{picked.faintless:,} images without an object are not ranked, as an older server scored them")
    how = "run `sluice score` for stored frames, `detect` for others, then select again"
    return f"{'; '.join(lacks)}: {how}" if lacks else None
