"""An H.264 ladder for the shipped networks of `enhance`: PSNR, SSIM, MS-SSIM of luma against the bits that were spent.

Clips: windows of 448 x 320 pixels that pan, and now and then zoom, for 8 frames over real frames of CamVid's drive
0006R0, which no training saw (the drive itself has a frame a second, too few to be a video); and the film park_joy,
480 x 270, 10 frames, which all trainings saw. x264, preset medium, 25 frames a second. For the upscalers the clip is
coded at half its size. Frames stay YUV 4:2:0 from the encoder to the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import report
from bench.enhance_networks import BICUBIC, COLOUR, REMOVERS, UPSCALERS, Contender, Session
from bench.enhance_quality import AUTO, COLUMNS, DECODED, Scores, row, scores
from export.training.video_data import moving, smaller
from sluice.video import Picture
from sluice.video_modes import choose

CRFS = (18, 23, 28, 33, 38)
SIZE, LENGTH = (320, 448), 8  # of a clip: (H, W), frames
SCORED = 3  # every third frame is scored: neighbours say the same
FILM = "park_joy_480x270_10f.y4m"
RATE = 25  # frames a second


class Coded(NamedTuple):
    """A clip after the codec. bits: a frame, on average."""

    frames: list[Picture]
    bits: float


def panned(images: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """A clip over each image, always the same."""
    return [moving(image, SIZE, LENGTH, np.random.default_rng(i)) for i, image in enumerate(images)]


def planes(image: np.ndarray) -> Picture:
    """RGB [H, W, 3] of even size as 4:2:0."""
    height, width = image.shape[:2]
    return Picture.of_planes(Picture.of_rgb(image).planes(COLOUR), height, width, COLOUR)


def x264(frames: Sequence[Picture], crf: int) -> Coded:
    """The frames as a decoder shows them."""
    import av
    from av.video.frame import VideoFrame

    height, width = frames[0].height, frames[0].width
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.options = {"preset": "medium", "threads": "1", "crf": str(crf)}
    packets = []
    for i, picture in enumerate(frames):
        frame = VideoFrame.from_ndarray(picture.planes(COLOUR).reshape(-1, width), format="yuv420p")
        frame.pts = i
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    shown = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    decoded = [frame.to_ndarray(format="yuv420p").reshape(-1) for frame in shown]
    bits = 8 * sum(packet.size for packet in packets) / len(frames)
    return Coded([Picture.of_planes(one, height, width, COLOUR) for one in decoded], bits)


def removing(ours: Mapping[str, Contender], clips: Sequence[Sequence[np.ndarray]], title: str) -> None:
    """Print what the removers do at each rung. clips: RGB frames."""
    sessions = {model: ours[model].session(1) for model in REMOVERS if model in ours}
    rows = []
    for crf in CRFS:
        found: dict[str, list[Scores]] = {}
        spent = []
        for clip in clips:
            clean = [planes(image) for image in clip]
            coded = x264(clean, crf)
            spent.append(coded.bits / (clean[0].height * clean[0].width))
            for seen, wanted in list(zip(coded.frames, clean, strict=True))[::SCORED]:
                _add(found, DECODED, scores(seen.luma, wanted.luma))
                _networks(found, sessions, seen, wanted, coded.bits)
        rows += [
            [crf, round(float(np.mean(spent)), 3), *row(name, values, found[DECODED])] for name, values in found.items()
        ]
    report.table(f"H.264, {title}: artefacts removed", ["CRF", "bits a pixel", *COLUMNS], rows)


def enlarging(
    ours: Mapping[str, Contender], clips: Sequence[Sequence[np.ndarray]], title: str, bicubic: Session
) -> None:
    """Print what the upscalers do at each rung, coded at half the size; gains are over bicubic. clips: RGB frames."""
    sessions = {model: ours[model].session(1) for model in UPSCALERS if model in ours}
    rows = []
    for crf in CRFS:
        found: dict[str, list[Scores]] = {}
        spent = []
        for clip in clips:
            coded = x264([planes(smaller(image, 2)) for image in clip], crf)
            spent.append(coded.bits / (coded.frames[0].height * coded.frames[0].width))
            for seen, image in list(zip(coded.frames, clip, strict=True))[::SCORED]:
                wanted = planes(image)
                _add(found, BICUBIC, scores(bicubic.planes(seen.luma, seen.chroma)[0], wanted.luma))
                _networks(found, sessions, seen, wanted, coded.bits)
        rows += [
            [crf, round(float(np.mean(spent)), 3), *row(name, values, found[BICUBIC])] for name, values in found.items()
        ]
    report.table(f"H.264, {title}: coded at half the size, then doubled", ["CRF", "bits a pixel", *COLUMNS], rows)


def _add(found: dict[str, list[Scores]], name: str, value: Scores) -> None:
    found.setdefault(name, []).append(value)


def _networks(
    found: dict[str, list[Scores]], sessions: Mapping[str, Session], seen: Picture, wanted: Picture, bits: float
) -> None:
    """Add the scores of each network, and of the one that mode auto takes."""
    for model, session in sessions.items():
        _add(found, model, scores(session.planes(seen.luma, seen.chroma)[0], wanted.luma))
    chosen = choose("auto", seen.width, seen.height, bits)
    if len(sessions) < 2:
        return
    if UPSCALERS[0] in sessions:
        taken = f"frame_upscaler_{chosen.upscaler}"
    else:
        taken = f"artifact_remover_{chosen.remover}" if chosen.remover else DECODED
    _add(found, AUTO, found[taken][-1])


def measure(ours: Mapping[str, Contender], data: Path, bicubic: Session, count: int, quick: bool) -> list[str]:
    """Print both ladders for what is in the data folder; returns what was missing. count: clips of the drive.

    quick: one small clip of each.
    """
    from bench.miou_frames import drive

    missing = []
    frames = drive(data / "camvid", 1 if quick else count)
    if frames:
        clips = [small(clip, quick) for clip in panned([frame.image for frame in frames])]
        title = f"{len(clips)} clips panned over frames of CamVid's drive 0006R0"
        removing(ours, clips, title)
        enlarging(ours, clips, title, bicubic)
    else:
        missing.append("camvid")
    film = data / "video" / FILM
    if film.is_file():
        from export.training.video_data import read_film

        clip = small(read_film(film), quick)
        height, width = (side // 4 * 4 for side in clip[0].shape[:2])  # half of it is even, too
        clip = [image[:height, :width] for image in clip]
        title = f"park_joy, {len(clip)} frames that training saw"
        removing(ours, [clip], title)
        enlarging(ours, [clip], title, bicubic)
    else:
        missing.append(f"video/{FILM}")
    return missing


def small(clip: Sequence[np.ndarray], quick: bool) -> list[np.ndarray]:
    """The clip, or a corner of its first frames."""
    return [image[:96, :128] for image in clip[:2]] if quick else list(clip)
