"""Take codec artefacts out of a video or of pictures, make them larger, or both.

examples:
  sluice enhance in.mp4 --to 1440p --out out.mp4          artefacts removed, then larger; audio copied
  sluice enhance in.mp4 --out out.mp4                     artefacts removed, same size
  sluice enhance in.mp4 --to 2x --do upscale --mode clean --out out.mp4
  sluice enhance frames/ photo.jpg --to 1.5x --out better/          one PNG each
  sluice enhance in.mp4 --to 1080p --out out.mp4 --compare page.html

--to is 1440p (pixels of the shorter side), 2560x1440, or 2x, 1.5x, 1.33x; without it the size stays. What a file is,
its content says and not its name. Time stamps, range and matrix of a video stay, and so does its display aspect; sound
that the new file cannot hold becomes AAC. What is finished of a video is kept beside --out (.NAME.journal) until all
is: the same command goes on from there. A picture's colour profile and alpha channel stay.
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

_TIMES = {"2x": "2", "1.5x": "3/2", "1.33x": "4/3", "1x": "1"}
_TIMES |= {f"x{name[:-1]}": value for name, value in _TIMES.items()}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="one video; or images, and folders of them")
    parser.add_argument("--to", type=_to, metavar="SIZE", help="such as 1440p, 2560x1440 or 1.5x (default: as it is)")
    parser.add_argument("--do", choices=enhance.DO, help="default: both with --to, else artefacts")
    parser.add_argument("--mode", choices=enhance.MODES, help="default auto: from resolution and bitrate")
    parser.add_argument("--strength", type=float, metavar="F", help="0..1 (default 1)")
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="PATH",
        help=f"the new video ({', '.join(CONTAINERS)}); for images a folder, for one also its file (.png, .jpg)",
    )
    parser.add_argument(
        "--track", type=int, metavar="N", help="of a file with several videos: FFmpeg's number of the stream, from 0"
    )
    parser.add_argument("--crf", type=int, default=18, metavar="N", help="of the new video, 0..51 (default 18)")
    parser.add_argument("--preset", choices=PRESETS, default="fast", help="of its encoder (default fast)")
    parser.add_argument("--format", choices=("png", "jpeg"), help="of images (default png, or as --out ends)")
    parser.add_argument("--compare", metavar="FILE", help="write a page to compare before and after (HTML, one file)")
    parser.add_argument("--restart", action="store_true", help="throw away what was finished before")


def _to(text: str) -> dict[str, Any]:
    if text in _TIMES:
        return {"scale": _TIMES[text]}
    if short := re.fullmatch(r"([1-9]\d{0,4})p", text):
        return {"short": int(short[1])}
    if size := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text):
        return {"size": (int(size[1]), int(size[2]))}
    raise argparse.ArgumentTypeError(f"such as 1440p, 2560x1440, 2x, 1.5x or 1.33x was expected, got {text!r}")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
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
    """By content; what its first bytes do not tell is for FFmpeg to try, unless it is named as a picture."""
    if path.is_dir():
        return False
    found = kind(path)
    return found == VIDEO or (found != PICTURE and path.suffix.lower() not in ENDINGS)
