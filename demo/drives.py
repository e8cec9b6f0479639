"""Provides what the demo stores and asks for: two generated drives and a motorcycle of a third, or own pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from sluice_client import NewFrame

import scenes

SIZE = (640, 480)
DRIVES = {1: "day", 2: "dusk"}  # seed -> light
FRAMES = 32  # per drive
WANTED = "motorcycle"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Story:
    """Frames to keep, the object to ask for, and, if known, which frames show it."""

    frames: list[NewFrame]
    query: Path
    rois: list[tuple[float, float, float, float]]
    shows: Callable[[str], bool] | None  # id -> whether the frame shows the object; None if unknown
    title: str


def own(folder: Path, query: Path, rois: list[tuple[float, float, float, float]]) -> Story:
    """Return the caller's pictures. Raises ValueError if there are none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no {', '.join(sorted(SUFFIXES))} file; give a folder of pictures as FRAMES")
    if not query.is_file():
        raise ValueError(f"{query} is not there; give an image file as QUERY")
    frames = [
        NewFrame(path, id=str(path.relative_to(folder)), drive=path.parent.name, time=path.stat().st_mtime)
        for path in files
    ]
    return Story(frames, query, rois, None, f"{query.name} in {folder.name}")


def generated(folder: Path) -> Story:
    """Return two drives under `folder`, drawn once and kept, and a query from neither of them."""
    with ProcessPoolExecutor(2) as pool:
        drives = list(pool.map(_drive, DRIVES, [folder] * len(DRIVES)))
    frames = [frame for part, _ in drives for frame in part]
    shown = {id_: wanted for _, part in drives for id_, wanted in part.items()}
    scene = scenes.render(77, SIZE, time_of_day="day", require={WANTED})
    largest = max((i for i in scene.instances if i.kind == WANTED), key=lambda i: i.area)
    x0, y0, x1, y1 = map(float, largest.box)
    query = folder / "query.jpg"
    query.write_bytes(_jpeg(scene))
    return Story(frames, query, [(x0, y0, x1, y1)], shown.__getitem__, f"A {WANTED} in {len(frames)} frames")


def _drive(seed: int, folder: Path) -> tuple[list[NewFrame], dict[str, bool]]:
    frames: list[NewFrame] = []
    shown: dict[str, bool] = {}
    for frame in scenes.drive(seed, FRAMES, SIZE, time_of_day=DRIVES[seed]):
        path = folder / frame.drive / f"{len(frames):03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(frame.scene))
        frames.append(
            NewFrame(path, id=frame.id, drive=frame.drive, camera=frame.camera, time=frame.time, tags=frame.tags)
        )
        shown[frame.id] = any(i.kind == WANTED and i.clear for i in frame.scene.instances)
    return frames, shown


def _jpeg(scene: scenes.Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
