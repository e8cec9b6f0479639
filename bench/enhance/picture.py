"""Draws decibels gained against milliseconds per frame, for us and the peers: two panels, time on a
logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw, ImageFont

from bench.enhance.networks import SHIPPED
from bench.enhance.quality import PUBLISHED

WIDTH, HEIGHT = 560, 380  # pixels of a panel
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 46, 50  # margins; names stand right of their marks
FINER = 2  # drawn so many times as large, then reduced, for smooth edges
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 30), (215, 215, 215)
OURS, THEIRS = (0, 110, 190), (200, 90, 20)
TITLES = ("artefacts removed (LIVE1 luma, JPEG 10)", "doubled (Set5 luma, over bicubic)")


def write(
    path: Path,
    times: Mapping[str, Sequence[float]],
    size: str,
    gains: tuple[Mapping[str, float], Mapping[str, float]],
) -> None:
    """Write the picture as PNG. times: milliseconds of frames of `size`; gains: dB; both by model or peer."""
    panels = []
    for title, found in zip(TITLES, gains, strict=True):
        points = {name: (median(times[name]), gain) for name, gain in found.items() if name in times}
        if points:
            panels.append(panel(title, size, points))
    if not panels:
        return
    sheet = Image.new("RGB", (WIDTH * len(panels), HEIGHT), PAPER)
    for i, one in enumerate(panels):
        sheet.paste(one, (i * WIDTH, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def panel(title: str, size: str, points: Mapping[str, tuple[float, float]]) -> Image.Image:
    """Draw one panel. points: (ms, dB) by name."""
    sheet = Image.new("RGB", (FINER * WIDTH, FINER * HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(FINER * 15), ImageFont.load_default(FINER * 12)
    low = math.floor(math.log10(min(ms for ms, _ in points.values())))
    high = max(low + 1, math.ceil(math.log10(max(ms for ms, _ in points.values()))))
    most = math.ceil(2 * max(0.5, *(gain for _, gain in points.values())) + 0.2) / 2

    def place(ms: float, gain: float) -> tuple[float, float]:
        x = LEFT + (math.log10(ms) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - max(gain, 0.0) / most * (HEIGHT - TOP - BOTTOM)
        return FINER * x, FINER * y

    draw.text((FINER * LEFT, FINER * TOP / 2), title, fill=INK, anchor="lm", font=font)
    for power in range(low, high + 1):
        x, y = place(10.0**power, 0)
        draw.line([(x, y), place(10.0**power, most)], fill=FAINT, width=FINER)
        draw.text((x, y + FINER * 14), f"{10**power:,}", fill=INK, anchor="mm", font=small)
    for half in range(int(2 * most) + 1):
        x, y = place(10.0**low, half / 2)
        draw.line([(x, y), place(10.0**high, half / 2)], fill=FAINT, width=FINER)
        draw.text((x - FINER * 8, y), f"{half / 2:g}", fill=INK, anchor="rm", font=small)
    middle = FINER * (LEFT + (WIDTH - LEFT - RIGHT) / 2)
    draw.text((middle, FINER * (HEIGHT - 16)), f"milliseconds per {size} frame", fill=INK, anchor="mm", font=small)
    draw.text((FINER * 8, FINER * (TOP - 6)), "dB", fill=INK, anchor="lm", font=small)
    for name, (ms, gain) in points.items():
        (x, y), r = place(ms, gain), FINER * 5
        ink = OURS if name in SHIPPED else THEIRS
        if name in PUBLISHED:  # hollow, because the quality is as published
            draw.ellipse([x - r, y - r, x + r, y + r], outline=ink, width=FINER * 2)
        else:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=ink)
        said = f"{name} (published)" if name in PUBLISHED else name
        draw.text((x + 2 * r, y), said, fill=ink, anchor="lm", font=small)
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
