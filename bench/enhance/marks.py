"""Finds the rates at which one network of `enhance` overtakes another, and which order of two is best: PSNR of luma.

Every way that the verb could take is tried on the same frames: nothing, the weak and the strong remover, both
upscalers, repaired before and after, once and twice. Clips are whole groups of pictures (`bench.enhance.films`). Video
coded at 320 x 180 is compared at 320 x 180, and after doubling at 640 x 360; video coded at 160 x 90 is doubled twice.
Stills are photographs as JPEG, and the same at half their size.

A mark is set where it costs least. Below the mark one way is taken, above it another; the cost is how much more the
better of the two would have gained, averaged over each kind of clip, then over the kinds. Rates are given as Mbit/s of
720p with 30 frames per second.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench import report
from bench.enhance.films import Film, films, x264
from bench.enhance.networks import Contender, Session
from bench.enhance.quality import Decibels, photographs
from export.video import judge
from export.video.codec import Coded, to_picture
from export.video.data import smaller
from sluice.methods.video.modes import COARSE, COARSE_STILL, GOOD, MENDED, MENDED_STILL, STILL, level
from sluice.methods.video.planes import Picture

DRIVES, PANS = 3, 5
CRFS = (18, 22, 26, 30, 34, 38)
QUALITIES = (5, 10, 20, 40, 60, 75, 85, 92, 97)  # of JPEG
LONG = CRFS[1::2]  # rates at which the slow ways are tried as well
SAMPLED = 50  # one frame in so many is scored
REMOVERS, UPSCALERS = ("weak", "strong"), ("clean", "lossy")
MODELS = {name: f"artifact_remover_{name}" for name in REMOVERS} | {n: f"frame_upscaler_{n}" for n in UPSCALERS}
Way = tuple[str, ...]  # short names of networks, in their order

SAME: list[Way] = [(), ("weak",), ("strong",)]
DOUBLED: list[Way] = [(*before, up) for before in SAME for up in UPSCALERS]
AFTER: list[Way] = [(up, *after) for after in SAME[1:] for up in UPSCALERS]
TWICE: list[Way] = [(*a, *ups) for a in SAME for ups in itertools.product(UPSCALERS, UPSCALERS)]


UNIT = (1280 * 720) ** 0.75 * 30 / 1e6  # Mbit/s of 720p30 at level 1
BANDS = (0.0, COARSE * UNIT, MENDED * UNIT, GOOD * UNIT, 2 * GOOD * UNIT, float("inf"))


class Mark(NamedTuple):
    """Below it one way, above it the other. used: the level that mode auto uses for video, None if mode auto does not
    choose between these. still: that for stills, None for the same."""

    title: str
    below: Way
    above: Way
    used: float | None
    still: float | None = None


MARKS = (
    Mark("artefacts: strong, weak", ("strong",), ("weak",), COARSE, COARSE_STILL),
    Mark("artefacts: weak, nothing", ("weak",), (), GOOD),
    Mark("upscale: lossy, clean", ("lossy",), ("clean",), GOOD),
    Mark("both: strong and lossy, weak and lossy", ("strong", "lossy"), ("weak", "lossy"), COARSE, COARSE_STILL),
    Mark("both: weak and lossy, lossy alone", ("weak", "lossy"), ("lossy",), MENDED, MENDED_STILL),
    Mark("both: weak and clean, lossy alone", ("weak", "clean"), ("lossy",), None),
    Mark("after the weak remover: lossy, clean", ("weak", "lossy"), ("weak", "clean"), None),
    Mark("after the strong remover: lossy, clean", ("strong", "lossy"), ("strong", "clean"), None),
)


class Rung(NamedTuple):
    """A clip at one rate. spent: its level. found: PSNR, dB, of each sampled frame, by way."""

    film: str
    kind: str
    coded: int  # lines
    shown: int  # lines of the picture that it is compared with
    crf: int
    spent: float
    found: Mapping[Way, list[float]]


def climbed(film: Film, sessions: Mapping[str, Session], crfs: Sequence[int] = CRFS) -> list[Rung]:
    """Return all rungs of one film. sessions: by the networks' short names."""
    frames = list(film.frames)
    clean = {1: [to_picture(image) for image in frames]} | {
        scale: [to_picture(smaller(image, scale)) for image in frames] for scale in (2, 4)
    }
    rungs = []
    for crf in crfs:
        # By scale of the coded clip: the scales of the clean clips that it is compared with, and the ways to get there.
        work: dict[int, list[tuple[int, list[Way]]]] = {2: [(2, SAME), (1, DOUBLED)]}
        if crf in LONG:
            work = {2: [(2, SAME), (1, DOUBLED + AFTER)], 1: [(1, SAME)], 4: [(1, TWICE)]}
        for scale, comparisons in work.items():
            coded = x264(clean[scale], crf)
            height = coded.frames[0].height
            spent = level(coded.frames[0].width, height, coded.bits)
            for across, ways in comparisons:
                found = gone(coded, clean[across], sessions, ways)
                rungs.append(Rung(film.name, film.kind, height, clean[across][0].height, crf, spent, found))
    return rungs


