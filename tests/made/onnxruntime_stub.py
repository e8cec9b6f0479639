"""Loads the backend `backends/onnxruntime` as Triton's stub does, for tests without a server."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import ClassVar

from sluice.contracts import ROOT


class Error:
    INTERNAL, INVALID_ARG, CANCELLED = 1, 3, 7

    def __init__(self, message, code):
        self.message, self.code = message, code


class Utils(types.ModuleType):
    """The part of triton_python_backend_utils that the backend uses."""

    TritonError = Error
    logged: ClassVar[list[str]] = []
    Logger = types.SimpleNamespace(log_info=logged.append, log_warn=logged.append, log_error=logged.append)

    class MetricFamily:
        """Counters and gauges as the server keeps them: one per label set, over all instances."""

        COUNTER, GAUGE = 0, 1
        values: ClassVar[dict] = {}

        def __init__(self, name, description, kind):
            self.name = name

        def Metric(self, labels):  # Triton's name
            key = (self.name, *sorted(labels.items()))
            self.values.setdefault(key, 0)

            def increment(value):
                self.values[key] += value

            def set_(value):
                self.values[key] = value

            return types.SimpleNamespace(increment=increment, set=set_)

    class Tensor:
        def __init__(self, name, array):
            self._name, self._array = name, array

        def name(self):
            return self._name

        def as_numpy(self):
            return self._array

    class InferenceResponse:
        def __init__(self, output_tensors=(), error=None):
            self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
            self.error = error


class Request:
    def __init__(self, outputs, cancelled=False, **inputs):
        self._outputs, self._cancelled, self._inputs = outputs, cancelled, inputs

    def inputs(self):
        return [Utils.Tensor(name, array) for name, array in self._inputs.items()]

    def requested_output_names(self):
        return set(self._outputs)

    def is_cancelled(self):
        return self._cancelled


def load_backend():
    """Load the backend as Triton's stub does: from one file, by its path."""
    replaced = sys.modules.get("triton_python_backend_utils")
    sys.modules["triton_python_backend_utils"] = Utils("triton_python_backend_utils")
    try:
        spec = importlib.util.spec_from_file_location("backend_model", ROOT / "backends" / "onnxruntime" / "model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        if replaced is None:
            del sys.modules["triton_python_backend_utils"]
        else:
            sys.modules["triton_python_backend_utils"] = replaced
    return module


model = load_backend()
batches, bfloat16, engines = model.batches, model.bfloat16, model.engines
options, outcomes, rules = model.options, model.outcomes, model.rules
Graph, Tensor = rules.Graph, rules.Tensor

FP32 = "TYPE_FP32"


def entry(name, dims, type_=FP32, **more):
    return {"name": name, "data_type": type_, "dims": dims, **more}


def config(inputs, outputs, batch=8, **more):
    return {"name": "m", "max_batch_size": batch, "input": inputs, "output": outputs, **more}


def only(problems):
    assert len(problems) == 1, problems
    return problems[0]
