"""The precision of each network as a metric where NVIDIA's backends, which do not tell it, serve the networks."""

from __future__ import annotations

import importlib
import sys

import pytest

from sluice import versions
from sluice.versions import BF16, FP16, FP32, Served
from tests.made.onnxruntime_stub import Utils


@pytest.fixture
def triton(monkeypatch):
    """Import `sluice.triton` anew, as Triton's stub does, with counters that this process keeps."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", Utils("triton_python_backend_utils"))
    monkeypatch.delitem(sys.modules, "sluice.triton", raising=False)
    monkeypatch.setattr(Utils.MetricFamily, "values", {})
    module = importlib.import_module("sluice.triton")
    yield module
    sys.modules.pop("sluice.triton", None)


def test_python_models_tell_the_precision_of_every_engine(triton, monkeypatch):
    served = Served("gpu", "TensorRT, as its plans were built", {"a": FP16, "b": FP32})
    monkeypatch.setenv(versions.VARIABLE, served.environment[versions.VARIABLE])
    kept = triton._precisions("sluice_network_precision")
    told = {dict(key[1:])["model"]: (dict(key[1:])["precision"], dict(key[1:])["reason"], value)
            for key, value in Utils.MetricFamily.values.items()}  # fmt: skip
    assert told == {"a": (FP16, "TensorRT, as its plans were built", 1), "b": (FP32, "its engine is in fp32", 1)}
    assert len(kept) == 3, "a metric dies with its family and its object"


def test_they_are_silent_where_the_networks_tell_it_themselves(triton):
    assert triton._precisions("") == () and not Utils.MetricFamily.values


def test_a_network_that_is_kept_in_fp32_has_its_own_reason():
    served = Served("auto", "the processor has bf16", {"a": BF16, "b": FP32}, {"b": "the gallery's scores are of fp32"})
    assert served.reason_of("a") == "the processor has bf16" and "gallery" in served.reason_of("b")