def gone(
    coded: Coded, clean: Sequence[Picture], sessions: Mapping[str, Session], ways: Sequence[Way], apart: int = SAMPLED
) -> dict[Way, list[float]]:
    """Return the PSNR of each way, dB, on one frame in every `apart`."""
    found: dict[Way, list[float]] = {way: [] for way in ways}
    for i in range(min(apart, len(clean)) // 2, len(clean), apart):
        made: dict[Way, Picture] = {(): coded.frames[i]}
        for way in ways:
            for end in range(1, len(way) + 1):
                if way[:end] not in made:
                    before = made[way[: end - 1]]
                    luma, chroma = sessions[way[end - 1]].planes(before.luma, before.chroma)
                    made[way[:end]] = Picture(luma, chroma, before.colour)
            found[way].append(judge.psnr(made[way].luma.astype(float), clean[i].luma.astype(float)))
    return found


def stills(
    images: Iterable[np.ndarray], sessions: Mapping[str, Session], qualities: Sequence[int] = QUALITIES
) -> Iterator[Rung]:
    """Yield photographs as JPEG, which need `STILL` times the bits, at their coded size and doubled."""
    for i, image in enumerate(images):
        height, width = (side // 4 * 4 for side in image.shape[:2])
        whole = image[:height, :width]
        half = smaller(whole, 2)
        for quality, (wanted, ways) in itertools.product(qualities, ((half, SAME), (whole, DOUBLED))):
            file = io.BytesIO()
            Image.fromarray(half).save(file, "JPEG", quality=quality, subsampling="4:2:0")
            seen = to_picture(np.asarray(Image.open(file).convert("RGB")))
            bits = 8.0 * len(file.getvalue())
            found = gone(Coded([seen], ["I"], bits), [to_picture(wanted)], sessions, ways, 1)
            spent = level(half.shape[1], half.shape[0], bits, still=True)
            yield Rung(f"photograph {i}", "still", half.shape[0], wanted.shape[0], quality, spent, found)


def measure(ours: Mapping[str, Contender], folder: Path, quick: bool) -> list[str]:
    """Print gains by rate, and the marks. Returns the names of what was missing.

    folder: of photographs. quick: True takes one clip of each kind, few frames and rates.
    """
    missing = [model for model in MODELS.values() if model not in ours]
    if missing:
        return missing
    sessions = {name: ours[model].session(1) for name, model in MODELS.items()}
    rungs: list[Rung] = []
    crfs: Sequence[int] = CRFS[1:2] if quick else CRFS
    qualities: Sequence[int] = QUALITIES[::4] if quick else QUALITIES
    clips = films(1, folder / "live1", 1, 3, (96, 160)) if quick else films(DRIVES, folder / "live1", PANS)
    for film in clips:
        rungs += climbed(film, sessions, crfs)
        report.say(f"{film.name}: {len(rungs)} measured")
    pictures = photographs(folder / "live1", quick)[::3] if (folder / "live1").is_dir() else []
    rungs += stills(pictures, sessions, qualities)
    tell(rungs)
    return [] if pictures else ["restoration/live1"]


def tell(rungs: Sequence[Rung]) -> None:
    """Print the tables."""
    same = [rung for rung in rungs if rung.coded == rung.shown]
    twice = [rung for rung in rungs if rung.coded * 2 == rung.shown]
    four = [rung for rung in rungs if rung.coded * 4 == rung.shown]
    gains("artefacts removed, over nothing done", same, SAME, ())
    gains("doubled, over the upscaler for clean input", twice, DOUBLED, ("clean",))
    gains("repaired after it was doubled, over the upscaler for clean input", twice, AFTER, ("clean",))
    gains("doubled twice, over the upscaler for clean input twice", four, TWICE, ("clean", "clean"))
    rows = []
    for mark in MARKS:
        for kinds in (("drive", "pan"), ("still",)):
            some = [rung for rung in (same if mark.above in SAME else twice) if rung.kind in kinds]
            if some:
                least, low, high = cheapest(some, mark.below, mark.above)
                at = mark.used if mark.still is None or kinds != ("still",) else mark.still
                used = "" if at is None else round(at * UNIT, 2)
                costs = "" if at is None else Decibels(cost(some, mark.below, mark.above, at))
                between = round(low * UNIT, 2), round(high * UNIT, 2), Decibels(least)
                rows.append([mark.title, " and ".join(kinds), *between, used, costs])
    title = f"Marks, Mbit/s of 720p30 (stills: bits over {STILL:g}): below it the first way, above it the second"
    report.table(title, ["mark", "clips", "from", "to", "costs, dB", "in use", "which costs, dB"], rows)


def gains(title: str, rungs: Sequence[Rung], ways: Sequence[Way], over: Way) -> None:
    """Print the gain of each way over one of them, dB, by kind of clip and by rate."""
    rows = []
    for kind, (low, high) in itertools.product(("drive", "pan", "still"), itertools.pairwise(BANDS)):
        some = [
            rung for rung in rungs if rung.kind == kind and low <= rung.spent * UNIT < high and ways[-1] in rung.found
        ]
        if some:
            means = [np.mean([np.mean(rung.found[way]) - np.mean(rung.found[over]) for rung in some]) for way in ways]
            rows.append([kind, f"{low:.2g} to {high:.2g}", len(some), *map(Decibels, means)])
    names = [", ".join(way) or "nothing" for way in ways]
    report.table(f"{title}, dB", ["clips", "Mbit/s of 720p30", "clips and rates", *names], rows)


def cost(rungs: Sequence[Rung], below: Way, above: Way, mark: float) -> float:
    """Return how much more the better of two ways would have gained than the one that a mark chooses, dB: the mean over
    the kinds of clips."""
    lost: dict[str, list[float]] = {}
    for rung in rungs:
        ones = {way: float(np.mean(rung.found[way])) for way in (below, above)}
        taken = below if rung.spent < mark else above
        lost.setdefault(rung.kind, []).append(max(ones.values()) - ones[taken])
    return float(np.mean([np.mean(values) for values in lost.values()]))


def cheapest(rungs: Sequence[Rung], below: Way, above: Way) -> tuple[float, float, float]:
    """Return the least cost of a mark, dB, and the least and greatest mark, levels, that cost at most 0.005 dB more."""
    levels = np.geomspace(0.2, 10, 157)
    costs = np.array([cost(rungs, below, above, mark) for mark in levels])
    good = levels[costs <= costs.min() + 0.005]
    return float(costs.min()), float(good.min()), float(good.max())
