"""Scores the shipped networks of `enhance` on an H.264 ladder: PSNR, SSIM, MS-SSIM of luma against the bits spent.

Clips: windows of 448 x 320 pixels that pan and zoom for a whole group of pictures, 250 frames, over real frames of
CamVid's drive 0006R0, which no training saw (the drive itself has one frame per second, too few to be video); and the
film park_joy, 480 x 270, 10 frames, which all trainings saw, too short for mode auto. Codec: x264, preset medium, 25
frames per second. For the upscalers the clip is coded at half its size. Frames stay YUV 4:2:0 from the encoder to the
scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench import report
from bench.enhance.films import LENGTH, pan, planes, x264
from bench.enhance.networks import BICUBIC, REMOVERS, UPSCALERS, Contender, Session
from bench.enhance.quality import AUTO, COLUMNS, DECODED, Scores, row, scores
from export.video.data import smaller
from sluice.methods.video.modes import choose, level
from sluice.methods.video.planes import Picture

CRFS = (18, 23, 28, 33, 38)
SIZE = (320, 448)  # of a clip: (H, W)
SCORED = 50  # one frame in so many is scored, because neighbours score alike
FILM = "park_joy_480x270_10f.y4m"


def panned(images: Sequence[np.ndarray], length: int = LENGTH) -> list[list[np.ndarray]]:
    """Return a clip over each image, the same in every run."""
    return [list(pan(image, SIZE, length, np.random.default_rng(i))) for i, image in enumerate(images)]


def scored(frames: Sequence[Picture], *others: Sequence[Picture]) -> list[tuple[Picture, ...]]:
    """Return the frames that are scored, each beside the same frame of the other clips."""
    apart = min(SCORED, len(frames) // 3 or 1)
    return list(zip(frames, *others, strict=True))[apart // 2 :: apart]


def removing(ours: Mapping[str, Contender], clips: Sequence[Sequence[np.ndarray]], title: str) -> None:
    """Print the scores of the removers at each rung. clips: RGB frames."""
    sessions = {model: ours[model].session(1) for model in REMOVERS if model in ours}
    rows = []
    for crf in CRFS:
        found: dict[str, list[Scores]] = {}
        spent = []
        for clip in clips:
            clean = [planes(image) for image in clip]
            coded = x264(clean, crf)
            spent.append(coded.bits / (clean[0].height * clean[0].width))
            for seen, wanted in scored(coded.frames, clean):
                _add(found, DECODED, scores(seen.luma, wanted.luma))
                _networks(found, sessions, seen, wanted, coded.bits if len(clip) >= LENGTH else None)
        rows += [
            [crf, round(float(np.mean(spent)), 3), *row(name, values, found[DECODED])] for name, values in found.items()
        ]
    report.table(f"H.264, {title}: artefacts removed", ["CRF", "bits per pixel", *COLUMNS], rows)


def enlarging(
    ours: Mapping[str, Contender], clips: Sequence[Sequence[np.ndarray]], title: str, bicubic: Session
) -> None:
    """Print the scores of the upscalers at each rung, coded at half the size; gains are over bicubic. clips: RGB
    frames."""
    sessions = {model: ours[model].session(1) for model in UPSCALERS if model in ours}
    rows = []
    for crf in CRFS:
        found: dict[str, list[Scores]] = {}
        spent = []
        for clip in clips:
            coded = x264([planes(smaller(image, 2)) for image in clip], crf)
            spent.append(coded.bits / (coded.frames[0].height * coded.frames[0].width))
            for seen, wanted in scored(coded.frames, [planes(image) for image in clip]):
                _add(found, BICUBIC, scores(bicubic.planes(seen.luma, seen.chroma)[0], wanted.luma))
                _networks(found, sessions, seen, wanted, coded.bits if len(clip) >= LENGTH else None)
        rows += [
            [crf, round(float(np.mean(spent)), 3), *row(name, values, found[BICUBIC])] for name, values in found.items()
        ]
    report.table(f"H.264, {title}: coded at half the size, then doubled", ["CRF", "bits per pixel", *COLUMNS], rows)


def _add(found: dict[str, list[Scores]], name: str, value: Scores) -> None:
    found.setdefault(name, []).append(value)


def _networks(
    found: dict[str, list[Scores]], sessions: Mapping[str, Session], seen: Picture, wanted: Picture, bits: float | None
) -> None:
    """Add the scores of each network, and of the one that mode auto takes. bits: per frame; None for a clip that is no
    whole group of pictures, where mode auto cannot choose."""
    for model, session in sessions.items():
        _add(found, model, scores(session.planes(seen.luma, seen.chroma)[0], wanted.luma))
    if len(sessions) < 2 or bits is None:
        return
    way = choose("auto", "upscale" if UPSCALERS[0] in sessions else "artefacts", level(seen.width, seen.height, bits))
    _add(found, AUTO, found[way[0] if way else DECODED][-1])


def measure(ours: Mapping[str, Contender], data: Path, bicubic: Session, count: int, quick: bool) -> list[str]:
    """Print both ladders for the data that is there. Returns the names of what was missing.

    count: clips of the drive. quick: True takes one small clip of each.
    """
    from bench.drives import drive

    missing = []
    frames = drive(data / "camvid", 1 if quick else count)
    if frames:
        clips = [small(clip, quick) for clip in panned([frame.image for frame in frames], 2 if quick else LENGTH)]
        title = f"{len(clips)} clips panned over frames of CamVid's drive 0006R0"
        removing(ours, clips, title)
        enlarging(ours, clips, title, bicubic)
    else:
        missing.append("camvid")
    film = data / "video" / FILM
    if film.is_file():
        from export.video.data import read_film

        clip = small(read_film(film), quick)
        height, width = (side // 4 * 4 for side in clip[0].shape[:2])  # half of each side is even, too
        clip = [image[:height, :width] for image in clip]
        title = f"park_joy, {len(clip)} frames that training saw"
        removing(ours, [clip], title)
        enlarging(ours, [clip], title, bicubic)
    else:
        missing.append(f"video/{FILM}")
    return missing


def small(clip: Sequence[np.ndarray], quick: bool) -> list[np.ndarray]:
    """Return the clip, or when `quick` a corner of its first two frames."""
    return [image[:96, :128] for image in clip[:2]] if quick else list(clip)
