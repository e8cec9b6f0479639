"""Counts requests by outcome, because Triton counts the failed ones of a Python backend as successes; and tells by a
metric of value 1 in which precision a network runs.

The names of the metric families come from `--backend-config=onnxruntime,outcomes-metric=NAME` and
`precision-metric=NAME`, so that a server can have its networks counted with its other models. `fp32-reason=TEXT`
and `bf16-reason=TEXT` are the label `reason` of the second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import triton_python_backend_utils as pb_utils  # exists in Triton's stub only

OUTCOMES = ("ok", "invalid", "cancelled", "failed")
METRIC, PRECISION = "onnxruntime_requests_total", "onnxruntime_precision"


class Outcomes:
    """The counters of one model; all its instances add to the same counters."""

    def __init__(self, metric: str, model: str, version: str):
        # The family is kept, because its metrics end with it.
        self._family = pb_utils.MetricFamily(
            name=metric, description="Requests answered, by outcome", kind=pb_utils.MetricFamily.COUNTER
        )
        self._labels = {"model": model, "version": version}
        self._counters = {name: self._family.Metric(labels={**self._labels, "outcome": name}) for name in OUTCOMES}

    def tell_precision(self, metric: str, labels: Mapping[str, str]) -> None:
        """Set the metric of the precision to 1. labels: precision, library and reason, besides model and version."""
        self._precision = pb_utils.MetricFamily(
            name=metric, description="1 for the precision in which a network runs", kind=pb_utils.MetricFamily.GAUGE
        )
        self._told = self._precision.Metric(labels={**self._labels, **labels})
        self._told.set(1)

    def count(self, outcomes: Iterable[str]) -> None:
        """Add one execution's outcomes, with one message to the server per kind."""
        for outcome, requests in Counter(outcomes).items():
            self._counters[outcome].increment(requests)
