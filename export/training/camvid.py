"""Reads CamVid: frames, dense labels, the objects cut out by their masks, and pasting them elsewhere.

The folder is the one of `../shared/data/camvid` (its README names source and licence: CC BY-NC 4.0, research use).
Boxes are `(x0, y0, x1, y1)` in pixels, x right, y down, the far edges exclusive, so one pixel is `(x, y, x+1, y+1)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
UNLABELLED = 11
OBJECT_CLASSES = (8, 9, 10, 6)  # Car, Pedestrian, Bicyclist, SignSymbol, which the detector has heat maps for
TRAINING_DRIVES = ("0016E5", "0001TP")
EVALUATION_DRIVE = "0006R0"

# Frames of the training drives that no network is trained on, as ranges of their order in time. Variants were chosen on
# them, and the recall benchmark's objects are cut from them. They are whole stretches, since neighbours look alike.
HELD_OUT = {"0001TP": ((25, 33), (52, 62)), "0016E5": ((129, 152), (192, 204))}


@dataclass(frozen=True)
class Frame:
    """A labelled frame. image: [H, W, 3] uint8 RGB; labels: [H, W] uint8, 0..10 classes, 11 unlabelled."""

    name: str
    drive: str
    image: np.ndarray
    labels: np.ndarray

    def lacks(self, label: int) -> bool:
        """Return whether no pixel has this class."""
        return not bool((self.labels == label).any())


@dataclass(frozen=True)
class CutOut:
    """An object cut from its frame. rgb: [h, w, 3] uint8; mask: [h, w] bool; box: in pixels of the frame."""

    frame: str
    drive: str
    label: int
    box: tuple[int, int, int, int]
    rgb: np.ndarray
    mask: np.ndarray

    @property
    def pixels(self) -> int:
        """Return the number of pixels of the mask."""
        return int(self.mask.sum())


def read(folder: str | Path, drives: tuple[str, ...]) -> list[Frame]:
    """Read all frames of some drives, in order of time.

    Raises FileNotFoundError when the folder does not hold CamVid as described above.
    """
    folder = Path(folder)
    frames = []
    for drive in drives:
        paths = sorted((folder / "images").glob(f"{drive}_*.webp"))
        if not paths:
            raise FileNotFoundError(
                f"expected CamVid's images/{drive}_*.webp and labels/ in the data folder, found none; "
                "pass the folder that holds images, labels and classes.txt with --data"
            )
        for path in paths:
            image = np.asarray(Image.open(path).convert("RGB"))
            labels = np.asarray(Image.open(folder / "labels" / f"{path.stem}.png"))
            frames.append(Frame(path.stem, drive, image, labels))
    return frames


def split(frames: list[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Part the frames of the training drives into those to train on and those held out (`HELD_OUT`)."""
    training: list[Frame] = []
    held_out: list[Frame] = []
    for drive in dict.fromkeys(frame.drive for frame in frames):
        ranges = HELD_OUT.get(drive, ())
        for index, frame in enumerate(f for f in frames if f.drive == drive):
            chosen = any(first <= index < end for first, end in ranges)
            (held_out if chosen else training).append(frame)
    return training, held_out


def components(mask: np.ndarray, least: int = 20) -> list[tuple[tuple[int, int, int, int], np.ndarray]]:
    """Find the 8-connected components of a mask.

    mask: [H, W] bool. least: components of fewer pixels are left out.
    Returns (box, mask of the component inside its box [h, w] bool), ordered by first pixel in reading order.
    """
    runs: list[tuple[int, int, int]] = []  # row, first column, end column
    parent: list[int] = []

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above: list[int] = []
    rows = np.flatnonzero(mask.any(axis=1))
    previous = -2
    for y in rows:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], mask[y].astype(np.int8), [0]))))
        here = []
        if y != previous + 1:
            above = []
        for x0, x1 in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
            k = len(runs)
            runs.append((int(y), x0, x1))
            parent.append(k)
            here.append(k)
            for j in above:
                _, a0, a1 = runs[j]
                if a0 <= x1 and x0 <= a1:  # touching at a corner counts: 8-connected
                    a, b = root(j), root(k)
                    parent[max(a, b)] = min(a, b)
        above, previous = here, int(y)
    groups: dict[int, list[int]] = {}
    for k in range(len(runs)):
        groups.setdefault(root(k), []).append(k)
    found = []
    for members in groups.values():
        if sum(runs[k][2] - runs[k][1] for k in members) < least:
            continue
        y0, y1 = min(runs[k][0] for k in members), max(runs[k][0] for k in members) + 1
        x0, x1 = min(runs[k][1] for k in members), max(runs[k][2] for k in members)
        part = np.zeros((y1 - y0, x1 - x0), bool)
        for k in members:
            y, a, b = runs[k]
            part[y - y0, a - x0 : b - x0] = True
        found.append(((x0, y0, x1, y1), part))
    return found


