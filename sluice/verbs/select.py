"""The verb `select`: over the gallery, or over candidates that the caller sends. The maths is in `selection.choice`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods import selection
from sluice.methods.selection import no_effect
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options
from sluice.methods.selection.pool import Pool
from sluice.wire.calls import Call, Tensors, json_object, json_strings, strings

OUTPUTS = (
    *("IDS", "SCORES", "Z", "MAXIMA", "REASONS", "FRAMES"),
    *("WITHOUT_OBJECTS", "UNSCORED", "STATISTICS", "SEARCHED"),
)


@dataclass(frozen=True)
class Config:
    """Limits of one request, checked before anything is parsed."""

    max_candidates: int = 100_000


class Named(Pool, Protocol):
    """A pool that can say what its numbers stand for."""

    no_effect: list[dict[str, Any]]  # what of the request had no effect, see `sluice.methods.selection.no_effect.entry`

    def ids(self, frames: np.ndarray) -> list[str]: ...

    def described(self, frames: np.ndarray) -> list[dict[str, Any]]: ...

    def unscored(self, limit: int) -> tuple[list[str], int]: ...


async def select(call: Call, inputs: Mapping[str, np.ndarray], config: Config) -> Tensors:
    """What to label next; tensors as in `ensembles/select/config.pbtxt`."""
    options = json_object(inputs)
    if "op" in options:
        raise InvalidArgument("OPTIONS has no key 'op'")
    if "CANDIDATES" not in inputs:
        return await call("gallery_search", {"COMMAND": json_strings([{"op": "select", **options}])}, OUTPUTS)
    given = list(inputs["CANDIDATES"].reshape(-1))
    if not 0 < len(given) <= config.max_candidates:
        raise InvalidArgument(
            f"a request holds 1 to {config.max_candidates:,} candidates, got {len(given):,}; split them, merge the "
            "answers' statistics (`statistics` takes a list) and ask each part again with them"
        )
    asked = Options.from_json(options)
    return answer(Candidates(given, asked), asked)


def answer(pool: Named, options: Options) -> Tensors:
    """The picks of a pool as tensors."""
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
        "remedy": _remedy(missing, pool.detector) if missing else None,
        "frozen": picked.frozen,
        "judged_by": {"pool": list(of.pool), "frames": of.frames, "objects": of.moments.n},
    }
    without = list(pool.no_effect)
    if options.frozen and not picked.frozen:
        without.append(no_effect.entry("frozen", "the statistics are of this very pool"))
    if without:
        searched["no_effect"] = without
    return {
        "IDS": strings(pool.ids(picked.frames)),
        "SCORES": picked.scores.astype(np.float32),
        "Z": picked.z.astype(np.float32),
        "MAXIMA": picked.maxima.astype(np.float32),
        "REASONS": strings(picked.reasons),
        "FRAMES": json_strings(pool.described(picked.frames)),
        "WITHOUT_OBJECTS": strings(pool.ids(picked.without_objects)),
        "UNSCORED": strings(unscored),
        "STATISTICS": json_strings([of.to_json()]),
        "SEARCHED": json_strings([searched]),
    }


def _remedy(missing: int, detector: str) -> str:
    return (
        f"{missing:,} images have no scores of {detector or 'any detector'}: run `sluice score` for stored frames, "
        "`detect` for others, then select again"
    )
