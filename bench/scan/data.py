"""Makes galleries for the benchmark of the scan: random, structured, and real where there are images and a network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sluice.contracts import ROOT
from sluice.methods import matching
from sluice.methods.scan import engine
from sluice.server import root as roots

CELLS = 300
PROTOTYPES = 512
KINDS_A_FRAME = 20


def random(rng: np.random.Generator, n: int, channels: int) -> np.ndarray:
    """Return [n, CELLS, channels] float16 of independent directions. Frames score alike, so no bound rules any out."""
    return matching.unit(rng.standard_normal((n, CELLS, channels), np.float32)).astype(np.float16)


def structured(rng: np.random.Generator, n: int, channels: int, scene: np.random.Generator) -> np.ndarray:
    """Return [n, CELLS, channels] float16 that are clustered, as a network's features are.

    A frame shows 20 objects of 512 kinds, some kinds far more frequent than others (Zipf). An object is its kind's
    direction and something of its own; its cells vary around that. `scene` seeds the kinds, so that galleries and
    queries of one scene share them.
    """
    kinds = scene.standard_normal((PROTOTYPES, channels), np.float32)
    weight = 1 / np.arange(1, PROTOTYPES + 1)
    weight /= weight.sum()
    frames = np.empty((n, CELLS, channels), np.float16)
    for i in range(n):
        things = kinds[rng.choice(PROTOTYPES, KINDS_A_FRAME, p=weight)]
        things = things + 0.6 * rng.standard_normal(things.shape, np.float32)
        cells = things[np.sort(rng.integers(0, KINDS_A_FRAME, CELLS))]
        frames[i] = matching.unit(cells + 0.5 * rng.standard_normal(cells.shape, np.float32))
    return frames


def real(limit: int = 150) -> tuple[np.ndarray | None, str]:
    """Return [n, h, w, C] float16 features of real images of one size by the exported network; or None and why not."""
    network = roots.default() / "model_repository" / "feature_extractor" / "1" / "model.onnx"
    data = Path(os.environ.get("SLUICE_DATA", ROOT.parent / "shared" / "data"))
    folder = data / "camvid" / "images"
    if not network.exists():
        return None, "model_repository/feature_extractor/1/model.onnx is missing; run: make export"
    pictures = sorted(folder.glob("*.*"))
    if not pictures:
        return None, "there are no pictures in camvid/images of the data folder; set SLUICE_DATA"
    import onnxruntime

    from sluice import images

    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    frames: dict[tuple[int, ...], list[np.ndarray]] = {}
    step = max(1, len(pictures) // limit)
    for path in pictures[::step][:limit]:
        canvas, _ = images.read(path.read_bytes())
        features = np.asarray(session.run(None, {name: canvas[None]})[0][0], np.float16)
        frames.setdefault(features.shape, []).append(features)
    return np.stack(max(frames.values(), key=len)), ""


def window(frame: np.ndarray, side: int, rng: np.random.Generator) -> matching.Templates:
    """Return a template of side x side cells somewhere on one frame [h, w, C]."""
    h, w, _ = frame.shape
    y, x = rng.integers(0, h - side + 1), rng.integers(0, w - side + 1)
    return matching.stack([matching.template(frame, (y, y + side, x, x + side))], cells=[h * w])


def block(features: np.ndarray) -> engine.Block:
    """Return a block of the gallery that holds these frames, [n, P, C] float16."""
    codes = engine.quantise(features)
    return engine.Block(codes.codes, codes.scale, codes.error, features)


def template(frame: np.ndarray, cells: int) -> matching.Templates:
    """Return a template of `cells` neighbouring cells of one frame [P, C]."""
    start = (len(frame) - cells) // 2
    return matching.stack([matching.unit(frame[start : start + cells])], cells=[len(frame)])
