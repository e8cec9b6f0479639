"""The two data sets of the active-learning benchmark, and the rule that nothing of a test is ever learned from.

real:      a detector meets a new drive. Start: CamVid's drive 0001TP, at dusk, and generated scenes. Pool: drive
           0016E5, by day, without its held-out stretches; test: those stretches. One frame a second of one drive:
           neighbours look alike, so a dozen frames are fewer than a dozen different ones.
generated: a detector meets another light. Start: scenes by day, and CamVid's two training drives. Pool and test: scenes
           of other streets, two in five of them at dusk or by night, drawn without any wish for a class.

No start has seen a frame of its pool or test. All strategies and seeds of a data set share it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.training import camvid, precision
from export.training.camvid import Frame

NAMES = ("real", "generated")
KNOWN_DRIVE, NEW_DRIVE = "0001TP", "0016E5"
LABELS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")
FIRST_SEED = {
    "start": 8_500_000_000,
    "pool": 9_000_000_000,
    "test": 9_500_000_000,
}  # trainings and the other benchmarks stay below


@dataclass(frozen=True)
class Sizes:
    """How much of everything: scenes that a start learns from, scenes of pool and test; every: of CamVid's frames one
    in so many is used."""

    start: int = 80
    pool: int = 180
    test: int = 80
    every: int = 1


@dataclass(frozen=True)
class DataSet:
    """pool: frames that may be labelled; test: frames that judge; start and scenes: what the start was learned from,
    most of it and the smaller share."""

    name: str
    pool: tuple[Frame, ...]
    test: tuple[Frame, ...]
    start: tuple[Frame, ...]
    scenes: tuple[Frame, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"expected a data set of {', '.join(NAMES)}, got {self.name!r}")
        learned = (*self.start, *self.scenes)
        check_apart("pool", self.pool, "test", self.test)
        check_apart("pool", self.pool, "start", learned)
        check_apart("test", self.test, "start", learned)

    def frames(self, names: Sequence[str]) -> list[Frame]:
        """Frames of the pool by name, in the pool's order. Raises KeyError for one that the pool lacks."""
        known = {frame.name: frame for frame in self.pool}
        wanted = {name: known[name] for name in names}
        return [frame for frame in self.pool if frame.name in wanted]


def check_apart(one: str, these: Sequence[Frame], other: str, those: Sequence[Frame]) -> None:
    """Raises ValueError when two sets of frames share a name or a picture."""
    names = {f.name for f in these} & {f.name for f in those}
    pictures = {f.image.tobytes() for f in these} & {f.image.tobytes() for f in those}
    if names or pictures:
        raise ValueError(
            f"expected {one} and {other} to share no frame, got {len(names)} shared names and {len(pictures)} shared "
            "pictures; choose other drives or seeds"
        )


def read(name: str, camvid_folder: Path, cache: Path, sizes: Sizes) -> DataSet:
    """A data set; its scenes are drawn once and kept in `cache`."""
    training = camvid.read(camvid_folder, camvid.TRAINING_DRIVES)[:: sizes.every]
    day = drawn("start", sizes.start, cache, time_of_day="day")
    if name == "generated":
        pool, test = (drawn(part, getattr(sizes, part), cache) for part in ("pool", "test"))
        return DataSet(name, tuple(pool), tuple(test), tuple(day), tuple(training))
    known, new = ([f for f in training if f.drive == drive] for drive in (KNOWN_DRIVE, NEW_DRIVE))
    pool, test = camvid.split(new)
    return DataSet(name, tuple(pool), tuple(test), tuple(known), tuple(day))


def drawn(part: str, count: int, cache: Path, time_of_day: str | None = None) -> list[Frame]:
    """Scenes of consecutive seeds from `FIRST_SEED[part]`, as frames; half a second each unless they are in `cache`."""
    path = cache / f"scenes_{part}_{time_of_day or 'any'}_{count}.npz"
    if not path.exists():
        from scenes import render

        seeds = range(FIRST_SEED[part], FIRST_SEED[part] + count)
        made = [render(seed, size=(480, 360), time_of_day=time_of_day) for seed in seeds]
        part_of = path.with_suffix(f".{os.getpid()}.npz")  # both data sets may draw the start's scenes
        np.savez_compressed(
            part_of, images=np.stack([s.image for s in made]), labels=np.stack([s.labels for s in made])
        )
        part_of.replace(path)
    with np.load(path) as stored:
        pairs = zip(stored["images"], stored["labels"], strict=True)
        return [Frame(f"{part}_{i}", "scenes", image, labels) for i, (image, labels) in enumerate(pairs)]


def objects(frames: Sequence[Frame]) -> list[int]:
    """How many objects of each of `LABELS` the frames show, those left out that count neither way."""
    truth = [precision.truth_of(frame.labels) for frame in frames]
    return [int(sum(((t.classes == c) & ~t.ignored).sum() for t in truth)) for c in range(len(LABELS))]
