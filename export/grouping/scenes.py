"""Generates street scenes for the training of `grouping` once and keeps them, with kinds of things and captions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenes import KINDS, Scene, render

REQUIRED: tuple[set[str], ...] = ({"bicycle"}, {"motorcycle"}, {"pedestrian"}, {"truck"})
SIZE = (480, 360)  # (W, H), that of CamVid's frames here


@dataclass(frozen=True)
class Drawn:
    """A generated scene. image: uint8 [H, W, 3] RGB; labels: uint8 [H, W], CamVid's classes.

    kinds: uint8 [H, W], 1 plus the index into `scenes.KINDS`, 0 for no thing. caption, time ("day", "dusk", "night"):
    of the whole scene.
    """

    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray
    caption: str
    time: str


def drawn(count: int, cache: Path) -> list[Drawn]:
    """Return the first `count` scenes from a file. A missing file, or one that holds fewer, is written anew.

    Generating a scene takes a second or two.
    """
    if not cache.exists() or _length(cache) < count:
        _draw(count, cache)
    with np.load(cache) as stored:
        parts = [stored[name][:count] for name in ("images", "labels", "kinds", "captions", "times")]
    return [Drawn(i, labels, k, str(c), str(t)) for i, labels, k, c, t in zip(*parts, strict=True)]


def _length(cache: Path) -> int:
    """Return the number of scenes in a file, 0 for a file of another form."""
    with np.load(cache) as stored:
        return len(stored["times"]) if "times" in stored else 0


def _draw(count: int, cache: Path) -> None:
    """Generate `count` scenes and write them to a file."""
    found: list[Scene] = []
    seed = 0
    while len(found) < count:
        with suppress(ValueError):  # this street has no room for the required thing
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
    """Return `Drawn.kinds` of a scene."""
    table = np.zeros(len(scene.instances) + 1, np.uint8)
    for instance in scene.instances:
        table[instance.number] = 1 + KINDS.index(instance.kind)
    return table[scene.instance_map]
