"""Pictures with captions: crops of CamVid's frames and of generated scenes, and which concepts each names.

A caption lists what occurs in the crop, not where: no mask leaves this module. A concept that covers less than `least`
of a crop is neither named nor denied. Crop i depends on the seed and i alone, so a stopped training can go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from export.grouping import captions
from export.grouping.scenes import Drawn
from export.training import camvid
from export.training.camvid import Frame
from export.training.crops import recoloured
from scenes import KINDS

# The concepts of kinds of things in generated scenes; all other pixels go by their label.
NAMED = {"truck": 11, "motorcycle": 12, "traffic light": 13}


@dataclass(frozen=True)
class Cropping:
    """The choices of cropping."""

    least_zoom: float = 0.6  # pixels of the crop per pixel of the frame, log-uniform from here
    most_zoom: float = 2.5  # to here
    least: float = 0.02  # share of a crop that a concept must cover to be named
    scenes: float = 0.15  # share of crops from generated scenes
    tries: int = 2  # places drawn per crop; that with the rarest concepts is taken, so that poles and riders are seen
    told: float = 0.1  # share of the generated scenes that are shown whole with their own caption
    timed: float = 0.3  # share of the others whose caption tells the time of day


@dataclass(frozen=True)
class Sample:
    """A picture of T crops in reading order. image: uint8 [S, S, 3]; caption: of the whole picture.

    named: bool [T, C], whether the crop shows the concept. known: bool [T, C], whether that is certain either way.
    """

    image: np.ndarray
    caption: str
    named: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class Source:
    """A frame or scene. concepts: uint8 [H, W], index into `captions.CONCEPTS`, 255 where there is none.

    caption, time: of a generated scene, empty for frames.
    """

    image: Image.Image
    concepts: np.ndarray
    caption: str = ""
    time: str = ""

    @property
    def drawn(self) -> bool:
        """Return whether this is a generated scene."""
        return bool(self.caption)


def real(frame: Frame) -> Source:
    """Return a frame of CamVid as a source."""
    return Source(
        Image.fromarray(frame.image), np.where(frame.labels < captions.COMMON, frame.labels, 255).astype(np.uint8)
    )


def generated(scene: Drawn) -> Source:
    """Return a generated scene as a source."""
    concepts = np.where(scene.labels < captions.COMMON, scene.labels, 255).astype(np.uint8)
    for kind, concept in NAMED.items():
        concepts[scene.kinds == 1 + KINDS.index(kind)] = concept
    return Source(Image.fromarray(scene.image), concepts, scene.caption, scene.time)


def sources(data: Path | None, extra: list[Drawn]) -> tuple[list[Frame], list[Drawn], dict[str, list[Frame]]]:
    """Return CamVid's frames to train on, the scenes to train on, and the frames to judge on, by a description.

    data: CamVid's folder; None for scenes alone, a tenth of which is held out to judge on. extra: all scenes.
    """
    if data is None:
        unseen = [Frame(f"scene_{i}", "scenes", s.image, s.labels) for i, s in enumerate(extra) if i % 10 == 0]
        return [], [s for i, s in enumerate(extra) if i % 10], {"generated scenes, unseen": unseen}
    training, held_out = camvid.split(camvid.read(data, camvid.TRAINING_DRIVES))
    unseen = camvid.read(data, (camvid.EVALUATION_DRIVE,))
    return training, extra, {"held-out stretches of the training drives": held_out, "drive 0006R0, unseen": unseen}


class Captioned:
    """Endless crops with captions."""

    def __init__(self, frames: list[Source], scenes: list[Source], cropping: Cropping, seed: int):
        if not frames and not scenes:
            raise ValueError("expected frames or scenes to crop, got neither")
        self.frames, self.scenes, self.cropping, self.seed = frames, scenes, cropping, seed
        count = np.zeros(len(captions.CONCEPTS))
        for source in frames + scenes:
            count += shares(source.concepts) > 0.002
        self.rarity = 1 / np.maximum(count, 1)

    def sample(self, index: int, side: int, tiles: int = 1) -> Sample:
        """Return picture `index` of side x side pixels and tiles x tiles crops, whose caption names what they show."""
        rng = np.random.default_rng((self.seed, index))
        c = self.cropping
        made = [self.crop(rng, side // tiles, tiles == 1) for _ in range(tiles * tiles)]
        named, known = np.stack([m[1] for m in made]), np.stack([m[2] for m in made])
        rows = [np.concatenate([m[0] for m in made[i : i + tiles]], axis=1) for i in range(0, len(made), tiles)]
        source = made[0][3]
        if isinstance(source, str):
            text = source
        else:
            time = source.time if tiles == 1 and rng.random() < c.timed else ""
            text = captions.caption(np.flatnonzero(named.any(axis=0)).tolist(), rng, time)
        return Sample(np.concatenate(rows), text, named, known)

    def crop(
        self, rng: np.random.Generator, side: int, whole: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Source | str]:
        """Draw a crop: image, named and known concepts [C], and its source, or its caption for a scene shown whole.

        whole: whether a generated scene may be shown whole, with its own caption.
        """
        c = self.cropping
        while True:
            drawn = bool(self.scenes) and (not self.frames or rng.random() < c.scenes)
            pool = self.scenes if drawn else self.frames
            source = pool[rng.integers(len(pool))]
            height, width = source.concepts.shape
            if drawn and whole and rng.random() < c.told:
                named = np.zeros(len(captions.CONCEPTS), bool)
                named[captions.nouns(source.caption)] = True
                return picture(source.image, (0, 0, width, height), side, rng), named, named.copy(), source.caption
            best: tuple[float, tuple[int, int, int, int], np.ndarray] | None = None
            for _ in range(c.tries):
                box = place(rng, c, side, height, width)
                share = shares(source.concepts[box[1] : box[3], box[0] : box[2]])
                rare = float(self.rarity @ (share > c.least)) * rng.uniform(0.5, 1)
                if (share > c.least).any() and (best is None or rare > best[0]):
                    best = rare, box, share
            if best is None:  # no place shows a concept
                continue
            _, box, share = best
            named = share > c.least
            known = named | (share == 0)
            known[captions.COMMON :] &= drawn
            return picture(source.image, box, side, rng), named, known, source


def shares(concepts: np.ndarray) -> np.ndarray:
    """Return the share of a crop that each concept covers, [C], from every third pixel of every third row."""
    seen = concepts[::3, ::3]
    return np.bincount(seen.ravel(), minlength=256)[: len(captions.CONCEPTS)] / seen.size


def place(rng: np.random.Generator, c: Cropping, side: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Draw a box to crop for a picture of side x side pixels: x0, y0, x1, y1, about square."""
    zoom = float(np.exp(rng.uniform(np.log(c.least_zoom), np.log(c.most_zoom))))
    stretch = float(np.exp(rng.uniform(-0.2, 0.2)))
    w, h = (min(limit, round(side / zoom * s)) for limit, s in ((width, stretch), (height, 1 / stretch)))
    x, y = rng.integers(width - w + 1), rng.integers(height - h + 1)
    return int(x), int(y), int(x + w), int(y + h)


def picture(image: Image.Image, box: tuple[int, int, int, int], side: int, rng: np.random.Generator) -> np.ndarray:
    """Scale a crop to side x side, mirror it at random, and change its light, uint8 [side, side, 3]."""
    scaled = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box))
    if rng.random() < 0.5:
        scaled = scaled[:, ::-1]
    return recoloured(scaled, rng, 0.6)
