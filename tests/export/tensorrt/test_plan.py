"""Classic plans are refused in one line where nothing can build them, and built by the tool of NVIDIA's image."""

from __future__ import annotations

import dataclasses

import pytest

from export.__main__ import main
from export.entry import ExportError
from export.registry import NETWORKS, find
from export.tensorrt import plan
from sluice.server import sidecar

BUILDER = '#!/bin/sh\nfor a; do case $a in --saveEngine=*) echo engine > "${a#--saveEngine=}";; esac; done\n'


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A network whose graph lies in a folder of the test."""
    ours = find("frame_upscaler_clean")
    made = dataclasses.replace(ours, root=tmp_path, fast=False)
    made.onnx.parent.mkdir(parents=True)
    made.onnx.write_bytes(ours.onnx.read_bytes())
    monkeypatch.setitem(NETWORKS, made.name, made)
    return made


def test_a_plan_is_refused_in_one_line_where_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(plan.sidecar.shutil, "which", lambda name: None)
    assert main(["frame_upscaler_clean", "--format", "plan"]) == 1
    error = capsys.readouterr().err
    assert "GPU" in error and "image" in error and error.count("\n") == 1


def test_a_plan_is_refused_where_no_builder_is_installed(monkeypatch):
    monkeypatch.setattr(plan.shutil, "which", lambda name: None)
    monkeypatch.setattr(plan, "IMAGE_TOOL", plan.Path("/nowhere/trtexec"))
    with pytest.raises(ExportError, match="neither trtexec nor polygraphy"):
        plan.tool()


def test_the_builders_are_given_the_profile_of_the_table_and_take_the_types_of_the_graph():
    network = find("feature_extractor")
    source, engine = plan.Path("in.onnx"), plan.Path("out.plan")
    assert "--optShapes=IMAGE:4x480x640x3" in plan.trtexec(network, source, engine)
    assert "--stronglyTyped" in plan.trtexec(network, source, engine)
    arguments = plan.polygraphy(network, source, engine)
    assert arguments[arguments.index("--trt-max-shapes") + 1] == "IMAGE:[8,736,736,3]"
    assert "--strongly-typed" in arguments
    for builder in (plan.trtexec, plan.polygraphy):
        assert "--fp16" not in builder(network, source, engine)  # TensorRT 11 has no such option


def test_a_plan_and_its_sidecar_are_made_from_the_graph_by_the_tool(network, tmp_path, monkeypatch):
    builder = tmp_path / "trtexec"
    builder.write_text(BUILDER)
    builder.chmod(0o755)
    monkeypatch.setattr(plan, "require_gpu", lambda: "9.0")
    monkeypatch.setattr(plan, "tool", lambda: (str(builder), "trtexec"))
    assert plan.build(network).read_text() == "engine\n"
    record = sidecar.read(network.plan)
    assert (record.format, record.network, record.precision) == ("plan", "frame_upscaler_clean", "fp32")
    assert record.capabilities == ("9.0",)
    assert sidecar.misfits(network.plan, network.name, gpus=["9.0"], graph=network.onnx) == []
    builder.write_text("#!/bin/sh\necho no memory; exit 3\n")
    with pytest.raises(ExportError, match="status 3"):
        plan.build(network)
    left = sorted(path.name for path in network.plan.parent.iterdir())
    assert left == ["model.log", "model.onnx", "model.plan", "model.plan.json"]
