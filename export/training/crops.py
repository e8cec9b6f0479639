"""Endless augmented crops of labelled frames, with objects pasted in and generated scenes among them.

Every detector here is trained on them. Crop i depends on the seed and i alone, so a stopped training can go on.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from export.training import camvid
from export.training.camvid import CutOut, Frame

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Cropping:
    """The choices of cropping, which the trainings' recipes extend."""

    crop: int = 256  # side of a crop, canvas pixels
    canvas: float = 640 / 480  # canvas pixels per CamVid pixel
    smallest: float = 0.55  # random scale, times that of the canvas, from here
    largest: float = 1.4  # to here, log-uniform
    pastes: float = 2.0  # mean number of pasted objects per crop
    stuff: float = 0.15  # share of pastes that are background, so that a pasted edge does not give an object away
    least_area: float = 0.0008  # area of a pasted box as a share of the frame, from here
    most_area: float = 0.08  # to here, log-uniform
    scenes: float = 0.15  # share of crops, and of pasted objects, from generated street scenes
    scene_count: int = 120  # street scenes to generate
    camera: float = 0.0  # share of crops seen through another camera: blurred, noisy, coded by JPEG


PASTE_SHARES = ((10, 0.40), (9, 0.30), (6, 0.18), (8, 0.12))
STUFF = (1, 2, 4, 5, 7)
SCENE_KINDS = ({"bicycle"}, {"motorcycle"}, {"pedestrian"})


class Crops:
    """Endless crops. frames: real frames; extra: generated ones, None for none."""

    def __init__(self, frames: list[Frame], recipe: Cropping, seed: int, extra: list[Frame] | None = None):
        self.frames, self.recipe, self.seed, self.extra = frames, recipe, seed, extra or []
        self.boxes = {f.name: camvid.boxes(f.labels) for f in frames + self.extra}
        self.bank = {label: camvid.cut_out(frames, label, least=150) for label, _ in PASTE_SHARES}
        self.drawn = {label: camvid.cut_out(self.extra, label, least=150) for label, _ in PASTE_SHARES}

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, Box]]]:
        """Return crop `index`: image [S, S, 3] uint8, labels [S, S] uint8, objects as (class, box in crop pixels)."""
        r, rng = self.recipe, np.random.default_rng((self.seed, index))
        generated = bool(self.extra) and rng.random() < r.scenes
        source = self.extra if generated else self.frames
        frame = source[rng.integers(len(source))]
        image, labels = frame.image.copy(), frame.labels.copy()
        objects: list[tuple[int, Box]] = list(self.boxes[frame.name])
        height, width = labels.shape
        scale = r.canvas * 480 / width * float(np.exp(rng.uniform(np.log(r.smallest), np.log(r.largest))))
        side = min(r.crop / scale, height - 1, width - 1)
        left, top = float(rng.uniform(0, width - side)), float(rng.uniform(0, height - side))
        for _ in range(rng.poisson(r.pastes)):
            thing = self.thing(rng)
            area = float(np.exp(rng.uniform(np.log(r.least_area), np.log(r.most_area))))
            h, w = camvid.size_for_area((len(thing.mask), thing.mask.shape[1]), area, (height, width))
            # Riders are few, so two pastes of the same rider should not have the same shape.
            h, w = (int(np.clip(v * np.exp(rng.normal(0, 0.12)), 2, m)) for v, m in ((h, height), (w, width)))
            x = int(np.clip(rng.uniform(left - w / 2, left + side - w / 2), 0, width - w))
            y = int(np.clip(rng.uniform(top - h / 2, top + side - h / 2), 0, height - h))
            thing = replace(thing, rgb=recoloured(thing.rgb, rng, 0.5))
            camvid.paste(image, labels, thing, (h, w), (x, y), flip=bool(rng.random() < 0.5))
            objects = [o for o in objects if not inside(o[1], (x, y, x + w, y + h))]
            if thing.label in camvid.OBJECT_CLASSES:
                objects.append((thing.label, (x, y, x + w, y + h)))
        area_box = (left, top, left + side, top + side)
        flip = bool(rng.random() < 0.5)
        picture = Image.fromarray(image).resize((r.crop, r.crop), Image.Resampling.BILINEAR, area_box)
        classes = Image.fromarray(labels).resize((r.crop, r.crop), Image.Resampling.NEAREST, area_box)
        image, labels = np.asarray(picture), np.asarray(classes)
        zoom = r.crop / side
        placed = [
            (c, ((x0 - left) * zoom, (y0 - top) * zoom, (x1 - left) * zoom, (y1 - top) * zoom))
            for c, (x0, y0, x1, y1) in objects
        ]
        if flip:
            image, labels = image[:, ::-1], labels[:, ::-1]
            placed = [(c, (r.crop - x1, y0, r.crop - x0, y1)) for c, (x0, y0, x1, y1) in placed]
        image = recoloured(image, rng, 1.0)
        if r.camera and rng.random() < r.camera:
            image = through_a_camera(image, rng)
        return image, np.ascontiguousarray(labels), placed

    def thing(self, rng: np.random.Generator) -> CutOut:
        """Draw an object of the frames, or a piece of background with its own label."""
        if rng.random() >= self.recipe.stuff:
            labels, shares = zip(*PASTE_SHARES, strict=True)
            label = int(rng.choice(labels, p=shares))
            drawn = bool(self.drawn[label]) and rng.random() < self.recipe.scenes
            bank = self.drawn[label] if drawn else self.bank[label]
            if bank:  # few frames may show none of a class: background then
                return bank[rng.integers(len(bank))]
        while True:
            frame = self.frames[rng.integers(len(self.frames))]
            h, w = rng.integers(24, 120, 2)
            y, x = rng.integers(0, frame.labels.shape[0] - h), rng.integers(0, frame.labels.shape[1] - w)
            part = frame.labels[y : y + h, x : x + w]
            label = int(rng.choice(STUFF))
            mask = part == label
            if mask.mean() > 0.3:
                return CutOut(
                    frame.name, frame.drive, label, (x, y, x + w, y + h), frame.image[y : y + h, x : x + w], mask
                )


