"""The two data sets of the active-learning benchmark, and the rule that nothing of a test is ever learned from.

real:      pool: CamVid's drives 0016E5 and 0001TP, test: drive 0006R0. One frame a second of two drives: neighbours in
           the pool look alike, so twenty frames are fewer than twenty different ones.
generated: pool and test: street scenes of different seeds, each another street, drawn without any wish for a class.

Each begins with what a detector learned from the other world alone: the real one from generated scenes (those that
trainings draw, seeds from 0), the generated one from CamVid's two training drives. So no start has seen a label of its
own pool or test. All strategies and seeds of a data set share that start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.training import camvid, precision
from export.training.camvid import Frame
from export.training.crops import generated

NAMES = ("real", "generated")
LABELS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")
FIRST_SEED = {"pool": 9_000_000_000, "test": 9_500_000_000}  # trainings and the other benchmarks stay below


@dataclass(frozen=True)
class Sizes:
    """How much of everything. start: scenes from which the real data set's start is learned; every: of CamVid's frames
    one in so many is used."""

    start: int = 200
    pool: int = 300
    test: int = 150
    every: int = 1


@dataclass(frozen=True)
class DataSet:
    """pool: frames that may be labelled; test: frames that judge; start: frames that the start was learned from."""

    name: str
    pool: tuple[Frame, ...]
    test: tuple[Frame, ...]
    start: tuple[Frame, ...]

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"expected a data set of {', '.join(NAMES)}, got {self.name!r}")
        for one, other in (("pool", "test"), ("pool", "start"), ("test", "start")):
            check_apart(one, getattr(self, one), other, getattr(self, other))

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
    if name == "real":
        test = camvid.read(camvid_folder, (camvid.EVALUATION_DRIVE,))[:: sizes.every]
        start = generated(sizes.start, cache / f"scenes_start_{sizes.start}.npz")
        return DataSet(name, tuple(training), tuple(test), tuple(start))
    pool, test = (drawn(part, getattr(sizes, part), cache) for part in ("pool", "test"))
    return DataSet(name, tuple(pool), tuple(test), tuple(training))


def drawn(part: str, count: int, cache: Path) -> list[Frame]:
    """Scenes of consecutive seeds from `FIRST_SEED[part]`, as frames; half a second each unless they are in `cache`."""
    path = cache / f"scenes_{part}_{count}.npz"
    if not path.exists():
        from scenes import render

        made = [render(FIRST_SEED[part] + i, size=(480, 360)) for i in range(count)]
        part_of = path.with_suffix(".new.npz")
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
