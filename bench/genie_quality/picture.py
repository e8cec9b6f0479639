"""Draws the same latents by several solvers in five network calls, beside the ends of their exact trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.genie_quality.networks import Model, pixels
from bench.genie_quality.samples import Plan
from sluice.methods.genie.trajectory import Options

SOLVERS = ("genie", "ddim", "dpmpp_2m", "unipc")
COLUMNS = 10
SIDE = 64  # pixels of a sample: twice its own
GAP = 4
LEFT = 150  # pixels before a row, for its name
HEAD = 40  # pixels above a model, for its name
PAPER, INK = (255, 255, 255), (30, 30, 30)


def block(model: Model, plan: Plan, made: Mapping[Options, np.ndarray]) -> Image.Image:
    """Draw a model's rows: the converged images first, then the solvers at the least NFE."""
    nfe = plan.nfes[0]
    rows = [("converged", made[plan.fine])] + [(name, made[plan.plain(name, nfe)]) for name in SOLVERS]
    width, height = LEFT + COLUMNS * (SIDE + GAP), HEAD + len(rows) * (SIDE + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    draw.text((LEFT, HEAD // 2), f"{model.name}, {nfe} network calls", fill=INK, anchor="lm", font=font)
    for i, (name, images) in enumerate(rows):
        top = HEAD + i * (SIDE + GAP)
        draw.text((LEFT - 12, top + SIDE // 2), name, fill=INK, anchor="rm", font=font)
        for j, image in enumerate(pixels(images[:COLUMNS])):
            picture = Image.fromarray(image.transpose(1, 2, 0).squeeze()).convert("RGB")
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST), (LEFT + j * (SIDE + GAP), top))
    return sheet


def write(path: Path, blocks: Sequence[Image.Image]) -> None:
    """Write all models below one another, as PNG."""
    sheet = Image.new("RGB", (max(b.width for b in blocks), sum(b.height for b in blocks)), PAPER)
    top = 0
    for one in blocks:
        sheet.paste(one, (0, top))
        top += one.height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
