"""Frames with labels, and what the shipped detector finds in them; kept in a folder, because looking takes minutes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from export.training import camvid
from export.training.camvid import Frame
from scenes import TIMES, render
from sluice import images
from sluice.methods import mixtures
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.options import Options, Reading
from sluice.methods.mixtures.summaries import COLUMNS, FAINT, Detections
from sluice.methods.mixtures.uncertainty import Mixture, mix_class
from sluice.models import object_detector
from sluice.models.uncertainty_aggregator import HEADS
from sluice.server import root as roots
from sluice.versions import network_record, network_version

NETWORK = "mixture_detector"
LEAST = FAINT  # least score of the boxes that are kept
FIRST_SEED = 9_700_000_000  # of the scenes; the seeds of all trainings and of the other benchmarks are others
SETS = {
    "drive": "drive 0006R0, which no network has seen",
    "held out": "held-out stretches of the training drives",
    "scenes": "generated scenes by day, at dusk and by night",
    "dim": "the drive's and the held-out frames, darkened",
}


@dataclass(frozen=True)
class Look:
    """A frame's labels, uint8 [H, W], and what the detector says of the frame.

    found: the boxes with a score of LEAST or more. background: numbers that say how unsure the background is, by name.
    """

    labels: np.ndarray
    found: Detections
    background: dict[str, float]


def frames(name: str, folder: Path, scenes: int) -> Iterator[Frame]:
    """Yield the frames of one of SETS. folder: CamVid's. scenes: how many are generated."""
    if name == "scenes":
        for i in range(scenes):
            scene = render(FIRST_SEED + i, size=(480, 360), time_of_day=tuple(TIMES)[i % len(TIMES)])
            yield Frame(f"scene {i}", "scenes", scene.image, scene.labels)
        return
    new = camvid.read(folder, (camvid.EVALUATION_DRIVE,))
    _, held_out = camvid.split(camvid.read(folder, camvid.TRAINING_DRIVES))
    if name in ("drive", "held out"):
        yield from new if name == "drive" else held_out
    for frame in (*new, *held_out) if name == "dim" else ():
        dark = (255 * (frame.image / 255.0) ** 2.2 * 0.5).astype(np.uint8)
        yield Frame(frame.name, frame.drive, dark, frame.labels)


def looks(name: str, folder: Path, scenes: int, cache: Path) -> list[Look]:
    """Return what the shipped detector sees in a set, from the cache or by looking."""
    repository = roots.default() / "model_repository"
    version = network_version(repository, NETWORK).replace("/", "_")
    path = cache / f"{name.replace(' ', '_')}_{scenes if name == 'scenes' else 'all'}_{version}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        reading = Reading.of_record(network_record(repository, NETWORK)) or Reading()
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = threads.inter_op_num_threads = 1
        network = onnxruntime.InferenceSession(str(repository / NETWORK / "1" / "model.onnx"), threads)
        seen = [_look(network, frame, reading) for frame in frames(name, folder, scenes)]
        part = path.with_suffix(".new.npz")
        np.savez_compressed(
            part,
            labels=np.stack([look.labels for look in seen]),
            counts=np.array([len(look.found) for look in seen]),
            rows=np.concatenate([look.found.as_array() for look in seen]),
            names=np.array(list(seen[0].background)),
            background=np.array([list(look.background.values()) for look in seen]),
        )
        part.replace(path)
    with np.load(path) as stored:
        names, rows = [str(one) for one in stored["names"]], stored["rows"].reshape(-1, COLUMNS)
        parts = np.split(rows, np.cumsum(stored["counts"])[:-1])
        return [
            Look(labels, Detections.from_array(part), dict(zip(names, values.tolist(), strict=True)))
            for labels, part, values in zip(stored["labels"], parts, stored["background"], strict=True)
        ]


def _look(network: onnxruntime.InferenceSession, frame: Frame, reading: Reading) -> Look:
    """Ask the network about one frame, shown to it as the server shows it."""
    file = io.BytesIO()
    Image.fromarray(frame.image).save(file, "PNG")
    canvas, geometry = images.read(file.getvalue(), object_detector.Config())
    outputs = network.run(list(HEADS), {"IMAGE": canvas[None]})
    heads = Heads.of(dict(zip(HEADS, outputs, strict=True)))
    options = Options(min_score=LEAST, object_score=LEAST, **vars(reading))
    variance = None if heads.class_variance is None else heads.class_variance[0]
    mixed = mix_class(heads.class_mean[0], variance, heads.class_weight[0])
    return Look(frame.labels, mixtures.detections(heads, [geometry], options)[0], _background(mixed))


def _background(mixed: Mixture) -> dict[str, float]:
    """Return numbers that say how unsure the background is. mixed: the classes of all priors, as of `mix_class`."""
    mean, aleatoric, epistemic = mixed
    return {
        "greatest epistemic uncertainty of the background": float(epistemic[:, 0].max()),
        "mean epistemic uncertainty of the background": float(epistemic[:, 0].mean()),
        "greatest aleatoric uncertainty of the background": float(aleatoric[:, 0].max()),
        "mean aleatoric uncertainty of the background": float(aleatoric[:, 0].mean()),
        "sum of what is not background": float((1 - mean[:, 0]).sum()),
        "mean entropy of the classes": float(-(mean * np.log(np.maximum(mean, 1e-12))).sum(axis=1).mean()),
    }
