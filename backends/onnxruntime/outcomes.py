"""Counts requests by outcome, because Triton counts the failed ones of a Python backend as successes.

The name of the metric family comes from `--backend-config=onnxruntime,outcomes-metric=NAME`, so that a server can have
its networks counted with its other models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import triton_python_backend_utils as pb_utils  # exists in Triton's stub only

OUTCOMES = ("ok", "invalid", "cancelled", "failed")
METRIC = "onnxruntime_requests_total"


class Outcomes:
    """The counters of one model; all its instances add to the same counters."""

    def __init__(self, metric: str, model: str, version: str):
        # The family is kept, because its metrics end with it.
        self._family = pb_utils.MetricFamily(
            name=metric, description="Requests answered, by outcome", kind=pb_utils.MetricFamily.COUNTER
        )
        labels = {"model": model, "version": version}
        self._counters = {name: self._family.Metric(labels={**labels, "outcome": name}) for name in OUTCOMES}

    def count(self, outcomes: Iterable[str]) -> None:
        """Add one execution's outcomes, with one message to the server per kind."""
        for outcome, requests in Counter(outcomes).items():
            self._counters[outcome].increment(requests)
