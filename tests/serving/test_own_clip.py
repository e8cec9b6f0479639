"""A CLIP of a user's own through the real server: the page that says how, followed, and the answers of torch."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sluice_client import Sluice

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import scenes  # noqa: E402
from export.grouping import clip_files  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.methods.grouping import tokens  # noqa: E402
from tests.made import clip_folders  # noqa: E402

PAGE, HEADING = "docs/own_networks.md", "## Your own CLIP"
TEXTS = ["a red car", "the sky", "reds " * 40]
HALF = 2e-3  # what float16 costs a cosine of stored vectors

pytestmark = pytest.mark.long


def commands() -> list[str]:
    """Return the lines of the section's commands, in order."""
    section = (contracts.ROOT / PAGE).read_text().partition(HEADING)[2].partition("\n## ")[0]
    return [line for block in re.findall(r"^```sh\n(.*?)^```$", section, re.S | re.M) for line in block.splitlines()]


def torchs(network, pictures: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of images and of TEXTS in torch, of length 1."""
    found = clip_files.read(network)
    mean, deviation = torch.tensor(found.mean)[:, None, None], torch.tensor(found.deviation)[:, None, None]
    squares = []
    for picture in pictures:
        width, height = picture.size  # the short side is 64, as the verbs show it
        left, top = (width - 64) // 2, (height - 64) // 2
        pixels = np.array(picture.crop((left, top, left + 64, top + 64)))
        squares.append(torch.from_numpy(pixels).permute(2, 0, 1).float())
    scaled = torch.nn.functional.interpolate(torch.stack(squares), (clip_folders.SIDE,) * 2, mode="bilinear")
    ids = torch.from_numpy(tokens.Tokenizer(found.pairs)(TEXTS).ids)
    with torch.no_grad():
        images = found.model.get_image_features((scaled / 255 - mean) / deviation).pooler_output
        words = found.model.get_text_features(ids).pooler_output
    normal = torch.nn.functional.normalize
    return normal(images, dim=-1).numpy(), normal(words, dim=-1).numpy()


def test_the_page_leads_to_the_vectors_of_torch(start, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    clip_folders.transformers_folder(tmp_path / "clip")
    pictures = [Image.fromarray(scenes.render(seed, (96, 64)).image) for seed in range(4)]
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / "pictures" / f"{i}.png")

    def run(line: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", line], cwd=tmp_path, env={**os.environ, **more}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    others, export, serve, *asked = commands()
    assert others == "sluice export --root words" and serve == "sluice serve --root words" and len(asked) == 4
    run(export)
    # The page makes all of our engines anew, which takes a minute; here those that are there are taken.
    root = tmp_path / "words"
    for graph in (contracts.ROOT / "model_repository").glob("*/1/model.onnx"):
        place = root / graph.relative_to(contracts.ROOT)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(graph)
    assert "left as it is, a network of your own" in run("sluice export grouping --root words")
    server = start(root=root, gallery=tmp_path / "gallery", models=["ingest", "compare", "retrieve", "segment"])
    printed = [run(line, SLUICE_URL=server.grpc) for line in asked]
    assert printed[1].count("red car") and "0" in printed[3]
    images, words = torchs(tmp_path / "clip", pictures)
    wanted = images @ words.T
    encoded = []
    for picture in pictures:
        file = io.BytesIO()
        picture.save(file, "PNG")
        encoded.append(file.getvalue())
    with Sluice(server.grpc, timeout=120) as client:
        found = client.compare(encoded, TEXTS)
        np.testing.assert_allclose(found.similarity, wanted, atol=1e-4)
        best = client.retrieve(texts=TEXTS[:2], drives=["today"])
        assert {match.id for match in best} == {"0", "1", "2", "3"}
        for match in best:
            np.testing.assert_allclose(match.text_scores, wanted[int(match.id), :2], atol=HALF)
        (refused,) = client.segment(encoded[:1], classes=["car", "sky"])
        assert "no groups but the whole image" in str(refused.error)
