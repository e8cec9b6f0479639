"""Reads the two data sets of the active-learning benchmark, and checks that nothing of a test is ever learned from.

    real       The shipped detector meets CamVid's third drive, 0006R0, of which it has seen nothing: other roads, other
               light. Pool: most of the drive; test: two stretches. There is one frame per second of one drive, and
               neighbouring frames look alike, so six frames hold less than six different ones would.
    generated  A detector that has learned from CamVid's two training drives and from scenes by day alone meets scenes
               of other streets, a third each by day, at dusk and by night, drawn without preference for a class.

No frame of a pool or a test was among those that a start learned from. All strategies and seeds share a data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.mixtures import average_precision
from export.training import camvid
from export.training.camvid import Frame
from scenes import TIMES, render

NAMES = ("real", "generated")
TESTED = ((25, 42), (75, 93))  # frames of drive 0006R0 that judge, in whole stretches, because neighbours look alike
LABELS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")
FIRST_SEED = {
    "start": 8_500_000_000,
    "pool": 9_000_000_000,
    "test": 9_500_000_000,
}  # the seeds of all trainings and of the other benchmarks are smaller


@dataclass(frozen=True)
class Sizes:
    """start, pool, test: scenes of each. every: one in so many of CamVid's frames is used."""

    start: int = 80
    pool: int = 90
    test: int = 60
    every: int = 1


@dataclass(frozen=True)
class DataSet:
    """pool: frames that may be labelled. test: frames that judge. start and scenes: what the start learned from."""

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
        """Return frames of the pool by name, in the pool's order. Raises KeyError for a name that the pool lacks."""
        known = {frame.name: frame for frame in self.pool}
        wanted = {name: known[name] for name in names}
        return [frame for frame in self.pool if frame.name in wanted]


def check_apart(one: str, these: Sequence[Frame], other: str, those: Sequence[Frame]) -> None:
    """Raise ValueError when two sets of frames share a name or a picture."""
    names = {f.name for f in these} & {f.name for f in those}
    pictures = {f.image.tobytes() for f in these} & {f.image.tobytes() for f in those}
    if names or pictures:
        raise ValueError(
            f"expected {one} and {other} to share no frame, got {len(names)} shared names and {len(pictures)} shared "
            "pictures; choose other drives or seeds"
        )


def read(name: str, camvid_folder: Path, cache: Path, sizes: Sizes) -> DataSet:
    """Read a data set. Its scenes are drawn once and kept in `cache`."""
    known = camvid.read(camvid_folder, camvid.TRAINING_DRIVES)
    if name == "generated":
        day = drawn("start", sizes.start, cache, ("day",))
        pool, test = (drawn(part, getattr(sizes, part), cache, tuple(TIMES)) for part in ("pool", "test"))
        return DataSet(name, tuple(pool), tuple(test), tuple(day), tuple(known[:: sizes.every]))
    start, _ = camvid.split(known)  # as the shipped detector was trained
    new = camvid.read(camvid_folder, (camvid.EVALUATION_DRIVE,))
    tested = [any(first <= i < end for first, end in TESTED) for i in range(len(new))]
    pool, test = ([f for f, t in zip(new, tested, strict=True) if t == wanted] for wanted in (False, True))
    return DataSet(name, tuple(pool[:: sizes.every]), tuple(test[:: sizes.every]), tuple(start[:: sizes.every]))


def drawn(part: str, count: int, cache: Path, times: Sequence[str]) -> list[Frame]:
    """Return scenes of consecutive seeds from `FIRST_SEED[part]` as frames. Each takes half a second unless it is in
    `cache`."""
    path = cache / f"scenes_{part}_{'_'.join(times)}_{count}.npz"
    if not path.exists():
        seeds = range(FIRST_SEED[part], FIRST_SEED[part] + count)
        made = [render(seed, size=(480, 360), time_of_day=times[seed % len(times)]) for seed in seeds]
        part_of = path.with_suffix(".new.npz")
        np.savez_compressed(
            part_of, images=np.stack([s.image for s in made]), labels=np.stack([s.labels for s in made])
        )
        part_of.replace(path)
    with np.load(path) as stored:
        pairs = zip(stored["images"], stored["labels"], strict=True)
        return [Frame(f"{part}_{i}", "scenes", image, labels) for i, (image, labels) in enumerate(pairs)]


def objects(frames: Sequence[Frame]) -> list[int]:
    """Return how many objects of each of `LABELS` the frames show, without those that the judge ignores."""
    truth = [average_precision.truth_of(frame.labels) for frame in frames]
    return [int(sum(((t.classes == c) & ~t.ignored).sum() for t in truth)) for c in range(len(LABELS))]
