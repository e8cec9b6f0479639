"""Pictures that the score networks are trained on: handwritten digits with their class, and street crops.

Every picture is float32 in [-1, 1]. A step's batch depends on the seed and the step alone, so that a training that was
stopped goes on as if it had not been.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from export.training import camvid
from export.training.camvid import Frame
from export.training.crops import generated

SIZE = 32


@dataclass(frozen=True)
class Pictures:
    """A set of pictures. images: uint8 [N, C, S, S]. labels: int64 [N], None where pictures have no class.

    flip: whether pictures may be mirrored.
    """

    images: Tensor
    labels: Tensor | None
    flip: bool = False

    @property
    def channels(self) -> int:
        """Return C: 1 for grey, 3 for RGB."""
        return self.images.shape[1]

    @property
    def classes(self) -> int:
        """Return the number of classes, 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1


def digits(file: Path) -> Pictures:
    """Read MNIST's 60,000 training digits, padded from 28 to 32 pixels, classes 0 to 9.

    file: `mnist.npz`. Raises FileNotFoundError where it is missing.
    """
    if not file.exists():
        raise FileNotFoundError(f"expected MNIST as an .npz file with x_train and y_train, found no {file.name}")
    with np.load(file) as stored:
        images, labels = stored["x_train"], stored["y_train"]
    edge = (SIZE - images.shape[1]) // 2
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))
    return Pictures(torch.from_numpy(padded[:, None]), torch.from_numpy(labels.astype(np.int64)))


def streets(folder: Path | None, count: int, scenes: int, seed: int, cache: Path) -> Pictures:
    """Cut `count` crops of driving scenes at 32 x 32 from CamVid's training frames and, one in five, generated scenes.

    folder: CamVid's (see `camvid`); None for generated scenes alone. scenes: number of scenes to generate, 0 for none.
    cache: file that keeps them.
    """
    frames = [] if folder is None else camvid.split(camvid.read(folder, camvid.TRAINING_DRIVES))[0]
    extra = generated(scenes, cache) if scenes else []
    rng = np.random.default_rng(seed)
    images = np.stack([crop(frames, extra, rng) for _ in range(count)])
    return Pictures(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), None, flip=True)


def folder(place: Path, size: int, channels: int) -> Pictures:
    """Read a user's own pictures, their middle square scaled to size x size pixels.

    place: folder of pictures, or of one folder per class; classes are in the order of the folders' names.
    channels: 1 (grey) or 3 (RGB). Raises FileNotFoundError where there is no picture.
    """
    classes = sorted(path for path in place.iterdir() if path.is_dir())
    images, labels = [], []
    for label, home in enumerate(classes or [place]):
        for path in sorted(home.iterdir()):
            if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
                picture = Image.open(path).convert("L" if channels == 1 else "RGB")
                square = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
                images.append(np.asarray(square).reshape(size, size, channels))
                labels.append(label)
    if not images:
        raise FileNotFoundError(f"expected pictures (PNG, JPEG, WebP) in {place.name}, found none")
    stacked = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
    return Pictures(stacked, torch.tensor(labels) if classes else None)


def crop(frames: list[Frame], extra: list[Frame], rng: np.random.Generator) -> np.ndarray:
    """Cut a random square of a frame, a third of its height to all of it, and scale it to uint8 [32, 32, 3]."""
    source = extra if not frames or (extra and rng.random() < 0.2) else frames
    image = source[rng.integers(len(source))].image
    height, width = image.shape[:2]
    side = height * float(np.exp(rng.uniform(np.log(1 / 3), 0)))
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box))


def batch(
    pictures: Pictures, count: int, null: int | None, drop: float, random: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Draw `count` pictures, float32 [B, C, S, S] in [-1, 1], and their labels, int64 [B] or None without labels.

    null: the label that stands for no class, None where there is none. drop: share of pictures that are given it.
    """
    chosen = torch.randint(len(pictures.images), (count,), generator=random)
    images = pictures.images[chosen].float() / 127.5 - 1
    if pictures.flip:
        images = torch.where(torch.rand(count, 1, 1, 1, generator=random) < 0.5, images.flip(3), images)
    if pictures.labels is None:
        return images, None
    labels = pictures.labels[chosen]
    if null is not None:
        labels = torch.where(torch.rand(count, generator=random) < drop, null, labels)
    return images, labels
