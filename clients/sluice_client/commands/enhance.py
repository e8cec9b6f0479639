"""Remove codec artefacts from a video or from images, enlarge them, or both.

examples:
  sluice enhance in.mp4 --to 1440p --out out.mp4          larger, coarse video repaired before; audio copied
  sluice enhance in.mp4 --out out.mp4                     artefacts removed, same size
  sluice enhance in.mp4 --to 2x --do upscale --mode clean --out out.mp4
  sluice enhance frames/ photo.jpg --to 1.5x --out better/          one PNG per image
  sluice enhance in.mp4 --to 1080p --out out.mp4 --compare page.html

--to is 1440p (pixels of the shorter side), 2560x1440, or 4x, 3x, 2x, 1.5x, 1.33x; without it the size stays. Whether a
file is a video or an image is told by its content, not by its name. Time stamps, range, matrix and display aspect of a
video stay; sound that the new file cannot hold becomes AAC. The finished part of a video is kept beside --out
(.NAME.journal) until the whole is finished, and the same command goes on from there. An image's colour profile and
alpha channel stay.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from ..client import Sluice
from ..errors import InvalidRequest
from ..files import whole_files
from ..files.content import PICTURE, VIDEO, kind
from ..files.image_files import ENDINGS
from ..terminal import enhance_pictures, enhance_videos
from ..terminal.console import Console
from ..verbs import enhance
from ..video.writer import CONTAINERS, PRESETS

PLACE = 53
LOCAL = False
STOPPED = "stopped. The finished part is kept; the same command goes on from there."

_TIMES = {"4x": "4", "3x": "3", "2x": "2", "1.5x": "3/2", "1.33x": "4/3", "1x": "1"}
_TIMES |= {f"x{name[:-1]}": value for name, value in _TIMES.items()}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="one video; or images, and folders of them")
    parser.add_argument(
        "--to",
        type=_to,
        metavar="SIZE",
        help="the new size, such as 1440p, 2560x1440 or 1.5x (default: the size stays)",
    )
    parser.add_argument(
        "--do", choices=enhance.DO, help="remove artefacts, upscale, or both (default: both with --to, else artefacts)"
    )
    parser.add_argument(
        "--mode", choices=enhance.MODES, help="which networks do it (default: auto, by resolution and bitrate)"
    )
    parser.add_argument("--strength", type=float, metavar="F", help="strength of the correction, 0..1 (default 1)")
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="PATH",
        help=f"the file of the new video ({', '.join(CONTAINERS)}); for images a folder, or for one image its "
        "file (.png, .jpg)",
    )
    parser.add_argument(
        "--track", type=int, metavar="N", help="in a file with several videos, FFmpeg's number of the stream, from 0 on"
    )
    parser.add_argument(
        "--crf",
        type=int,
        default=18,
        metavar="N",
        help="constant rate factor of the new video, 0..51; less is better and larger (default 18)",
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default="fast", help="preset of the new video's encoder (default fast)"
    )
    parser.add_argument(
        "--format", choices=("png", "jpeg"), help="format of new images (default: png, or the ending of --out)"
    )
    parser.add_argument(
        "--compare", metavar="FILE", help="write a page that compares before and after (HTML, one file)"
    )
    parser.add_argument("--restart", action="store_true", help="throw the finished part of an earlier run away")


def _to(text: str) -> dict[str, Any]:
    """Return the value of --to: {"scale": text}, {"short": pixels} or {"size": (width, height)}."""
    if text in _TIMES:
        return {"scale": _TIMES[text]}
    if short := re.fullmatch(r"([1-9]\d{0,4})p", text):
        return {"short": int(short[1])}
    if size := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text):
        return {"size": (int(size[1]), int(size[2]))}
    raise argparse.ArgumentTypeError(
        f"a size such as 1440p, 2560x1440, 4x, 3x, 2x, 1.5x or 1.33x was expected, got {text!r}"
    )


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    paths = [Path(path) for path in args.paths]
    videos = [path for path in paths if _video(path)]
    if videos and len(paths) > 1:
        raise InvalidRequest(
            f"One video at a time, and no images with it; got {len(paths)} paths, {videos[0]} is a video."
        )
    if not 0 <= args.crf <= 51:
        raise InvalidRequest(f"--crf must lie in 0..51; got {args.crf}.")
    if args.track is not None and not videos:
        raise InvalidRequest("--track is for a video; there is none.")
    if args.compare:
        whole_files.place(Path(args.compare), "--compare")
    options = {"do": args.do or ("both" if args.to else "artefacts"), "mode": args.mode, "strength": args.strength}
    options = {name: value for name, value in options.items() if value is not None}
    if videos:
        return enhance_videos.run(args, options, console, client)
    return enhance_pictures.run(args, options, console, client)


def _video(path: Path) -> bool:
    """Return whether a file is a video, by its content. FFmpeg tries an unknown file, unless its name is an image's."""
    if path.is_dir():
        return False
    found = kind(path)
    return found == VIDEO or (found != PICTURE and path.suffix.lower() not in ENDINGS)
