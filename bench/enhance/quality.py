"""Scores how near the shipped networks of `enhance` come to the originals of LIVE1 and Set5: PSNR, SSIM, MS-SSIM.

As in the literature: luma of BT.601 in 16..235; LIVE1 is coded as JPEG, once its luma alone (grey) and once in colour
with chroma at half size; Set5 is reduced to half its size as MATLAB's imresize does, and two pixels at each edge are
left out. SSIM and MS-SSIM have a window of 11 pixels (sigma 1.5).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from bench import report
from bench.enhance import realesr
from bench.enhance.networks import BICUBIC, REMOVERS, UPSCALERS, Contender, Session
from export.video import judge
from export.video.judge import luma, psnr
from export.video.losses import gaussian, ms_ssim, similarity
from sluice.methods.video.modes import choose, level

DECODED, AUTO = "decoded", "as mode auto chooses"
QUALITIES = (10, 20, 30, 40)
MARKED = (10, 20)  # JPEG qualities that the claims are about
REMOVED, ENLARGED = 0.9, 2.5  # dB that the claims promise
LARGEST = 0.25e6  # parameters that the upscaler may have
RESAMPLES = 1000
CLAIM_LIVE1 = f"{REMOVERS[1]} above the decoded JPEG, LIVE1 luma, quality {{}}"
CLAIM_SET5 = f"{UPSCALERS[0]} above bicubic, Set5 x2 luma, at most {LARGEST / 1e6:g} M parameters"
# PSNR of luma as published. LIVE1, grey, JPEG 10 to 40: FBCNN's table (Jiang et al., 2021); AR-CNN has a network per
# quality. Set5 x2: FSRCNN (Dong et al., 2016).
DECODED_LIVE1 = (27.77, 30.07, 31.41, 32.35)
PUBLISHED_LIVE1 = {"AR-CNN": (28.96, 31.29, 32.67, 33.61), "DnCNN-3": (29.19, 31.59, 32.98, 33.96)}
BICUBIC_SET5 = 33.66
PUBLISHED_SET5 = {"FSRCNN(56,12,4)": 36.94}
PUBLISHED = {*PUBLISHED_LIVE1, *PUBLISHED_SET5}  # peers whose quality is not measured here


class Decibels(float):
    """A number printed with two digits after the point, as in published tables."""

    def __format__(self, spec: str) -> str:
        return super().__format__(".2f")


class Share(float):
    """An SSIM, printed with four digits after the point."""

    def __format__(self, spec: str) -> str:
        return super().__format__(".4f")


class Scores(NamedTuple):
    """The scores of one picture, or means. psnr: dB. ssim, ms_ssim: at most 1."""

    psnr: float
    ssim: float
    ms_ssim: float


def scores(found: np.ndarray, wanted: np.ndarray, border: int = 0) -> Scores:
    """Score a luma against the wanted one, both [H, W], 0..255; `border` pixels at each edge are left out."""
    inside = slice(border, -border or None)
    a, b = (torch.from_numpy(np.asarray(x, np.float32)[inside, inside] / 255)[None, None] for x in (found, wanted))
    levels = 5
    while min(a.shape[2:]) >> (levels - 1) < 11:  # pictures under 176 pixels have fewer levels
        levels -= 1
    ssim, _ = similarity(a, b, gaussian())
    return Scores(psnr(np.asarray(found, np.float64), np.asarray(wanted, np.float64), border), float(ssim.mean()),
                  float(ms_ssim(a, b, levels)))  # fmt: skip


def mean(rows: Sequence[Scores]) -> Scores:
    """Return the mean of each score."""
    return Scores(*(float(value) for value in np.mean(rows, axis=0)))


def bootstrap(gains: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the middle 95 % of the mean when pictures are drawn with replacement."""
    rng, values = np.random.default_rng(seed), np.asarray(gains)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def photographs(folder: Path, quick: bool) -> list[np.ndarray]:
    """Return all photographs of a folder, RGB [H, W, 3]. quick: True returns a corner of two of them."""
    images = list(judge.pictures(folder).values())
    return [image[:192, :192] for image in images[:2]] if quick else images


