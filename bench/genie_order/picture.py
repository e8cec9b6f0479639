"""Draws the patent's FIG. 3 as we measure it: samples of toy64, true, by DDIM and by GENIE in 25 steps, side
by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.genie_order.toys import toy64
from sluice.methods.genie.trajectory import Options, noise, sample

SIDE = 420  # pixels of a panel
HEAD = 34  # pixels above it, for its name
REACH = 1.25  # a panel shows -REACH to REACH on both axes
PAPER, INK = (255, 255, 255), (27, 60, 110)
FINER = 2  # drawn so many times as large, then reduced, for soft dots


def panel(points: np.ndarray, title: str) -> Image.Image:
    """Draw points [n, 2] as translucent dots under a title."""
    side = SIDE * FINER
    # A pixel is darker where more points fall: single dots stay visible, and dense modes hide none of them.
    place = np.floor((points * [1, -1] / REACH + 1) / 2 * side).astype(int)
    inside = ((place >= 2) & (place < side - 2)).all(axis=1)
    light = np.ones((side, side))
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            np.multiply.at(light, (place[inside, 1] + dy, place[inside, 0] + dx), 0.45)
    shade = light[..., None]
    pixels = np.asarray(PAPER) * shade + np.asarray(INK) * (1 - shade)
    dots = Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX)
    sheet = Image.new("RGB", (SIDE, SIDE + HEAD), PAPER)
    sheet.paste(dots, (0, HEAD))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, HEAD, SIDE - 1, SIDE + HEAD - 1), outline=(200, 200, 200))
    draw.text((SIDE // 2, HEAD // 2), title, fill=(30, 30, 30), anchor="mm", font=ImageFont.load_default(18))
    return sheet


def draw(path: Path, *, count: int = 6000, steps: int = 25, seed: int = 0) -> None:
    """Write the picture: three panels, where both solvers start from the same latents."""
    model = toy64()
    latents = noise(range(seed, seed + count), (2,), np.float64)
    panels = [panel(model.draw(np.random.default_rng(seed), count), "the distribution")]
    for name, title in (("ddim", "DDIM"), ("genie", "GENIE")):
        found = sample(model, latents, Options(solver=name, steps=steps))
        panels.append(panel(found, f"{title}, {steps} steps"))
    gap = 12
    sheet = Image.new("RGB", (3 * SIDE + 2 * gap, SIDE + HEAD), PAPER)
    for i, one in enumerate(panels):
        sheet.paste(one, (i * (SIDE + gap), 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(32).save(path, optimize=True)
