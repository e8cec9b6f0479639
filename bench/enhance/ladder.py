"""Scores the shipped networks of `enhance` on a ladder of rates, in whole groups of pictures of two encoders.

Clips of 250 frames, one intra frame each, 448 x 320 where the source is large enough: windows that pan and zoom over
real frames of CamVid's drive 0006R0, which no training saw (the drive itself has one frame per second, too few to be
video), and over photographs of LIVE1, which none saw either; a generated drive; and the ten frames of park_joy to and
fro. Encoders: x264 and x265, preset medium, 25 frames per second, CRF 18 to 38. For the upscalers the clip is coded at
half its size by x264. Frames stay YUV 4:2:0 from the encoder to the scores: PSNR, SSIM, MS-SSIM of luma.

A clip's gain is that of frames spread evenly over the group. The intra frame, one of 250, has a column of its own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sluice_client.video.reader import AS_H264

from bench import report
from bench.enhance.films import LENGTH, Film, films, pan
from bench.enhance.networks import BICUBIC, REMOVERS, UPSCALERS, Contender, Session
from bench.enhance.quality import AUTO, COLUMNS, DECODED, Decibels, Scores, row, scores
from export.video.codec import Coded, Coding, code, to_picture
from export.video.data import read_film, smaller
from sluice.methods.video.modes import choose, level, share
from sluice.methods.video.planes import Picture

CRFS = (18, 23, 28, 33, 38)
ENCODERS = {"x264": 1.0, "x265": AS_H264["hevc"]}  # and by how much the client multiplies their bits for mode auto
SIZE = (320, 448)  # of a clip: (H, W)
SCORED = 50  # one frame in so many is scored, because neighbours score alike
PARK = "park_joy_480x270_10f.y4m"
LOST = -0.02  # dB that mode auto may take from a clip
COARSE, GAINED = (33, 38), 0.2  # CRFs at which mode auto has to gain so many dB, the mean over clips
DOUBLED = {f"{AUTO}, to enlarge": "upscale", f"{AUTO}, to repair and enlarge": "both"}
UNIT = (1280 * 720) ** 0.75 * 30 / 1e6  # Mbit/s of 720p30 at level 1


class Rung(NamedTuple):
    """A clip at one rate. bits: per frame. found: scores of the frames spread over the group, by network.

    intra: scores of the first frame, by network. way: the networks of mode auto.
    """

    clip: str
    crf: int
    pixels: int
    bits: float
    found: dict[str, list[Scores]]
    intra: dict[str, Scores]
    way: tuple[str, ...]

    def gain(self, name: str) -> float:
        """Return the dB of a network over the decoded frame, the mean over the frames spread over the group."""
        pairs = zip(self.found[name], self.found[DECODED], strict=True)
        return float(np.mean([one.psnr - other.psnr for one, other in pairs]))


def clips(data: Path, count: int, quick: bool) -> Iterator[Film]:
    """Yield the clips for the data that is there. count: pans over the drive. quick: True takes few and small ones."""
    from bench.drives import drive

    length, size = (3, (96, 128)) if quick else (LENGTH, SIZE)
    for i, frame in enumerate(drive(data / "camvid", 1 if quick else count)):
        yield Film(frame.name, "unseen drive", pan(frame.image, size, length, np.random.default_rng(i)))
    park = data / "video" / PARK
    if park.is_file():
        yield Film("park_joy", "real film", to_and_fro(read_film(park), length, size if quick else None))
    yield from films(1, data / "restoration" / "live1", 1 if quick else 2, length, size)


def to_and_fro(frames: Sequence[np.ndarray], length: int, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """Yield `length` frames of a short film that is played forward and backward. size: (H, W) of its corner; None for
    all of it, in multiples of four."""
    height, width = size or tuple(side // 4 * 4 for side in frames[0].shape[:2])
    there_and_back = [*frames, *frames[-2:0:-1]]
    return (image[:height, :width] for image in itertools.islice(itertools.cycle(there_and_back), length))


def scored(coded: Coded, clean: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    """Return the frames that are scored beside the originals: the intra frame, then those spread over the group."""
    apart = min(SCORED, len(clean) // 2 or 1)
    pairs = list(zip(coded.frames, clean, strict=True))
    return [pairs[0], *pairs[max(apart // 2, 1) :: apart]]


def climbed(film: str, clean: Sequence[Picture], sessions: Mapping[str, Session], encoder: str, crf: int) -> Rung:
    """Score the removers, and what mode auto does, on one clip at one rate."""
    coded = code(clean, Coding(crf=crf, preset="medium", encoder=encoder, group=len(clean)))
    height, width = clean[0].height, clean[0].width
    at = level(width, height, ENCODERS[encoder] * coded.bits)
    way = choose("auto", "artefacts", at)
    found: dict[str, list[Scores]] = defaultdict(list)
    for seen, wanted in scored(coded, clean):
        found[DECODED].append(scores(seen.luma, wanted.luma))
        for model, session in sessions.items():
            found[model].append(scores(session.planes(seen.luma, seen.chroma)[0], wanted.luma))
        if set(way) <= set(sessions):
            found[AUTO].append(scores(through(way, sessions, seen, at).luma, wanted.luma))
    spread = {name: values[1:] for name, values in found.items()}
    return Rung(film, crf, height * width, coded.bits, spread, {name: one[0] for name, one in found.items()}, way)


def removing(rungs: Sequence[Rung], encoder: str) -> None:
    """Print the scores of the removers at each rate, then clip by clip, and the claims about mode auto."""
    rows: list[list[object]] = []
    for crf in CRFS:
        some = [rung for rung in rungs if rung.crf == crf]
        bits = round(float(np.mean([rung.bits / rung.pixels for rung in some])), 3)
        for name in some[0].found:
            values, before = ([one for rung in some for one in rung.found[key]] for key in (name, DECODED))
            rows.append([crf, bits, *row(name, values, before)])
    count = len({rung.clip for rung in rungs})
    report.table(f"{encoder}, {count} clips: artefacts removed", ["CRF", "bits per pixel", *COLUMNS], rows)
    if AUTO not in rungs[0].found:
        return
    rows = []
    for rung in rungs:
        mbit = round(UNIT * rung.bits / rung.pixels**0.75, 2)
        decoded = Decibels(np.mean([one.psnr for one in rung.found[DECODED]]))
        intra = Decibels(rung.intra[AUTO].psnr - rung.intra[DECODED].psnr)
        spread = [Decibels(rung.gain(name)) for name in rung.found if name != DECODED]
        rows.append([rung.clip, rung.crf, mbit, decoded, ", ".join(rung.way) or "nothing", intra, *spread])
    names = [f"{name}, P and B frames" for name in rungs[0].found if name != DECODED]
    columns = ["clip", "CRF", "Mbit/s of 720p30", "decoded, dB", "auto takes", "auto, I frame", *names]
    report.table(f"{encoder}, clip by clip: dB over the decoded frame", columns, rows)
    gains = [rung.gain(AUTO) for rung in rungs]
    claim = f"least gain of mode auto over the decoded frames of any clip, {encoder}, CRF {CRFS[0]} to {CRFS[-1]}"
    report.claim(claim, Decibels(min(gains)), LOST, min(gains) >= LOST, "dB", (min(gains), max(gains)))
    for crf in COARSE:
        gains = [rung.gain(AUTO) for rung in rungs if rung.crf == crf]
        value = float(np.mean(gains))
        claim = f"gain of mode auto, mean over clips, {encoder}, CRF {crf}"
        report.claim(claim, Decibels(value), GAINED, value >= GAINED, "dB", (min(gains), max(gains)))


def enlarging(ours: Mapping[str, Contender], clips: Sequence[Sequence[np.ndarray]], bicubic: Session) -> None:
    """Print the scores of the upscalers at each rate, coded at half the size, with those of mode auto that enlarges
    alone and that repairs as well; gains are over bicubic. clips: RGB frames."""
    sessions = {model: one.session(1) for model, one in ours.items()}
    rows: list[list[object]] = []
    for crf in CRFS:
        found: dict[str, list[Scores]] = defaultdict(list)
        spent = []
        for clip in clips:
            low = [to_picture(smaller(image, 2)) for image in clip]
            coded = code(low, Coding(crf=crf, preset="medium", group=len(low)))
            spent.append(coded.bits / (low[0].height * low[0].width))
            at = level(low[0].width, low[0].height, coded.bits)
            for seen, wanted in scored(coded, [to_picture(image) for image in clip])[1:]:
                found[BICUBIC].append(scores(bicubic.planes(seen.luma, seen.chroma)[0], wanted.luma))
                for model in UPSCALERS:
                    if model in sessions:
                        found[model].append(scores(through((model,), sessions, seen, at).luma, wanted.luma))
                for title, do in DOUBLED.items():
                    way = choose("auto", do, at)[:-1]  # the last would double again
                    if set(way) <= set(sessions):
                        found[title].append(scores(through(way, sessions, seen, at).luma, wanted.luma))
        bits = round(float(np.mean(spent)), 3)
        rows += [[crf, bits, *row(name, values, found[BICUBIC])] for name, values in found.items()]
    title = f"x264, {len(clips)} clips: coded at half the size, then doubled"
    report.table(title, ["CRF", "bits per pixel", *COLUMNS], rows)


def through(way: Sequence[str], sessions: Mapping[str, Session], seen: Picture, at: float) -> Picture:
    """Pass a frame through networks as mode auto does. at: its level."""
    for model in way:
        strength = share(at) if model in REMOVERS else 1.0
        luma, chroma = sessions[model].planes(seen.luma, seen.chroma, strength=strength)
        seen = Picture(luma, chroma, seen.colour)
    return seen


def measure(ours: Mapping[str, Contender], data: Path, bicubic: Session, count: int, quick: bool) -> list[str]:
    """Print both ladders for the data that is there. Returns the names of what was missing.

    count: pans over the drive. quick: True takes one small clip of each kind.
    """
    sessions = {model: ours[model].session(1) for model in REMOVERS if model in ours}
    rungs: dict[str, list[Rung]] = {encoder: [] for encoder in ENCODERS}
    enlarged = []
    for film in clips(data, count, quick):
        frames = list(film.frames)
        clean = [to_picture(image) for image in frames]
        for encoder, crf in itertools.product(ENCODERS, CRFS):
            rungs[encoder].append(climbed(film.name, clean, sessions, encoder, crf))
        if film.kind == "unseen drive":
            enlarged.append(frames)
        report.say(f"{film.name}, {film.kind}: measured")
    for encoder in ENCODERS:
        removing(rungs[encoder], encoder)
    if enlarged:
        enlarging(ours, enlarged, bicubic)
    return [
        name
        for name, there in (("camvid", bool(enlarged)), (f"video/{PARK}", (data / "video" / PARK).is_file()))
        if not there
    ]
