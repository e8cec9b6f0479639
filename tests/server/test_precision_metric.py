"""The precision of each network as a metric where NVIDIA's backends, which do not tell it, serve the networks."""

from __future__ import annotations

import pytest

from sluice import versions
from sluice.versions import BF16, FP16, FP32, Served
from tests.made.onnxruntime_stub import Utils


@pytest.fixture
def counted(monkeypatch):
    """Return the metrics of this process, as Triton's stub would set them."""
    monkeypatch.setattr(Utils.MetricFamily, "values", {})
    return Utils.MetricFamily.values


def test_python_models_tell_the_precision_of_every_engine(counted, monkeypatch):
    served = Served("gpu", "TensorRT, as its plans were built", {"a": FP16, "b": FP32})
    monkeypatch.setenv(versions.VARIABLE, served.environment[versions.VARIABLE])
    monkeypatch.setenv(versions.METRIC, "sluice_network_precision")
    kept = versions.as_metric(Utils.MetricFamily)
    found = {labels["model"]: (labels["precision"], labels["reason"], value)
             for labels, value in ((dict(key[1:]), value) for key, value in counted.items())}  # fmt: skip
    assert found == {"a": (FP16, "TensorRT, as its plans were built", 1), "b": (FP32, "its engine is in fp32", 1)}
    assert {key[0] for key in counted} == {"sluice_network_precision"}
    assert len(kept) == 3, "a metric dies with its family and its object"


@pytest.mark.parametrize("name", ["", None])
def test_they_are_silent_where_the_networks_tell_it_themselves(counted, monkeypatch, name):
    monkeypatch.delenv(versions.METRIC, raising=False)
    if name is not None:
        monkeypatch.setenv(versions.METRIC, name)
    assert versions.as_metric(Utils.MetricFamily) == () and not counted


def test_a_network_that_is_kept_in_fp32_has_its_own_reason():
    served = Served("auto", "the processor has bf16", {"a": BF16, "b": FP32}, {"b": "the gallery's scores are of fp32"})
    assert served.reason_of("a") == "the processor has bf16" and "gallery" in served.reason_of("b")
