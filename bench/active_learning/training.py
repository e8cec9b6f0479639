"""Performs one training of the active-learning benchmark, from where the cycle before ended, and keeps its result.

Published work trains anew in every cycle. Here a cycle goes on from the one before, because on two cores a training
from the beginning is too short to use its labels. Every strategy takes the same steps, so one curve can only gain on
another by the choice of frames. Some of the crops show what the start has learned from, so that this is not forgotten.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from bench.active_learning import data
from bench.active_learning.choice import Views, see
from bench.active_learning.data import DataSet, Sizes
from export.files import digest
from export.mixtures import train
from export.mixtures.files import load, save
from export.mixtures.network import Design, MixtureSSD
from export.registry import find

SHIPPED = find("mixture_detector").weights
VERSION = 4  # raise it when anything here changes a result and is not a setting


@dataclass(frozen=True)
class Settings:
    """The settings that all trainings of a run share. Each but the two folders is part of the key under which a result
    is kept."""

    camvid: str
    cache: str
    sizes: Sizes = field(default_factory=Sizes)
    start_steps: int = 1000  # steps of the generated data set's start
    start_batch: int = 16
    steps: int = 150  # steps of each cycle
    batch: int = 8
    crop: int = 256  # side, pixels
    rate: float = 1e-3
    kept: float = 0.4  # share of the crops that show what the start has learned from

    def cycle_recipe(self) -> train.Recipe:
        """Return the recipe of one cycle's training."""
        return train.Recipe(
            crop=self.crop, batch=self.batch, steps=self.steps, rate=self.rate, scenes=self.kept, warm=0.0
        )

    def start_recipe(self) -> train.Recipe:
        """Return the recipe of the start's training."""
        return train.Recipe(crop=self.crop, batch=self.start_batch, steps=self.start_steps, scenes=0.3)

    def key(self, **facts: Any) -> str:
        """Return a name for the result of these settings and facts. The folders are no part of it."""
        known = {"version": VERSION, "sizes": asdict(self.sizes), **facts}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Result:
    """The result of one training.

    mean: average precision at IoU 0.5 over the classes. each: of every class, NaN where the test has none. objects:
    labelled objects per class. views: file of what the detector saw in the pool, None if it did not look.
    """

    mean: float
    each: tuple[float, ...]
    objects: tuple[int, ...]
    seconds: float
    views: str | None


@dataclass(frozen=True)
class Job:
    """One training.

    labelled: names of frames of the pool. score: whether the detector looks at the pool afterwards. before: the
    training that this one goes on from; None for the start. keep: whether another training goes on from this one.
    times: by how much the settings' steps are multiplied.
    """

    data_set: str
    labelled: tuple[str, ...]
    seed: int
    score: bool
    before: Job | None = None
    keep: bool = False
    times: int = 1

    def path(self, settings: Settings) -> Path:
        """Return the file in which the result is kept."""
        facts = {
            "set": self.data_set, "labelled": sorted(self.labelled), "seed": self.seed, "times": self.times,
            "recipe": asdict(settings.cycle_recipe()),
            "before": self.before.path(settings).name if self.before else start_path(self.data_set, settings).name,
        }  # fmt: skip
        return Path(settings.cache) / f"{self.data_set}_{settings.key(**facts)}.json"


def cached(job: Job, settings: Settings) -> Result | None:
    """Return the result of a job that was done before, or None if it is missing or lacks files that are needed."""
    path = job.path(settings)
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    seen = stored["views"] and (path.parent / stored["views"]).exists()
    if (job.score and not seen) or (job.keep and not path.with_suffix(".pt").exists()):
        return None
    return Result(
        stored["mean"],
        tuple(float("nan") if value is None else value for value in stored["each"]),
        tuple(stored["objects"]),
        stored["seconds"],
        stored["views"],
    )


def store(job: Job, settings: Settings, result: Result) -> None:
    """Keep a result. A stopped run leaves either the whole file or nothing."""
    path = job.path(settings)
    each = [None if value != value else value for value in result.each]
    part = path.with_suffix(".new")
    part.write_text(json.dumps({**asdict(result), "each": each, "labelled": sorted(job.labelled), "seed": job.seed}))
    part.replace(path)


@lru_cache(maxsize=2)
def data_set(name: str, settings: Settings) -> DataSet:
    """Read a data set, once per process."""
    return data.read(name, Path(settings.camvid), Path(settings.cache), settings.sizes)


def start_path(name: str, settings: Settings) -> Path:
    """Return the file of the weights that a data set begins with. The name tells which weights they are."""
    key = digest(SHIPPED)[:20] if name == "real" else settings.key(set=name, start=asdict(settings.start_recipe()))
    return Path(settings.cache) / f"start_{name}_{key}.pt"


def begin(name: str, settings: Settings) -> float:
    """Make the start of a data set, once. Returns seconds."""
    torch.set_num_threads(1)
    begun, path = time.monotonic(), start_path(name, settings)
    if not path.exists():
        part = path.with_suffix(".new")
        if name == "real":
            shutil.copy(SHIPPED, part)
        else:
            set_ = data_set(name, settings)
            torch.manual_seed(0)
            recipe = settings.start_recipe()
            run = train.Run(MixtureSSD(Design("small")), list(set_.start), list(set_.scenes), recipe, seed=0)
            save(run.go(), part)
        part.replace(path)
    return time.monotonic() - begun


def perform(job: Job, settings: Settings) -> Result:
    """Train, judge, look at the pool if asked, and keep the result. Without labels the network stays as it is."""
    done = cached(job, settings)
    if done:
        return done
    torch.set_num_threads(1)
    begun, set_ = time.monotonic(), data_set(job.data_set, settings)
    frames = set_.frames(job.labelled)
    path = job.path(settings)
    before = job.before.path(settings).with_suffix(".pt") if job.before else start_path(job.data_set, settings)
    network = load(before)
    if frames:
        recipe = settings.cycle_recipe()
        recipe = replace(recipe, steps=recipe.steps * job.times)
        network = train.Run(network, frames, [*set_.start, *set_.scenes], recipe, job.seed).go()
    if job.keep:
        part = path.with_suffix(".part")
        save(network, part)
        part.replace(path.with_suffix(".pt"))
    mean, each = train.judge(network, set_.test)
    views = None
    if job.score:
        file = path.with_suffix(".npz")
        look(network, set_.pool).save(file)
        views = file.name
    result = Result(float(mean), tuple(each), tuple(data.objects(frames)), time.monotonic() - begun, views)
    store(job, settings, result)
    return result


def look(network: MixtureSSD, pool: Sequence[train.Frame]) -> Views:
    """Return what a detector sees in every frame of a pool."""
    seen = [see(train.heads(network, frame.image), network.design.reading) for frame in pool]
    return Views.of([frame.name for frame in pool], seen)


def facts(name: str, settings: Settings) -> dict[str, Any]:
    """Return facts for the tables: names of the pool, count of test frames, objects per class."""
    set_ = data_set(name, settings)
    return {
        "pool": [frame.name for frame in set_.pool],
        "test": len(set_.test),
        "pool objects": data.objects(set_.pool),
        "test objects": data.objects(set_.test),
    }
