"""Writes a drive as JPEG files and a `frames.jsonl` that says what the frames show: `python -m scenes`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image

from scenes.driving import Frame, drive
from scenes.scene import TIMES


def record(frame: Frame, file: str) -> dict:
    """Return what `frames.jsonl` says about a frame. Boxes are x0, y0, x1, y1 in pixels."""
    boxes = [
        {"kind": i.kind, "box": list(i.box), "area": i.area, "visible": round(i.visible, 3), "clear": i.clear}
        for i in frame.scene.instances
    ]
    height, width = frame.scene.labels.shape
    return {
        "id": frame.id, "drive": frame.drive, "camera": frame.camera, "time": frame.time,
        "tags": list(frame.tags), "file": file, "width": width, "height": height, "boxes": boxes,
        "caption": frame.scene.caption,
    }  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    """Read a size WxH from the command line."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 640x480; got {text!r}") from None
    return width, height


def _progress(done: int, total: int) -> None:
    """Print how many frames are done."""
    if sys.stderr.isatty() or done == total:
        filled = 30 * done // total
        end = "\n" if done == total else ""
        print(f"\r  [{'#' * filled}{'.' * (30 - filled)}] {done}/{total} frames", end=end, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Write the drive that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m scenes", description="Write a drive of generated street scenes.")
    parser.add_argument("--out", type=Path, required=True, help="folder for JPEG files and frames.jsonl")
    parser.add_argument("--frames", type=int, default=60, help="how many pictures (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same drive (default %(default)s)")
    parser.add_argument(
        "--size", type=_size, default=(640, 480), metavar="WxH", help="size of the pictures in pixels (default 640x480)"
    )
    parser.add_argument(
        "--drive", metavar="NAME", help="name of the drive, the first part of every id (default driveSEED)"
    )
    parser.add_argument("--camera", default="front", help="name of the camera (default %(default)s)")
    parser.add_argument("--time-of-day", choices=TIMES, help="time of day (default: chosen by the seed)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between pictures (default %(default)s)")
    parser.add_argument("--quality", type=int, default=92, help="quality of the JPEG files (default %(default)s)")
    options = parser.parse_args(arguments)
    try:
        frames = drive(
            options.seed, options.frames, options.size,
            name=options.drive, camera=options.camera, time_of_day=options.time_of_day, interval=options.interval,
        )  # fmt: skip
        options.out.mkdir(parents=True, exist_ok=True)
        with open(options.out / "frames.jsonl", "w", encoding="utf-8") as listing:
            for done, frame in enumerate(frames, 1):
                file = f"{frame.id}.jpg"
                Image.fromarray(frame.scene.image).save(options.out / file, quality=options.quality, subsampling=0)
                listing.write(json.dumps(record(frame, file)) + "\n")
                _progress(done, options.frames)
    except (ValueError, OSError) as error:
        print(f"python -m scenes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