def boxes(labels: np.ndarray, least: int = 20) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Return (class, box) of every object of `OBJECT_CLASSES`. labels: [H, W] uint8. least: as for `components`."""
    return [(label, box) for label in OBJECT_CLASSES for box, _ in components(labels == label, least)]


def cut_out(frames: list[Frame], label: int, least: int = 300, longest: float = 4.0) -> list[CutOut]:
    """Cut the objects of a class out of their frames.

    least: smallest number of mask pixels, so that enlarging shows more than a blur.
    longest: greatest ratio of box sides, which leaves out stripes that an occlusion left over.
    Objects that the frame's border cuts off are left out, since their box is not that of the whole object.
    """
    found = []
    for frame in frames:
        height, width = frame.labels.shape
        for (x0, y0, x1, y1), mask in components(frame.labels == label, least):
            if x0 == 0 or y0 == 0 or x1 == width or y1 == height:
                continue
            if max((x1 - x0) / (y1 - y0), (y1 - y0) / (x1 - x0)) > longest:
                continue
            found.append(
                CutOut(frame.name, frame.drive, label, (x0, y0, x1, y1), frame.image[y0:y1, x0:x1].copy(), mask)
            )
    return found


def size_for_area(shape: tuple[int, int], fraction: float, image: tuple[int, int]) -> tuple[int, int]:
    """Return the size (h, w) in whole pixels at which a box covers a fraction of an image, aspect ratio kept.

    shape: (h, w) of the object. fraction: of the image's area. image: (H, W), to which the size is clipped.
    """
    height, width = shape
    scale = (fraction * image[0] * image[1] / (height * width)) ** 0.5
    return min(image[0], max(2, round(height * scale))), min(image[1], max(2, round(width * scale)))


def paste(
    image: np.ndarray,
    labels: np.ndarray,
    thing: CutOut,
    size: tuple[int, int],
    corner: tuple[int, int],
    flip: bool = False,
) -> None:
    """Paste an object into image and labels, in place.

    image: [H, W, 3] uint8; labels: [H, W] uint8; size: (h, w) of the pasted box, pixels; corner: (x, y), upper left.
    flip: mirror the object. The edge is as soft as resampling makes the mask. A pixel of which the object covers half
    takes the object's label. Raises ValueError where the box does not lie inside the image.
    """
    (h, w), (x, y) = size, corner
    if x < 0 or y < 0 or y + h > image.shape[0] or x + w > image.shape[1]:
        raise ValueError(
            f"expected a box inside the image {image.shape[1]} x {image.shape[0]}, got {w} x {h} at {(x, y)}; "
            "choose another corner"
        )
    # Weighting colour by the mask keeps the old background from bleeding in at the edge.
    opaque = thing.mask.astype(np.float32)
    planes = [Image.fromarray(thing.rgb[..., c] * opaque) for c in range(3)] + [Image.fromarray(opaque)]
    resized = np.stack([np.asarray(p.resize((w, h), Image.Resampling.BILINEAR)) for p in planes], axis=-1)
    if flip:
        resized = resized[:, ::-1]
    alpha = resized[..., 3:].clip(0, 1)
    target = image[y : y + h, x : x + w]
    target[:] = (resized[..., :3] + (1 - alpha) * target + 0.5).clip(0, 255).astype(np.uint8)
    labels[y : y + h, x : x + w][alpha[..., 0] >= 0.5] = thing.label
