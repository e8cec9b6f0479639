"""Makes the pairs that train the networks of `enhance`: a clean crop, and the same crop as a codec shows it.

Video is coded once, in whole groups of pictures of several encoders, as clips of windows that move over clean frames.
In a short clip the first frame takes most of the bits, and no frame looks as those of real files do. JPEG is coded crop
by crop. Everything depends on the seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from export.training import camvid, dead_leaves
from export.training.crops import generated, recoloured
from export.video.codec import Coding, from_yuv420, jpeg, video
from export.video.motion import moving

SIZE = (128, 192)  # of a coded clip: (H, W)
GROUPS = (25, 50, 100, 250)  # frames of a group of pictures, and so of a clip
KEPT = 8  # frames of a clip to keep: the first, which is coded by itself, and others over the whole group
LEAVES = (360, 480)  # (H, W) of a picture of dead leaves
SHRUNK = 1.8  # clean frames are brought down by up to this before a clip moves over them
SHARES = {"x264": 0.5, "x265": 0.25, "mpeg4": 0.125, "vp9": 0.125}  # of the clips, by encoder
GRID = 4  # crops of coded frames begin at multiples of this, as the verb's tiles do
# Parts of the seed: each makes a stream of random numbers of its own.
CLIPS, BATCHES = 77, 78
PRESETS = ("ultrafast", "veryfast", "medium")
LIVE = 0.4  # share of the clips that are coded as by a camera


@dataclass(frozen=True)
class Damage:
    """The damage to clean pictures. scale: 2 where the network enlarges, otherwise 1.

    zoomed: share of crops that are brought down first, by up to `zoom`, which makes them sharp and less noisy.
    """

    jpeg: tuple[int, int] = (10, 25)  # quality
    crf: tuple[float, float] = (30.0, 42.0)
    bits: tuple[float, float] = (0.02, 0.08)  # per pixel, for the clips that are coded by bitrate
    by_bits: float = 0.25  # share of these clips
    coded: float = 1.0  # share of crops that are coded
    video: float = 0.4  # share of coded crops that are video
    grey: float = 0.3  # share of JPEG crops without colour
    scale: int = 1
    zoom: float = 2.0
    zoomed: float = 0.5


def clean(data: Path | None, scenes: int, cache: Path, dead: int = 0, seed: int = 0) -> list[np.ndarray]:
    """Return clean frames: CamVid's to train on, generated scenes, and dead leaves.

    data: CamVid's folder; None for generated pictures alone. scenes: number of generated scenes, 0 for none. cache:
    file that keeps them. dead: number of pictures of dead leaves, in the colours of all other frames. Raises ValueError
    where there is neither folder nor scene.
    """
    if data is None and not scenes:
        raise ValueError("expected CamVid's folder or generated scenes to learn from, got neither")
    images: list[np.ndarray] = []
    if data is not None:
        images += [frame.image for frame in camvid.split(camvid.read(data, camvid.TRAINING_DRIVES))[0]]
    if scenes:
        images += [frame.image for frame in generated(scenes, cache)]
    return images + dead_leaves.pictures(dead, LEAVES, images, seed)


def read_film(path: Path) -> list[np.ndarray]:
    """Return every frame of a video file as RGB [H, W, 3] uint8."""
    import av

    with av.open(str(path)) as container:
        return [from_yuv420(frame.to_ndarray(format="yuv420p")) for frame in container.decode(video=0)]


def smaller(image: np.ndarray, scale: int) -> np.ndarray:
    """Bring an image down by an antialiased bicubic kernel (a = -1/2), as the usual benchmarks do.

    image: uint8 [H, W, 3]. scale: 1 returns the image itself.
    """
    if scale == 1:
        return image
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Clips:
    """Frames of coded clips at scale s. clean: uint8 [N, s h, s w, 3]; coded: uint8 [N, h, w, 3], the same places."""

    clean: np.ndarray
    coded: np.ndarray


def clips(images: Sequence[np.ndarray], count: int, damage: Damage, seed: int) -> Clips:
    """Code `count` clips of windows over the images, each with settings of its own."""
    kept_clean, kept_coded = [], []
    size = SIZE[0] * damage.scale, SIZE[1] * damage.scale
    large = [image for image in images if image.shape[0] >= size[0] and image.shape[1] >= size[1]]
    for index in range(count):
        rng = np.random.default_rng((seed, CLIPS, index))
        coding = drawn(damage, rng)
        some = [shrunk(large[i], size, rng) for i in rng.integers(len(large), size=2)]
        frames = moving(some, size, coding.group, rng)
        shown = video([smaller(frame, damage.scale) for frame in frames], coding)
        kept = [0, *sorted(rng.choice(np.arange(1, len(frames)), KEPT - 1, replace=False))]
        kept_clean += [frames[i] for i in kept]
        kept_coded += [shown[i] for i in kept]
    return Clips(np.stack(kept_clean), np.stack(kept_coded))


def drawn(damage: Damage, rng: np.random.Generator) -> Coding:
    """Draw the settings of a clip."""
    return Coding(
        crf=float(rng.uniform(*damage.crf)),
        bits=float(np.exp(rng.uniform(*np.log(damage.bits)))) if rng.random() < damage.by_bits else 0.0,
        preset=PRESETS[rng.integers(len(PRESETS))],
        encoder=str(rng.choice(list(SHARES), p=list(SHARES.values()))),
        group=int(rng.choice(GROUPS)),
        live=bool(rng.random() < LIVE),
    )


def shrunk(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return an image, or in half of the cases the image brought down, but never below size (h, w)."""
    least = max(side / whole for side, whole in zip(size, image.shape, strict=False))
    share = max(least, float(np.exp(-rng.uniform(0, np.log(SHRUNK)))))
    if rng.random() < 0.5 or share >= 1:
        return image
    height, width = (max(side, round(whole * share)) for side, whole in zip(size, image.shape, strict=False))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


