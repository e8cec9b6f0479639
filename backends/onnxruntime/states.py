"""Keeps implicit state: outputs of one request that are inputs of the next request of its sequence.

A config declares such state as `sequence_batching { state }`. Triton keeps it for C++ backends only. A Python backend
gets the initial state in every request, so this backend keeps the state itself, by correlation id. If a config sets no
`initial_state`, Triton leaves whatever lay in memory (2.51) and the graph is expected to look at its START control;
here the state is zero. Triton sends a sequence to one instance from its first request to its last, and one instance is
one process, so nothing has to be shared.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from .rules import batch_limit, states

START, END = 1, 2  # flags of a request, as Triton numbers them


class States:
    """The state of every sequence that this instance works on."""

    def __init__(self, config: Mapping[str, Any]):
        self._outputs = {str(state["input_name"]): str(state["output_name"]) for state in states(config)}
        self._unset = [str(state["input_name"]) for state in states(config) if not state.get("initial_state")]
        oldest = (config.get("sequence_batching") or {}).get("oldest")
        places = int(oldest.get("max_candidate_sequences") or 1024) if oldest else max(batch_limit(config), 1)
        # No more sequences than that are alive here. Triton gives a sequence's place away only after it was idle for
        # too long, so a silent sequence was last used before every living one, and dropping the oldest is safe.
        self._places = places
        self._kept: OrderedDict[Any, dict[str, np.ndarray]] = OrderedDict()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs that have to be computed whether the caller wants them or not."""
        return tuple(self._outputs.values())

    def given(self, sequence: Any, flags: int, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Return the inputs that replace the state of a sequence's next request. In its first request only those are
        replaced that Triton left unset."""
        if flags & START:
            self._kept.pop(sequence, None)
        if sequence in self._kept:
            return self._kept[sequence]
        return {name: np.zeros_like(inputs[name]) for name in self._unset if name in inputs}

    def keep(self, sequence: Any, flags: int, answer: Mapping[str, np.ndarray]) -> None:
        """Keep the state in a request's answer, and forget a sequence that ends. Id 0 means no sequence."""
        if flags & END or not sequence:
            self._kept.pop(sequence, None)
            return
        # Copied, because an answer may be a view into a whole batch.
        self._kept[sequence] = {name: answer[output].copy() for name, output in self._outputs.items()}
        self._kept.move_to_end(sequence)
        while len(self._kept) > self._places:
            self._kept.popitem(last=False)
