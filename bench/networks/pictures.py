"""Gives the frames with the class of every pixel that tasks are measured on: CamVid's unseen drive, or generated."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

import scenes
from bench import drives
from export.training import camvid
from export.training.camvid import CutOut, Frame

SIZE = (480, 360)  # pixels; that of CamVid's frames here
FIRST = 700_000_000  # seed of the first generated scene; those of all trainings are smaller
BICYCLIST = 10
RARE = ("bicycle", "motorcycle")


def frames(data: Path | None, count: int) -> list[Frame]:
    """Return labelled frames that no network was trained on. data: folder that holds camvid/; None generates scenes."""
    if data is not None:
        return drives.drive(data / "camvid", count)
    return [_frame(scenes.render(FIRST + i, SIZE)) for i in range(count)]


def empty(data: Path | None, count: int) -> list[Frame]:
    """Return frames without bicyclists."""
    if data is not None:
        return drives.evenly([f for f in drives.drive(data / "camvid") if f.lacks(BICYCLIST)], count)
    return [_frame(scenes.render(FIRST + 10_000 + i, SIZE, exclude=RARE)) for i in range(count)]


def riders(data: Path | None) -> tuple[list[CutOut], list[CutOut]]:
    """Return bicyclists cut out by their masks, to ask for and to be found; no object is in both lists."""
    if data is not None:
        _, held_out = camvid.split(camvid.read(data / "camvid", camvid.TRAINING_DRIVES))
        found = camvid.cut_out(held_out, BICYCLIST)
        drive = found[0].drive
        return [one for one in found if one.drive == drive], [one for one in found if one.drive != drive]
    drawn: list[Frame] = []
    seed = FIRST + 20_000
    while len(drawn) < 16:
        seed += 1
        try:
            drawn.append(_frame(scenes.render(seed, SIZE, require={"bicycle"}, distance=(5.0, 12.0))))
        except ValueError:  # no room for a bicycle at that distance in this layout
            continue
    found = camvid.cut_out(drawn, BICYCLIST)
    return found[::2], found[1::2]


def photographs(data: Path | None, count: int) -> list[np.ndarray]:
    """Return pictures that nothing was coded in, uint8 [H, W, 3]: LIVE1 where it is there, else generated scenes."""
    folder = None if data is None else data / "restoration" / "live1"
    if folder is not None and folder.is_dir():
        paths = sorted(folder.glob("*.webp"))[:count]
        return [np.asarray(Image.open(path).convert("RGB"))[:320, :320] for path in paths]
    return [scenes.render(FIRST + 30_000 + i, SIZE).image for i in range(count)]


def encoded(image: np.ndarray) -> bytes:
    """Return an image uint8 [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _frame(scene: scenes.Scene) -> Frame:
    return Frame(f"scene {scene.seed}", "generated", scene.image, scene.labels)
