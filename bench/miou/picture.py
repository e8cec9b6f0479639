"""Draws a few frames of the drive under the colours of the masks from words, and of the masks that people drew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sluice_client.drawing import overlays, palette

from bench.class_names import CAMVID
from bench.drives import evenly
from bench.miou.frames import masks
from bench.segment_process import InProcess
from export.training.camvid import Frame

COLUMNS = 3
WIDTH = 460  # pixels of a frame
GAP = 6
HEAD = 30  # pixels above a row, for its name
LEGEND = 40
STRENGTH = 0.55
PAPER, INK = (255, 255, 255), (30, 30, 30)
ROWS = ("the frame", "segment, told the names below; it never saw a mask", "drawn by people (CamVid)")


def write(path: Path, here: InProcess, frames: Sequence[Frame], quality: int = 66) -> None:
    """Write the picture as JPEG, 1,400 pixels wide."""
    chosen = evenly(frames, COLUMNS + 2)[1:-1]
    height = round(WIDTH * chosen[0].image.shape[0] / chosen[0].image.shape[1])
    width = COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    sheet = Image.new("RGB", (width, len(ROWS) * (height + HEAD) + LEGEND), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    found = masks(here, chosen, {})
    for row, title in enumerate(ROWS):
        top = row * (height + HEAD)
        draw.text((4, top + HEAD // 2), title, fill=INK, anchor="lm", font=font)
        for column, (frame, mask) in enumerate(zip(chosen, found, strict=True)):
            shown = Image.fromarray(frame.image)
            if row:
                labels = mask if row == 1 else frame.labels
                shown = overlays.painted(shown, labels, range(len(CAMVID)), STRENGTH)
            shown = shown.resize((WIDTH, height), Image.Resampling.LANCZOS)
            sheet.paste(shown, (column * (WIDTH + GAP), top + HEAD))
    _legend(draw, sheet.height - LEGEND, width, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=quality, optimize=True)


def _legend(
    draw: ImageDraw.ImageDraw, top: int, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Write the names beside their colours in one line, spread over the width."""
    side = 18
    lengths = [side + 6 + font.getlength(name) for name in CAMVID]
    space = (width - sum(lengths) - 8) / (len(CAMVID) - 1)
    lefts = 4 + np.cumsum([0, *(length + space for length in lengths[:-1])])
    middle = top + LEGEND // 2
    for i, (left, name) in enumerate(zip(lefts, CAMVID, strict=True)):
        draw.rectangle([left, middle - side // 2, left + side, middle + side // 2], fill=palette.colour(i))
        draw.text((left + side + 6, middle), name, fill=INK, anchor="lm", font=font)