def inside(box: Box, cover: Box) -> bool:
    """Return whether the middle of a box lies under a pasted cover, which hides the object."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return cover[0] <= x < cover[2] and cover[1] <= y < cover[3]


def recoloured(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change gamma, contrast, brightness and tint at random, by a table per channel.

    image: [..., 3] uint8. strength: 0 for no change, 1 for the usual range.
    """
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    gamma = np.exp(strength * rng.normal(0, 0.4))
    gain, lift = np.exp(strength * rng.normal(0, 0.15)), strength * rng.normal(0, 0.05)
    out = np.empty(image.shape, np.uint8)
    for c in range(3):
        tint = np.exp(strength * rng.normal(0, 0.06))
        table = ((ramp**gamma * gain * tint + lift) * 255).clip(0, 255).astype(np.uint8)
        out[..., c] = table[image[..., c]]
    return out


def through_a_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image, add noise and code it by JPEG, each by a random amount. image: [H, W, 3] uint8."""
    picture = Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.5))))
    noise = rng.normal(0, rng.uniform(0, 8), image.shape)
    noisy = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
    coded = io.BytesIO()
    Image.fromarray(noisy).save(coded, "JPEG", quality=int(rng.integers(20, 96)))
    return np.asarray(Image.open(coded))


def sources(data: Path | None, recipe: Cropping, cache: Path) -> tuple[list[Frame], list[Frame]]:
    """Return the frames to crop, and generated ones among them: CamVid's to train on and scenes, or scenes alone.

    data: CamVid's folder; None for generated scenes alone. cache: file that keeps the scenes.
    Raises ValueError where there is neither.
    """
    scenes = generated(recipe.scene_count, cache) if recipe.scenes and recipe.scene_count else []
    if data is not None:
        return camvid.split(camvid.read(data, camvid.TRAINING_DRIVES))[0], scenes
    if not scenes:
        raise ValueError("expected CamVid's folder or generated scenes to learn from, got neither")
    return scenes, []


def generated(count: int, cache: Path) -> list[Frame]:
    """Return generated street scenes as frames, two thirds of them with a rider near enough to learn from.

    cache: file that keeps them, since generating a scene takes a second or two. Seeds run from 0; a seed whose street
    has no room for the rider is skipped.
    """
    if not cache.exists():
        from scenes import render

        images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        seed = 0
        while len(images) < count:
            try:
                scene = render(
                    seed, size=(480, 360), require=SCENE_KINDS[seed % len(SCENE_KINDS)], distance=(5.0, 25.0)
                )
                images.append(scene.image)
                labels.append(scene.labels)
            except ValueError:  # this street has no room for the rider
                pass
            seed += 1
            if seed % 20 == 0:
                print(f"scenes {len(images)}/{count}", flush=True)
        np.savez_compressed(cache, images=np.stack(images), labels=np.stack(labels))
    with np.load(cache) as stored:
        pairs = zip(stored["images"][:count], stored["labels"][:count], strict=True)
        return [Frame(f"scene_{i}", "scenes", image, labels) for i, (image, labels) in enumerate(pairs)]
