"""The sidecar of an engine names an engine of another network, version, GPU or graph before it is loaded."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sluice import contracts
from sluice.server import layout, sidecar
from sluice.server.sidecar import Sidecar


@pytest.fixture
def engine(tmp_path):
    """An engine beside its graph and its sidecar."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    written(path)
    return path


def written(path, **changed):
    record = Sidecar(
        format="plan",
        network="feature_extractor",
        graph_sha256=sidecar.digest(path.with_name("model.onnx")),
        engine_sha256=sidecar.digest(path),
        precision="fp16",
        tensorrt="10.13.3",
        capabilities=("8.6",),
        profile={"IMAGE": [[1, 8, 8, 3], [2, 8, 8, 3], [4, 8, 8, 3]]},
    )
    sidecar.place(path).write_text(dataclasses.replace(record, **changed).text())


def misfits(engine, network="feature_extractor", gpus=("8.6",), tensorrt="10.13.3.9"):
    return sidecar.misfits(engine, network, gpus=gpus, tensorrt=tensorrt, graph=engine.with_name("model.onnx"))


def test_an_engine_that_fits_is_not_complained_about(engine):
    assert misfits(engine) == []
    assert misfits(engine, gpus=(), tensorrt="") == []  # what is not known is not held against it
    assert sidecar.read(engine).profile["IMAGE"][1] == [2, 8, 8, 3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"network": "mixture_detector"}, "an engine of feature_extractor, and mixture_detector would load it"),
        ({"tensorrt": "10.14.0"}, "built by TensorRT 10.13.3, and TensorRT 10.14.0 would load it"),
        ({"gpus": ("8.9",)}, "for GPUs of compute capability 8.6, and the GPU here has 8.9"),
    ],
)
def test_an_engine_of_another_network_version_or_gpu_is_named_with_the_remedy(engine, given, said):
    (sentence,) = misfits(engine, **given)
    assert sentence.startswith("model.plan ") and said in sentence
    assert f"run: sluice export {given.get('network', 'feature_extractor')} --format plan" in sentence


def test_an_engine_of_another_graph_and_an_engine_that_was_replaced_are_named(engine):
    engine.with_name("model.onnx").write_bytes(b"another")
    (sentence,) = misfits(engine)
    assert "built from another model.onnx than the one beside it" in sentence
    engine.with_name("model.onnx").write_bytes(b"graph")
    engine.write_bytes(b"replaced")
    (sentence,) = misfits(engine)
    assert "is not the engine that model.plan.json describes" in sentence


def test_an_engine_for_rtx_names_the_kind_of_gpu_to_compile_for(engine):
    written(engine, format="rtx")
    (sentence,) = misfits(engine, gpus=("12.0",))
    assert sentence.endswith("run: sluice export feature_extractor --format rtx --for sm120")


def test_a_file_that_is_no_sidecar_is_named_and_an_engine_without_one_is_let_through(engine):
    path = sidecar.place(engine)
    for content in ("no json", "[]", json.dumps({"format": "plan"})):
        path.write_text(content)
        (sentence,) = misfits(engine)
        assert sentence.startswith("model.plan.json is not the record of an engine") and "build the engine" in sentence
    path.unlink()
    assert sidecar.read(engine) is None and misfits(engine) == []


def test_gpus_and_libraries_that_are_not_there_are_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sidecar.gpus() == []
    assert sidecar.library_version(str(tmp_path / "libnvinfer.so")) == ""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 8.6\necho 9.0\n")
    smi.chmod(0o755)
    assert sidecar.gpus() == ["8.6", "9.0"]


def test_a_start_is_refused_for_an_engine_that_does_not_fit(engine, tmp_path):
    folder = tmp_path / "model"
    (folder / "1").mkdir(parents=True)
    for path in (engine, engine.with_name("model.onnx"), sidecar.place(engine)):
        path.rename(folder / "1" / path.name)
    facts = {"members": (), "calls": (), "files": ("model.plan",), "versions": (folder / "1",), "glued": False}
    known = {field.name for field in dataclasses.fields(layout.Model)}
    more = {"bf16": False} if "bf16" in known else {}
    model = layout.Model("mixture_detector", folder, "tensorrt", **facts, **more)
    with pytest.raises(layout.StartError, match="an engine of feature_extractor, and mixture_detector would load it"):
        layout.check_engines(model)
    layout.check_engines(dataclasses.replace(model, name="feature_extractor"))


def test_a_missing_engine_for_rtx_is_named_with_its_command(tmp_path):
    models = layout.find_models([contracts.ROOT / "model_repository"], "rtx", False)
    model = dataclasses.replace(models["feature_extractor"], versions=(tmp_path,))
    with pytest.raises(layout.StartError, match="run: sluice export feature_extractor --format rtx"):
        layout.check_present([model], "sluice export")


def test_all_missing_engines_are_named_at_once_with_one_command(tmp_path):
    models = layout.find_models([contracts.ROOT / "model_repository"], "rtx", False)
    names = [name for name, model in models.items() if "model.rtx.onnx" in model.files]
    bare = {name: dataclasses.replace(models[name], versions=(tmp_path / name,)) for name in names}
    assert len(names) == 12 and set(bare) == set(names)
    with pytest.raises(layout.StartError) as caught:
        layout.choose(bare, names, "sluice export --root gpu")
    told = (
        f"of {', '.join(names)} the file model.rtx.onnx is missing; run: sluice export --root gpu --format rtx; or put"
    )
    assert str(caught.value).startswith(told)
