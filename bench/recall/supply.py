"""Reads the frames that are searched, and the objects that are pasted into them or asked for."""

from __future__ import annotations

from dataclasses import dataclass

from bench.recall.findings import HELD_OUT, Setting
from export.training import camvid
from export.training.camvid import CutOut, Frame

SIGN, PEDESTRIAN, CAR, BICYCLIST = 6, 9, 8, 10  # CamVid's labels


@dataclass(frozen=True)
class Supply:
    """Frames that lack the class Bicyclist, and objects. No network was trained on any of it, except on `trained`.

    name: of the drive or stretches that are searched. pool: frames that are searched. backgrounds: frames that queries
    are pasted into. objects, trained: riders. decoys: objects of other classes.
    """

    name: str
    pool: list[Frame]
    backgrounds: list[Frame]
    objects: list[CutOut]
    decoys: list[CutOut]
    trained: list[CutOut]


def supply(given: Setting) -> Supply:
    """Read CamVid. The held-out stretches serve as pool and as backgrounds when they are searched."""
    training, held_out = camvid.split(camvid.read(given.camvid, camvid.TRAINING_DRIVES))
    backgrounds = [f for f in held_out if f.lacks(BICYCLIST)]
    name, pool = "the held-out stretches", backgrounds
    if given.drives != HELD_OUT:
        name = camvid.EVALUATION_DRIVE
        pool = [f for f in camvid.read(given.camvid, (name,)) if f.lacks(BICYCLIST)]
    decoys = [o for label in (SIGN, CAR, PEDESTRIAN) for o in camvid.cut_out(held_out, label)]
    objects, trained = camvid.cut_out(held_out, BICYCLIST), camvid.cut_out(training, BICYCLIST)
    return Supply(name, pool, backgrounds, objects, decoys, trained)