class Pairs:
    """Endless batches of pairs. images: clean frames. count: clips to code.

    side: of a coded crop, pixels, a multiple of 8. Raises ValueError for other sides.
    """

    def __init__(self, images: Sequence[np.ndarray], damage: Damage, side: int, count: int, seed: int):
        if side % 8 or side > min(SIZE):
            raise ValueError(f"expected crops of a multiple of 8 pixels, at most {min(SIZE)}, got {side}")
        self.images, self.damage, self.side, self.seed = images, damage, side, seed
        self.clips = clips(images, count, damage, seed) if count and damage.video * damage.coded > 0 else None

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the coded crops [B, 3, S, S] and the clean crops [B, 3, s S, s S] of a step, RGB 0..1."""
        pairs = [self.pair(np.random.default_rng((self.seed, BATCHES, step, index))) for index in range(count)]
        coded, wanted = (torch.from_numpy(np.stack(column)) for column in zip(*pairs, strict=True))
        return coded.permute(0, 3, 1, 2).float() / 255, wanted.permute(0, 3, 1, 2).float() / 255

    def pair(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a pair: coded [S, S, 3] and clean [s S, s S, 3], uint8."""
        damage, side = self.damage, self.side
        seen = rng.random() < damage.coded
        if seen and self.clips is not None and rng.random() < damage.video:
            return self._of_clip(rng)
        image = self._crop(rng, side * damage.scale)
        low = smaller(image, damage.scale)
        if not seen:
            return low, image
        quality = int(rng.integers(damage.jpeg[0], damage.jpeg[1] + 1))
        if rng.random() < damage.grey:
            grey = np.asarray(Image.fromarray(image).convert("L"))
            low = jpeg(smaller(grey, damage.scale), quality)
            return np.repeat(low[..., None], 3, axis=2), np.repeat(grey[..., None], 3, axis=2)
        return jpeg(low, quality, subsampling=2 if rng.random() < 0.7 else 0), image

    def _of_clip(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a pair from the coded clips."""
        clips, side, scale = self.clips, self.side, self.damage.scale
        assert clips is not None  # `pair` has asked
        index = rng.integers(len(clips.coded))
        y, x = (int(rng.integers((room - side) // GRID + 1)) * GRID for room in SIZE)
        coded = clips.coded[index, y : y + side, x : x + side]
        wanted = clips.clean[index, y * scale : (y + side) * scale, x * scale : (x + side) * scale]
        return turned(coded, wanted, rng)

    def _crop(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """Draw a clean square of side x side pixels from some frame."""
        image = self.images[rng.integers(len(self.images))]
        most = min(self.damage.zoom, min(image.shape[:2]) / side)
        zoom = float(np.exp(rng.uniform(0, np.log(most)))) if rng.random() < self.damage.zoomed else 1.0
        window = int(side * zoom)
        y, x = (int(rng.integers(room - window + 1)) for room in image.shape[:2])
        picture = image[y : y + window, x : x + window]
        if window != side:
            picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        if rng.random() < 0.5:
            picture = recoloured(picture, rng, 0.5)
        return turned(picture, picture, rng)[0]


def turned(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirror and turn both pictures alike, in one of the eight ways."""
    across, down, swap = rng.random(3) < 0.5
    pair = []
    for x in (a, b):
        x = x[:, ::-1] if across else x
        x = x[::-1] if down else x
        pair.append(np.ascontiguousarray(x.swapaxes(0, 1) if swap else x))
    return pair[0], pair[1]
