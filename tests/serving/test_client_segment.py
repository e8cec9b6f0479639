"""`sluice segment` and `compare` against the real server: from a scene to a mask, and which text it agrees with."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import scenes
from sluice import contracts

from .test_client import run

VERBS = contracts.ROOT / "ensembles"
pytestmark = pytest.mark.skipif(
    not all((VERBS / verb / "config.pbtxt").exists() for verb in ("segment", "compare")),
    reason="the verbs segment and compare are not in ensembles/ yet",
)


@pytest.fixture
def scene(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.asarray(scenes.render(7).image)).save("scene.jpg", quality=92)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")


def test_every_pixel_of_a_scene_gets_a_class_and_a_broken_picture_fails_alone(scene, capsys):
    words = ["segment", "scene.jpg", "broken.jpg", "--classes", "road,car,sky", "--out", "masks/", "--timeout", "120"]
    code, rows, said = run(capsys, *words)
    assert code == 1 and rows[0]["error"] is None and rows[1]["error"], said
    with Image.open("masks/scene.png") as image:
        assert image.size == (480, 360) and set(np.unique(image)) <= {0, 1, 2}
    assert sum(one["score"] for one in rows[0]["classes"]) == pytest.approx(1, abs=1e-3)
    assert sum(one["area"] for one in rows[0]["classes"]) == pytest.approx(1, abs=1e-3)


def test_names_that_are_one_to_the_network_are_refused_by_name(scene, capsys):
    code, _, said = run(capsys, "segment", "scene.jpg", "--classes", "Car,car", "--timeout", "120")
    assert code == 2 and "Car" in said and said.count("\n") == 1


def test_probabilities_of_a_picture_sum_to_one(scene, capsys):
    code, rows, said = run(capsys, "compare", "scene.jpg", "--texts", "a road", "a dog", "--timeout", "120")
    assert code == 0, said
    told = rows[0]["texts"].values()
    assert sum(one["probability"] for one in told) == pytest.approx(1, abs=1e-4)
    assert all(-1.001 <= one["similarity"] <= 1.001 for one in told)