def columns(
    work: Callable[[np.ndarray], Mapping[str, Scores]], images: Sequence[np.ndarray], order: Sequence[str]
) -> dict[str, list[Scores]]:
    """Return the scores that `work` gives each image, by name. Each core takes an image, since the networks have one
    thread here."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(work, images))
    return {name: [each[name] for each in found] for name in order}


def row(name: str, found: Sequence[Scores], before: Sequence[Scores]) -> list[object]:
    """Return the columns of `COLUMNS`. before: scores of the same pictures without a network."""
    gains = [one.psnr - other.psnr for one, other in zip(found, before, strict=True)]
    low, high = bootstrap(gains)
    got = mean(found)
    return [name, Decibels(got.psnr), Decibels(np.mean(gains)), Decibels(low), Decibels(high), Share(got.ssim),
            Share(got.ms_ssim)]  # fmt: skip


COLUMNS = ["", "PSNR, dB", "gain, dB", "low", "high", "SSIM", "MS-SSIM"]


def deblocking(ours: Mapping[str, Contender], folder: Path, quick: bool = False) -> dict[str, float]:
    """Print LIVE1's tables and claims. folder: of its photographs. quick: True takes corners of two of them.

    Returns the gain on luma at quality 10, dB, of each remover, and of the peers as published.
    """
    images = photographs(folder, quick)
    sessions = {model: ours[model].session(1) for model in REMOVERS if model in ours}
    if REMOVERS[1] not in sessions:
        unmeasured("live1", f"skipped: no weights of {REMOVERS[1]}; train them")
    at_ten: dict[str, float] = {}
    for colour in (False, True):
        rows = []
        for i, quality in enumerate(QUALITIES):
            found = coded(images, quality, colour, sessions)
            before = found[DECODED]
            rows += [[quality, *row(name, values, before)] for name, values in found.items()]
            blank: list[object] = [float("nan")] * 4
            if colour:
                continue
            for name, values in PUBLISHED_LIVE1.items():
                gain = Decibels(values[i] - DECODED_LIVE1[i])
                rows.append([quality, f"{name}, published", Decibels(values[i]), gain, *blank])
            for model in sessions:
                gains = [a.psnr - b.psnr for a, b in zip(found[model], before, strict=True)]
                if quality == QUALITIES[0]:
                    at_ten[model] = float(np.mean(gains))
                if model == REMOVERS[1] and quality in MARKED:
                    value, name = float(np.mean(gains)), CLAIM_LIVE1.format(quality)
                    report.claim(name, Decibels(value), REMOVED, value >= REMOVED, "dB", bootstrap(gains))
        title = "in colour (4:2:0), PSNR of luma" if colour else "luma alone"
        report.table(f"LIVE1, {len(images)} photographs as JPEG, {title}", ["quality", *COLUMNS], rows)
    return at_ten | {name: values[0] - DECODED_LIVE1[0] for name, values in PUBLISHED_LIVE1.items()}


def coded(
    images: Sequence[np.ndarray], quality: int, colour: bool, sessions: Mapping[str, Session]
) -> dict[str, list[Scores]]:
    """Return the scores of each picture as decoded, after each remover, and after the remover that the verb would
    choose."""
    order = (DECODED, *sessions, *([AUTO] if len(sessions) == len(REMOVERS) else []))

    def one(image: np.ndarray) -> dict[str, Scores]:
        source = image if colour else np.round(luma(image)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(source).save(file, "JPEG", quality=quality, subsampling=2)
        decoded = np.asarray(Image.open(file))
        wanted = luma(image) if colour else source.astype(np.float64)
        found = {DECODED: scores(luma(decoded) if colour else decoded, wanted)}
        for model, session in sessions.items():
            shown = decoded if colour else np.repeat(decoded[..., None], 3, axis=2)
            after = session.rgb(shown)
            found[model] = scores(luma(after) if colour else after.mean(axis=2), wanted)
        if AUTO in order:
            height, width = source.shape[:2]
            way = choose("auto", "artefacts", level(width, height, 8 * len(file.getvalue()), still=True), True)
            found[AUTO] = found[way[0] if way else DECODED]
        return found

    return columns(one, images, order)


def doubling(images: Sequence[np.ndarray], sessions: Mapping[str, Session]) -> dict[str, list[Scores]]:
    """Return the scores of each picture, reduced to half its size and enlarged again, bicubically and by each
    network."""

    def one(image: np.ndarray) -> dict[str, Scores]:
        height, width = (side // 2 * 2 for side in image.shape[:2])
        image = image[:height, :width]
        low = judge.resized(image, (height // 2, width // 2))
        wanted = luma(image)
        plain = scores(luma(judge.resized(low, (height, width))), wanted, 2)
        return {BICUBIC: plain} | {
            model: scores(luma(session.rgb(low)), wanted, 2) for model, session in sessions.items()
        }

    return columns(one, images, (BICUBIC, *sessions))


def enlarging(ours: Mapping[str, Contender], folder: Path, quick: bool = False) -> dict[str, float]:
    """Print Set5's table and the claim. Returns the gain over bicubic, dB, by model and peer; that of the peers with
    random weights is as published."""
    sessions = {model: ours[model].session(1) for model in UPSCALERS if model in ours}
    if not realesr.missing():
        sessions[realesr.name()] = realesr.Session(2, 1)
    found = doubling(photographs(folder, quick), sessions)
    before = found[BICUBIC]
    rows = [row(name, values, before) for name, values in found.items()]
    blank: list[object] = [float("nan")] * 4
    for name, value in PUBLISHED_SET5.items():
        rows.append([f"{name}, published", Decibels(value), Decibels(value - BICUBIC_SET5), *blank])
    report.table(f"Set5 x2, {len(before)} photographs, luma", COLUMNS, rows)
    gains = {
        model: [a.psnr - b.psnr for a, b in zip(found[model], before, strict=True)] for model in sessions
    }  # fmt: skip
    if UPSCALERS[0] in gains:
        mine = gains[UPSCALERS[0]]
        value, parameters = float(np.mean(mine)), ours[UPSCALERS[0]].parameters
        holds = value >= ENLARGED and parameters <= LARGEST
        report.claim(CLAIM_SET5, Decibels(value), ENLARGED, holds, "dB", bootstrap(mine), f"{parameters:,} parameters")
    else:
        unmeasured("set5", f"skipped: no weights of {UPSCALERS[0]}; train them")
    return {
        **{model: float(np.mean(values)) for model, values in gains.items()},
        **{name: value - BICUBIC_SET5 for name, value in PUBLISHED_SET5.items()},
    }


def unmeasured(photographs: str, reason: str) -> None:
    """Print the claims of a data set that cannot be measured. photographs: live1 or set5."""
    if photographs == "set5":
        report.claim(CLAIM_SET5, None, ENLARGED, False, "dB", reason=reason)
        return
    for quality in MARKED:
        report.claim(CLAIM_LIVE1.format(quality), None, REMOVED, False, "dB", reason=reason)
