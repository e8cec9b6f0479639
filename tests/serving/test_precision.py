"""The profile auto on a processor with bf16: what runs how, what is said of it, and a gallery that stays in fp32."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import numpy as np
import pytest
from sluice_client import Query, Sluice
from sluice_client.commands import doctor

from sluice import contracts
from sluice.frames import Frame
from sluice.gallery.store import Gallery
from sluice.images import Geometry
from sluice.models import feature_extractor
from sluice.server import layout, profile
from sluice.server.questions import tiny_jpeg
from sluice.versions import BF16, FP32

HERE = profile.chosen("auto", layout.wheel_engine())
MODELS = ["embed", "detect", "match", "frame_gallery", "gallery_search"]
REPOSITORY = contracts.ROOT / "model_repository"
pytestmark = [pytest.mark.long, pytest.mark.skipif(not HERE.fast, reason=f"no bf16 here: {HERE.reason}")]


def frame_in_fp32(gallery: Path) -> str:
    """Store a frame as a server in fp32 does. Returns the version of its features."""
    version = feature_extractor.served_version(REPOSITORY, "feature_extractor")
    features = np.zeros((2, 3, 64), np.float16)
    features[..., 0] = 1
    with Gallery(gallery, version, 64) as store:
        store.add([Frame("old")], [b"old"], [features], [Geometry(96, 64, 1.0, 1.0, 0, 0).as_array()])
    return version


def precisions(metrics: str) -> dict[str, str]:
    """Return network -> precision, as the metrics of a server say."""
    text = urllib.request.urlopen(f"http://{metrics}/metrics").read().decode()
    rows = [line for line in text.splitlines() if line.startswith("sluice_network_precision{")]
    labels = [dict(part.split("=", 1) for part in row[row.index("{") + 1 :].split('",') if "=" in part) for row in rows]
    return {one["model"].strip('"'): one["precision"].strip('"') for one in labels}


def test_a_new_gallery_is_made_in_bf16_and_everybody_says_so(start, tmp_path):
    server = start(profile="auto", gallery=tmp_path, models=MODELS)
    networks = {"feature_extractor": BF16, "mixture_detector": BF16}
    assert server.precision.networks == networks and precisions(server.metrics) == networks
    with Sluice(server.grpc, timeout=60) as client:
        health = client.health()
        assert health.precision["networks"] == networks and "OpenVINO" in health.precision["reason"]
        told = client.describe()
        assert told["model"].endswith("/bf16") and "/bf16/" in told["detector"]
        assert "/bf16/" in client.detect([bytes(tiny_jpeg()[0])]).model
        lines = {finding.check: finding.text for finding in doctor.examine(client)}
        assert "2 of 2 networks in bf16 (the processor has" in lines["server's precision"]


def test_a_gallery_of_fp32_keeps_its_features_and_the_others_run_in_bf16(start, tmp_path, capfd):
    version = frame_in_fp32(tmp_path)
    server = start(profile="auto", gallery=tmp_path, models=MODELS)
    assert "feature_extractor runs in fp32, because the gallery's features were made in fp32" in capfd.readouterr().err
    networks = {"feature_extractor": FP32, "mixture_detector": BF16}
    assert server.precision.networks == networks and precisions(server.metrics) == networks
    with Sluice(server.grpc, timeout=60) as client:
        told = client.describe()
        assert told["model"] == version and told["versions"] == {version: 1}
        assert client.health().precision["kept"] == {"feature_extractor": "the gallery's features were made in fp32"}


def test_words_and_regions_find_a_frame_that_was_looked_at_once_in_bf16(start, tmp_path):
    server = start(profile="auto", gallery=tmp_path, models=["ingest", "retrieve", "select"])
    picture = bytes(tiny_jpeg()[0])
    with Sluice(server.grpc, timeout=60) as client:
        receipt = client.add(picture)
        assert receipt.scored and receipt.embedded
        assert client.describe()["embedder"].split("/")[3] == BF16
        assert [match.id for match in client.retrieve(texts=["a road"])] == [receipt.id]
        (match,) = client.retrieve(Query(picture, rois=[[0, 0, 8, 8]]))
        assert match.id == receipt.id and match.score > 0.98
        assert not client.select().unscored
