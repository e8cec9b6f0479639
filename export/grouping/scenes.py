"""Generated street scenes for the training of `grouping`, with what captions are made from, drawn once and kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenes import KINDS, Scene, render

REQUIRED: tuple[set[str], ...] = ({"bicycle"}, {"motorcycle"}, {"pedestrian"}, {"truck"})
SIZE = (480, 360)  # CamVid's here


@dataclass(frozen=True)
class Drawn:
    """One scene. image: uint8 [H, W, 3] RGB; labels: uint8 [H, W], CamVid's classes; kinds: uint8 [H, W], 0 or one more
    than the index into `scenes.KINDS`; caption, time ("day", "dusk", "night"): of the whole scene."""

    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray
    caption: str
    time: str


def drawn(count: int, cache: Path) -> list[Drawn]:
    """The first `count` scenes; a file that holds fewer is written again. Drawing one takes a second or two."""
    if not cache.exists() or _length(cache) < count:
        _draw(count, cache)
    with np.load(cache) as stored:
        parts = [stored[name][:count] for name in ("images", "labels", "kinds", "captions", "times")]
    return [Drawn(i, labels, k, str(c), str(t)) for i, labels, k, c, t in zip(*parts, strict=True)]


def _length(cache: Path) -> int:
    with np.load(cache) as stored:
        return len(stored["times"]) if "times" in stored else 0


def _draw(count: int, cache: Path) -> None:
    found: list[Scene] = []
    seed = 0
    while len(found) < count:
        with suppress(ValueError):  # this street has no room for what is asked
            found.append(render(seed, size=SIZE, require=REQUIRED[seed % len(REQUIRED)], distance=(5.0, 30.0)))
        seed += 1
        if seed % 20 == 0:
            print(f"scenes {len(found)}/{count}", flush=True)
    part = cache.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        images=np.stack([s.image for s in found]),
        labels=np.stack([s.labels for s in found]),
        kinds=np.stack([_kinds(s) for s in found]),
        captions=np.array([s.caption for s in found]),
        times=np.array([s.time_of_day for s in found]),
    )
    part.replace(cache)


def _kinds(scene: Scene) -> np.ndarray:
    table = np.zeros(len(scene.instances) + 1, np.uint8)
    for instance in scene.instances:
        table[instance.number] = 1 + KINDS.index(instance.kind)
    return table[scene.instance_map]
