"""Detectors of one's own through the real server: the page's commands, and boxes as the framework gives them."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sluice_client import NewFrame, Sluice

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from export.detector import checking, command  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.server import layout, profile  # noqa: E402
from tests.made import plain_detectors as made  # noqa: E402

PAGE, HEADING = "docs/own_networks.md", "## Your own detector"
SIZE, SHAPE = (192, 160), (2, 3, 160, 192)
LEAST = 0.3
LABELS = ("Car", "Pedestrian", "Sign")
OPEN = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
pytestmark = pytest.mark.long


def commands(kind: str) -> list[str]:
    """Return the lines of the section's commands that begin with `kind`, in order."""
    section = (contracts.ROOT / PAGE).read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", section, re.S | re.M) for line in block.splitlines()]
    return [line for line in lines if line.startswith(kind)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    (tmp_path / "street.txt").write_text("".join(f"{label}\n" for label in LABELS))
    Image.fromarray(checking.picture(SIZE)[0]).save(tmp_path / "photo.png")
    Image.open(tmp_path / "photo.png").save(tmp_path / "photo.jpg", quality=95)
    return tmp_path


def png(canvas: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(canvas).save(held, "PNG")
    return held.getvalue()


def kept(root: Path) -> None:
    """Give a root our engines that are there; the page makes them anew, which takes a minute."""
    for graph in (contracts.ROOT / "model_repository").glob("*/1/model.onnx"):
        target = root / graph.relative_to(contracts.ROOT)
        if not target.exists():
            target.symlink_to(graph)


def test_the_page_leads_to_objects_that_are_ranked_by_the_entropy_of_their_scores(here, start):
    made.write(here / "street.onnx", made.YoloDecoded(3).eval(), "images", ["output0"], SHAPE)
    proposing, exporting = commands("sluice export detector")[:2]
    for line in (proposing, exporting):
        done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    kept(here / "own")
    server = start(root=here / "own", gallery=here / "gallery", models=["detect", "select", "ingest", "frame_gallery"])
    (asking,) = commands("sluice detect")
    done = subprocess.run(
        ["bash", "-ec", asking], capture_output=True, text=True, env={**os.environ, "SLUICE_URL": server.grpc}
    )
    assert done.returncode == 0 and "the detector gives no uncertainties" in done.stderr, done.stderr
    with Sluice(server.grpc, timeout=120) as client:
        scenes = [checking.picture(SIZE, 3)[i] for i in range(3)]
        client.ingest([NewFrame(png(one), id=id_) for one, id_ in zip(scenes, "abc", strict=True)])
        found = client.detect(ids=["a", "b", "c"], keep_scores=True)
        assert found.model.startswith("box_detector/1/") and all(one.missing and one.objects for one in found)
        picked = client.select(n=2)
        assert picked.by_entropy and "binary entropy" in picked.told() and len(picked) == 2
        assert "gives no uncertainties" in picked.picks[0].reason and np.isnan(picked.picks[0].z).all()
        assert client.objects(["a"])[0].summary["uncertainties"] == []


def yolo(canvas):
    with torch.no_grad():
        raw = [one[0].numpy() for one in made.YoloGrids(3).eval()(canvas)]
    return made.suppressed(*made.yolo_boxes(raw), LEAST, 0.45)


def retinanet(canvas):
    with torch.no_grad():
        logits, offsets = (one[0].numpy() for one in made.RetinaNet(3).eval()(canvas))
    return made.suppressed(*made.retina_boxes(logits, offsets, 160, 192), LEAST, 0.5)


def detr(canvas):
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    with torch.no_grad():
        outputs = made.detr()(canvas)
    post = DetrImageProcessorPil().post_process_object_detection(outputs, LEAST, torch.tensor([[160, 192]]))[0]
    return list(zip(post["labels"].tolist(), post["scores"].tolist(), post["boxes"].tolist(), strict=True))


NETWORKS = {
    "yolo": (made.YoloGrids, ["p4", "p5"], yolo, {"anchors": made.YOLO_ANCHORS}),
    "retinanet": (made.RetinaNet, ["l", "o"], retinanet, {"strides": made.STRIDES, "anchor_sizes": made.SIZES}),
    "detr": (lambda _: made.DetrOutputs(made.detr()), ["logits", "pred_boxes"], detr, {}),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_detect_serves_the_boxes_that_the_framework_gives(here, start, kind):
    make, outputs, reference, values = NETWORKS[kind]
    made.write(here / f"{kind}.onnx", make(3).eval(), "images", outputs, SHAPE)
    words = ["--from", f"{kind}.onnx", "--root", "own"]
    assert command.main([*words, "--labels", "street.txt", "--size", "192x160"]) == 0
    mapping = here / f"{kind}.toml"
    text = mapping.read_text()
    for name, value in values.items():
        text = re.sub(rf"^{name} = .*\n", f"{name} = {json.dumps(value)}\n", text, flags=re.M)
    mapping.write_text(text)
    assert command.main([*words, "--mapping", str(mapping)]) == 0
    kept(here / "own")
    server = start(
        root=here / "own", gallery=here / "gallery", models=["object_detector", "uncertainty_aggregator", "detect"]
    )
    canvas = checking.picture(SIZE)
    expected = reference(torch.from_numpy(canvas.astype(np.float32) / 255).permute(0, 3, 1, 2))
    assert len(expected) > 1
    with Sluice(server.grpc, timeout=120) as client:
        options = {"min_score": LEAST, "candidates": 5000, "keep": 5000}
        (found,) = client.detect([png(canvas[0])], **options)
    expected = [(c, s, np.clip(box, 0, [192, 160, 192, 160])) for c, s, box in expected]
    expected = [(c, s, box) for c, s, box in expected if (box[2:] > box[:2]).all()]
    assert sorted(one.class_id for one in found) == sorted(c for c, _, _ in expected)
    ours = sorted(([one.class_id, round(one.score, 4), *one.box] for one in found), key=str)
    theirs = sorted(([c, round(s, 4), *box.tolist()] for c, s, box in expected), key=str)
    for one, other in ((ours, theirs), (theirs, ours)):
        for row in one:  # equal scores may stand in another order
            assert min(np.abs(np.subtract(row, like)).max() for like in other) < 0.05


@pytest.mark.parametrize("way", ["an ensemble of 3", "4 passes of dropout"])
def test_detect_serves_the_uncertainties_of_an_ensemble_and_of_dropout(here, start, capsys, way):
    """Under the profile auto, so in bf16 where the export found that it costs little and the processor has it."""
    ensemble = way.startswith("an ensemble")
    for seed in range(3 if ensemble else 1):
        module = made.YoloGrids(3, seed).eval()
        module.trunk.drop.train(not ensemble)
        more = {} if ensemble else OPEN
        made.write(here / f"grids{seed}.onnx", module, "images", ["p4", "p5"], SHAPE, **more)
    files = [f"grids{seed}.onnx" for seed in range(3 if ensemble else 1)]
    words = ["--from", *files, "--root", "own"]
    assert command.main([*words, "--labels", "street.txt", "--size", "192x160"]) == 0
    mapping = here / "grids0.toml"
    anchors = f"anchors = {json.dumps(made.YOLO_ANCHORS)}\n"
    mapping.write_text(re.sub(r"^anchors = .*\n", anchors, mapping.read_text(), flags=re.M))
    assert command.main([*words, "--mapping", str(mapping), *([] if ensemble else ["--passes", "4"])]) == 0
    assert f"{way} gives the epistemic uncertainties" in capsys.readouterr().err
    kept(here / "own")
    models = ["object_detector", "uncertainty_aggregator", "detect", "frame_gallery", "ingest"]
    server = start(root=here / "own", gallery=here / "gallery", models=models, profile="auto")
    config = (here / "own/model_repository/box_detector/configs/cpu-fast.pbtxt").read_text()
    fast = profile.chosen("auto", layout.wheel_engine()).fast and '"bf16"' in config
    assert server.precision.networks["box_detector"] == ("bf16" if fast else "fp32")
    with Sluice(server.grpc, timeout=120) as client:
        image = png(checking.picture(SIZE)[0])
        first, again = (client.detect([image], min_score=0.2, object_score=0.2) for _ in range(2))
        assert ("/bf16/" in first.model) == fast and first.model == again.model
        (one,), (other,) = first, again
        assert len(one) > 1 and [x.box for x in one] == [x.box for x in other]
        assert set(one.missing) == {"location_aleatoric", "class_aleatoric"}
        client.ingest([NewFrame(png(scene), id=f"{i}") for i, scene in enumerate(checking.picture(SIZE, 3))])
        assert client.objects(["0"])[0].summary["uncertainties"] == ["location_epistemic", "class_epistemic"]
