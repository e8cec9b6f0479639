"""A feature network of one's own, from its file to searches by the real server, and the page that says how."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sluice_client import NewFrame, Query, Sluice

pytest.importorskip("torch")

import scenes
from export.features import command
from sluice import contracts, images
from sluice.methods import matching
from tests.made import feature_networks
from tests.made.encoded_pictures import jpeg
from tests.made.served import STORE, link_engines

PAGE, HEADING = "docs/own_networks.md", "## Your own feature network"
ROI = [200.0, 180.0, 290.0, 250.0]

pytestmark = pytest.mark.long


@pytest.fixture
def frames(tmp_path):
    """Write eight pictures of a generated drive, and the query of the page."""
    (tmp_path / "pictures").mkdir()
    for number, frame in enumerate(scenes.drive(1, 8, (640, 480), time_of_day="day")):
        Image.fromarray(frame.scene.image).save(tmp_path / "pictures" / f"{number:03d}.jpg", quality=90)
    scene = scenes.render(77, (640, 480), time_of_day="day", require={"motorcycle"})
    Image.fromarray(scene.image).save(tmp_path / "query.jpg", quality=90)
    return tmp_path / "pictures"


@pytest.mark.parametrize("kind", ["dinov2", "resnet", "convnext"])
def test_a_network_serves_retrieve_with_the_bits_that_it_has_in_process(tmp_path, frames, start, kind):
    import onnxruntime

    feature_networks.folder(tmp_path / "net", kind)
    root = tmp_path / "root"
    words = ["--from", str(tmp_path / "net"), "--root", str(root), "--frames", str(frames), "--canvas"]
    assert command.main([*words, *(["448x336", "336x448"] if kind == "dinov2" else ["512x384", "384x512"])]) == 0
    link_engines(root)
    server = start(root=root, gallery=tmp_path / "gallery", models=[*STORE, "retrieve", "embed"], profile="cpu")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = root / "model_repository" / "feature_extractor" / "1" / "model.onnx"
    graph = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    config = images.Config().for_network(root / "model_repository")
    pictures = {f"frame {i}": jpeg(700 + i) for i in range(4)}
    features, scores = {}, {}
    for id_, data in pictures.items():
        canvas, geometry = images.read(data, config)
        features[id_] = graph.run(["FEATURES"], {"IMAGE": canvas[None]})[0][0], geometry
    with Sluice(server.grpc, timeout=120) as client:
        for id_, data in pictures.items():
            assert np.array_equal(np.asarray(client.embed(data).features), features[id_][0])
        assert {one.status for one in client.ingest(NewFrame(d, id=i) for i, d in pictures.items())} == {"stored"}
        found = client.retrieve(Query(pictures["frame 2"], rois=[ROI]), k=4)
    asked, geometry = features["frame 2"]
    rows = matching.stack([matching.template(asked, matching.roi_cells(ROI, geometry, asked.shape[:2]))])
    for id_, (cells, geometry) in features.items():
        grid = cells.shape[:2]
        valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
        scores[id_] = float(matching.scores(cells, rows, "roi", valid)[0])
    wanted = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    assert [match.id for match in found] == [id_ for id_, _ in wanted] and found.matches[0].id == "frame 2"
    assert [match.score for match in found] == pytest.approx([score for _, score in wanted], abs=1e-5)


def test_five_commands_lead_from_a_file_to_a_search(tmp_path, frames, start, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    section = (contracts.ROOT / PAGE).read_text().partition(HEADING)[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.S | re.M)
    features, others, serve, add, retrieve = block.splitlines()
    assert others == "sluice export --root mine" and serve == "sluice serve --root mine"
    feature_networks.write(tmp_path / "backbone.onnx", channels=64)

    def run(line: str, **more: str) -> str:
        done = subprocess.run(line.split(), cwd=tmp_path, env={**os.environ, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "map: map (nchw, 64 channels, stride 8)" in run(features)
    own = (tmp_path / "mine" / "model_repository" / "feature_extractor" / "1" / "model.onnx").read_bytes()
    link_engines(tmp_path / "mine")
    assert "left as it is, a network of your own" in run(f"{others} feature_extractor")
    server = start(root=tmp_path / "mine", gallery=tmp_path / "gallery")
    assert "8 stored, 0 known, 0 refused" in run(add, SLUICE_URL=server.grpc)
    assert "3 of 8 frames" in run(retrieve, SLUICE_URL=server.grpc)
    assert (tmp_path / "mine/model_repository/feature_extractor/1/model.onnx").read_bytes() == own
