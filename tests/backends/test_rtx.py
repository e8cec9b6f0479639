"""The stand-in backend says in one sentence what TensorRT for RTX lacks here, and names an engine that does not fit."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from sluice import contracts
from sluice.server import sidecar
from tests.made.onnxruntime_stub import engines, options

rtx = sys.modules[f"{engines.__name__.rpartition('.')[0]}.rtx"]
ACCELERATOR = {"gpu_execution_accelerator": [{"name": "tensorrt_rtx", "parameters": {"nv_cuda_graph_enable": "1"}}]}


@pytest.fixture
def engine(tmp_path):
    """An engine of feature_extractor for GPUs of 8.6, in a repository, with its sidecar."""
    folder = tmp_path / "feature_extractor" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    path = folder / "model.rtx.onnx"
    path.write_bytes(b"engine")
    record = sidecar.Sidecar(
        "rtx", "feature_extractor", sidecar.digest(folder / "model.onnx"), sidecar.digest(path), "fp16", "1.7.1.116",
        ("8.6",), {},
    )  # fmt: skip
    sidecar.place(path).write_text(record.text())
    return path


def test_the_accelerator_is_read_with_the_options_of_its_plug_in():
    chosen, wrong = options.read({"optimization": {"execution_accelerators": ACCELERATOR}}, {})
    assert wrong == [] and chosen.rtx == (("nv_cuda_graph_enable", "1"),) and chosen.openvino is None
    others = {"gpu_execution_accelerator": [{"name": "tensorrt"}]}
    assert options.read({"optimization": {"execution_accelerators": others}}, {})[0].rtx is None


def test_every_config_for_rtx_asks_for_the_accelerator():
    paths = sorted((contracts.ROOT / "model_repository").glob("*/configs/rtx.pbtxt"))
    assert len(paths) == 12
    for path in paths:
        accelerators = contracts.read(path).optimization.execution_accelerators.gpu_execution_accelerator
        assert [each.name for each in accelerators] == ["tensorrt_rtx"]


def test_a_missing_package_is_one_sentence_with_the_command(engine, monkeypatch):
    monkeypatch.setattr(rtx, "PACKAGE", "no_such_plug_in")
    with pytest.raises(engines.GraphError, match=r"needs the package onnxruntime-ep-.*NVIDIA's licence.*run: pip"):
        engines.load(engine, options.Options(rtx=()))


def test_a_missing_driver_is_one_sentence_with_the_remedy(engine, monkeypatch, tmp_path):
    (tmp_path / "own_plug_in").mkdir()
    (tmp_path / "own_plug_in" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr(rtx, "PACKAGE", "own_plug_in")
    monkeypatch.setattr(rtx, "DRIVER", "libno-such-driver.so.1")
    with pytest.raises(engines.GraphError, match=r"needs an NVIDIA driver, and libno-such-driver.so.1 is not on this"):
        engines.load(engine, options.Options(rtx=()))


def test_a_plug_in_that_takes_no_gpu_is_one_sentence_with_the_gpus(engine, monkeypatch, tmp_path):
    # The plug-in's name is that of a provider that is registered already, so that none of its devices is a GPU's.
    (tmp_path / "blind_plug_in").mkdir()
    (tmp_path / "blind_plug_in" / "__init__.py").write_text("def get_ep_name():\n    return 'CPUExecutionProvider'\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr(rtx, "PACKAGE", "blind_plug_in")
    monkeypatch.setattr(rtx, "_driver", lambda: None)  # there is none here
    monkeypatch.setattr(rtx, "_capabilities", lambda driver: ["8.6"])
    with pytest.raises(engines.GraphError, match=r"the TensorRT-RTX plug-in takes no GPU here \(8\.6\); remove the"):
        engines.load(engine, options.Options(rtx=()))


def test_the_version_is_that_of_the_library_beside_the_plug_in(tmp_path):
    for name in ("libtensorrt_rtx.so.1", "libtensorrt_rtx.so.1.7.1", "libtensorrt_onnxparser_rtx.so.1.7.2"):
        (tmp_path / name).touch()
    assert rtx._version(tmp_path) == "1.7.1"
    assert rtx._version(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("model", "gpus", "version"),
    [
        ("feature_extractor", ["8.6"], "1.7.1"),
        ("feature_extractor", [], ""),
        ("mixture_detector", ["8.6"], "1.7.1"),
        ("feature_extractor", ["12.0"], "1.7.1"),
        ("feature_extractor", ["8.6"], "1.8.0"),
        ("mixture_detector", ["8.9"], "1.8.0"),
    ],
)
@pytest.mark.parametrize("touched", [None, "model.onnx", "model.rtx.onnx"])
def test_the_backend_says_of_an_engine_what_the_server_says(engine, model, gpus, version, touched):
    if touched:
        engine.with_name(touched).write_bytes(b"another")
    theirs = sidecar.misfits(engine, model, gpus=gpus, tensorrt=version, graph=engine.with_name("model.onnx"))
    ours = rtx.misfits(engine, model, gpus, version)
    assert [said.partition("; ")[0] for said in ours] == [said.partition("; ")[0] for said in theirs]
    assert all(f"compile the engine again for {model}" in said for said in ours)
    fits = model == "feature_extractor" and gpus in ([], ["8.6"]) and version in ("", "1.7.1") and not touched
    assert bool(theirs) != fits


def test_a_sidecar_that_is_none_is_named_and_an_engine_without_one_is_let_through(engine):
    place = sidecar.place(engine)
    for content in ("no json", "[1]", json.dumps({"network": "feature_extractor"})):
        place.write_text(content)
        with pytest.raises(rtx.Unfit, match=r"model\.rtx\.onnx\.json is not the record of an engine"):
            rtx.misfits(engine, "feature_extractor", ["8.6"], "1.7.1")
    place.unlink()
    assert rtx.misfits(engine, "feature_extractor", ["8.6"], "1.7.1") == []
