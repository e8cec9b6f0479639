"""Measures how much later images are ready because heavy ones are decoded in a process apart.

The figure is a ratio of two times: that of `process.decoding.run`, which the verbs call, over that of the same function
called in this process. Both take turns, and the median of several turns counts. Light images are decoded in this
process by both, so for them the ratio shows what reading the header costs. With `--apart` every image goes to another
process, which shows what that would cost.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from bench import report
from sluice import image_headers, images
from sluice.process import decoding
from sluice.wire import video_frames

SERVED = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160), (6000, 4000))
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {"quality": 90}),
    "progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("PNG", {"compress_level": 1}),
    "WebP": ("WEBP", {"quality": 85, "method": 0}),
}
MARK = 1.1  # times as long, for a JPEG from a camera of up to 3840 x 2160


def street(width: int, height: int, seed: int) -> Image.Image:
    """Draw a smooth scene with the noise of a sensor; the noise is what makes a camera's image expensive to decode."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = random.normal(0, 6, (height, width, 1)).astype(np.int16)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def encoded(picture: Image.Image, form: str) -> bytes:
    """Return a picture as a file in one of `FORMS`."""
    name, options = FORMS[form]
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


async def ratios(
    work: Callable[..., Any], data: bytes, args: tuple[Any, ...], apart: bool, rounds: int
) -> tuple[float, list[float]]:
    """Return the median milliseconds in this process, and in each round how many times as long `decoding` takes."""
    decoders = decoding.Decoders(1)

    async def decoded() -> None:
        if apart:
            await decoders.run(work, data, args, {})
        else:
            await decoding.run(work, data, *args)

    await decoded()  # the process has been started by an earlier picture
    spot, found = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        work(data, *args)
        spot.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await decoded()
        found.append((time.perf_counter() - begun) / spot[-1])
    decoders.close()
    return 1000 * statistics.median(spot), found


def first(data: bytes) -> float:
    """Return the seconds of the first image, which include starting a process."""

    async def once() -> float:
        decoders, begun = decoding.Decoders(1), time.perf_counter()
        await decoders.run(images.read, data, (), {})
        decoders.close()
        return time.perf_counter() - begun

    return asyncio.run(once())


def main(argv: list[str]) -> int:
    """Measure every size in every form, print the tables and the claim."""
    parser = argparse.ArgumentParser(prog="python -m bench decoding", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds per picture (default: 7)")
    parser.add_argument("--apart", action="store_true", help="decode all pictures in another process, light ones too")
    asked = report.parse(parser, argv)
    rows, cameras = [], []
    for size in SERVED:
        picture = street(*size, seed=size[0])
        for form in FORMS:
            data = encoded(picture, form)
            if len(data) > images.Config.max_bytes:
                report.say(f"{form} of {size[0]} x {size[1]} has {len(data):,} bytes, which is more than is let in")
                continue
            header = image_headers.read(data)
            where = "apart" if asked.apart or header is None or not header.light else "on the spot"
            ms, seen = asyncio.run(ratios(images.read, data, (), asked.apart, asked.rounds))
            limits = (images.Limits(len(data), size[0] * size[1]),)
            full, whole = asyncio.run(ratios(video_frames.decode, data, limits, asked.apart, asked.rounds))
            if form == "JPEG" and size[0] <= 3840:
                cameras += seen
            times, whole_times = (round(statistics.median(one), 2) for one in (seen, whole))
            rows.append(
                [f"{size[0]} x {size[1]}", form, len(data), where, round(ms, 1), times, round(full, 1), whole_times]
            )
    columns = ["picture", "form", "bytes", "decoded", "to a canvas, ms", "times", "whole, ms", "times "]
    report.table("A picture on the spot, and how many times as long it takes as served", columns, rows)
    starts = [first(encoded(street(640, 480, 1), "PNG")) for _ in range(3)]
    report.table("The first heavy picture of a model", ["s"], [[round(statistics.median(starts), 2)]])
    value = statistics.median(cameras)
    report.claim("a camera's JPEG of up to 3840 x 2160 takes at most 1.1 times its time", value, MARK, value <= MARK,
                 "times", (min(cameras), max(cameras)))  # fmt: skip
    return 0
