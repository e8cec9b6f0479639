"""Reads the data of `bench genie_quality`: images that its classifiers learn from, that judge them, and real ones.

digits   The classifier learns from MNIST's training digits and is judged on its test digits. Generated digits are
         compared with test digits, as many of each class.
streets  Crops as the score network is trained on; the classifier tells how much of a crop each of CamVid's 11
         classes covers, and is judged on crops of frames that no network here is trained on. Generated crops are
         compared with other crops of the training frames, because those are what the network should imitate.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from export.genie import data, train_score
from export.training import camvid
from export.training.camvid import Frame
from export.training.crops import generated


@dataclass(frozen=True)
class Data:
    """The images of one model.

    images: uint8 [N, C, S, S]. shares: float32 [N, classes], the share of each class that the classifier should tell
    (digits: 0 and 1). `train` is learned from, `test` judges the classifier, `real` stands for the data.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    real: np.ndarray


@dataclass(frozen=True)
class Sizes:
    """crops: of streets, to learn from. real: images that stand for the data. scenes: generated scenes among the
    streets, as many as the score network's training has."""

    crops: int = 20_000
    real: int = 4000
    scenes: int = train_score.STREET_SCENES


def read(name: str, folder: Path, sizes: Sizes, cache: Path) -> Data:
    """Read the data of a shipped model.

    folder: holds generation/mnist.npz and camvid/. cache: keeps the drawn scenes. Raises FileNotFoundError if files are
    missing.
    """
    return digits(folder, sizes) if name == "digits" else streets(folder, sizes, cache)


def digits(folder: Path, sizes: Sizes) -> Data:
    """Read MNIST."""
    file = folder / "generation" / "mnist.npz"
    train = data.digits(file)
    assert train.labels is not None
    with np.load(file) as stored:
        images, labels = stored["x_test"], stored["y_test"].astype(np.int64)
    edge = (data.SIZE - images.shape[1]) // 2
    test = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))[:, None]
    one = np.eye(10, dtype=np.float32)
    # As many of each class, as the generated digits are asked for.
    each = min(sizes.real // 10, *np.bincount(labels, minlength=10).tolist())
    real = np.stack([test[labels == c][:each] for c in range(10)], axis=1).reshape(-1, *test.shape[1:])
    return Data((train.images.numpy(), one[train.labels.numpy()]), (test, one[labels]), real)


def streets(folder: Path, sizes: Sizes, cache: Path) -> Data:
    """Read crops of CamVid's frames and of generated scenes."""
    frames, held_out = camvid.split(camvid.read(folder / "camvid", camvid.TRAINING_DRIVES))
    extra = scenes(sizes.scenes, cache) if sizes.scenes else []
    rng = np.random.default_rng(1_000_000_000)  # crops that the score network was not trained on
    train = crops(frames, extra, sizes.crops, rng)
    test = crops(held_out, [], sizes.real, rng)
    return Data(train, test, crops(frames, extra, sizes.real, rng)[0])


def scenes(count: int, cache: Path) -> list[Frame]:
    """Return generated street scenes. cache: folder that keeps them."""
    cache.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):  # it prints how many are drawn; stdout is for figures
        return generated(count, cache / f"scenes_{count}.npz")


def crops(
    frames: Sequence[Frame], extra: Sequence[Frame], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut crops as the score network's training does, half of them mirrored, with each class's share of the labelled
    pixels.

    Returns uint8 [count, 3, 32, 32] and float32 [count, 11].
    """
    images: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    while len(images) < count:
        source = extra if extra and rng.random() < 0.2 else frames
        frame = source[rng.integers(len(source))]
        height, width = frame.labels.shape
        side = height * float(np.exp(rng.uniform(np.log(1 / 3), 0)))
        left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
        box, size = (left, top, left + side, top + side), (data.SIZE, data.SIZE)
        image = np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BILINEAR, box))
        labels = np.asarray(Image.fromarray(frame.labels).resize(size, Image.Resampling.NEAREST, box))
        covered = np.bincount(labels.ravel(), minlength=12)[:11].astype(np.float32)
        if covered.sum():
            images.append(image[:, ::-1] if rng.random() < 0.5 else image)
            shares.append(covered / covered.sum())
    return np.stack(images).transpose(0, 3, 1, 2).copy(), np.stack(shares)
