"""The verb `select`: which images to label next, of the gallery or of candidates that the caller sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options
from sluice.wire import picks, stored_frames
from sluice.wire.calls import Call, Tensors, json_object


@dataclass(frozen=True)
class Config:
    """Limits of one request, checked before anything is parsed."""

    max_candidates: int = 100_000


async def select(call: Call, inputs: Mapping[str, np.ndarray], config: Config) -> Tensors:
    """Select what to label next; tensors as in `ensembles/select/config.pbtxt`.

    Without CANDIDATES the gallery selects among its frames.
    Raises InvalidArgument for options that are unknown or out of range, and for too many candidates.
    """
    options = json_object(inputs)
    if "op" in options:
        raise InvalidArgument("OPTIONS has no key 'op'")
    if "CANDIDATES" not in inputs:
        return await stored_frames.select(call, options)
    given = list(inputs["CANDIDATES"].reshape(-1))
    if not 0 < len(given) <= config.max_candidates:
        raise InvalidArgument(
            f"a request holds 1 to {config.max_candidates:,} candidates, got {len(given):,}; split them, merge the "
            "answers' statistics (`statistics` takes a list) and ask each part again with them"
        )
    asked = Options.from_json(options)
    return picks.answer(Candidates(given, asked), asked)
