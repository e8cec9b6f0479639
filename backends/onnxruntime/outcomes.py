"""Requests counted by outcome, because Triton counts the failed ones of a Python backend as successes.

The family's name comes from `--backend-config=onnxruntime,outcomes-metric=NAME`, so that a server can have its networks
counted with its other models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import triton_python_backend_utils as pb_utils  # lives in Triton's stub alone

OUTCOMES = ("ok", "invalid", "cancelled", "failed")
METRIC = "onnxruntime_requests_total"


class Outcomes:
    """The counters of one model; its instances add to the same ones."""

    def __init__(self, metric: str, model: str, version: str):
        # A metric dies with its family, so the family is kept.
        self._family = pb_utils.MetricFamily(
            name=metric, description="Requests answered, by outcome", kind=pb_utils.MetricFamily.COUNTER
        )
        labels = {"model": model, "version": version}
        self._counters = {name: self._family.Metric(labels={**labels, "outcome": name}) for name in OUTCOMES}

    def count(self, outcomes: Iterable[str]) -> None:
        """Adds one execution's outcomes, one message to the server for each kind."""
        for outcome, requests in Counter(outcomes).items():
            self._counters[outcome].increment(requests)
