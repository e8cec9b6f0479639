"""Dead leaves: draws shapes that cover one another, sharp where they meet, in the colours of given pictures.

They have edges of every direction, length and contrast, and plain stretches, of which driving frames have too few.
Source: Lee, Mumford, Huang, Occlusion models for natural images, 2001, section 3; for training, Achddou, Gousseau,
Ladjal, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

FINER = 3  # pictures are drawn so many times as large, then brought down
LEAST, MOST = 4.0, 90.0  # radius of a leaf, pixels
CORNERS = (3, 4, 5, 24)  # numbers of corners of a shape; the last looks round
COVERED = 4.0  # summed area of the leaves over that of the picture, so that no background is left
STRIPED = 0.15  # share of leaves with stripes of two colours
LEAVES = 79  # part of the seed: a stream of random numbers of its own


def picture(size: tuple[int, int], colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a picture, uint8 [H, W, 3]. size: (H, W); colours: uint8 [N, 3], with which leaves are painted."""
    height, width = (FINER * side for side in size)
    sheet = Image.new("RGB", (width, height), _colour(colours, rng))
    draw = ImageDraw.Draw(sheet)
    painted, enough = 0.0, COVERED * height * width
    while painted < enough:
        # The density of radii falls with their cube, so that pictures have the same statistics at any scale.
        radius = FINER / np.sqrt(rng.uniform(MOST**-2, LEAST**-2))
        centre = rng.uniform(-0.1, 1.1, 2) * (width, height)
        outline = centre + _outline(radius, rng)
        if rng.random() < STRIPED:
            _stripes(sheet, outline, colours, rng)
        else:
            draw.polygon([tuple(point) for point in outline], fill=_colour(colours, rng))
        painted += np.pi * radius**2
    return np.asarray(sheet.resize(size[::-1], Image.Resampling.BOX))


def pictures(count: int, size: tuple[int, int], sources: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """Draw `count` pictures, uint8 [H, W, 3] each, in the colours of one of the sources, uint8 [h, w, 3]."""
    found = []
    for index in range(count):
        rng = np.random.default_rng((seed, LEAVES, index))
        source = sources[rng.integers(len(sources))].reshape(-1, 3)
        found.append(picture(size, source[rng.integers(len(source), size=256)], rng))
    return found


def _colour(colours: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """Draw one of the colours."""
    return tuple(int(value) for value in colours[rng.integers(len(colours))])


def _outline(radius: float, rng: np.random.Generator) -> np.ndarray:
    """Return the corners [N, 2] of a shape around 0, from triangle to disc, squeezed and turned."""
    corners = CORNERS[rng.integers(len(CORNERS))]
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = radius * np.stack([np.cos(angles), rng.uniform(0.15, 1) * np.sin(angles)], 1)
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _stripes(sheet: Image.Image, outline: np.ndarray, colours: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a leaf with stripes of two colours in one direction and width."""
    low = np.floor(outline.min(0)).astype(int)
    span = np.ceil(outline.max(0)).astype(int) - low + 1
    mask = Image.new("L", (int(span[0]), int(span[1])), 0)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in outline - low], fill=255)
    turn, period = rng.uniform(0, np.pi), FINER * np.exp(rng.uniform(np.log(2.5), np.log(16)))
    y, x = np.mgrid[: span[1], : span[0]]
    second = ((np.cos(turn) * x + np.sin(turn) * y) / period) % 1 < rng.uniform(0.3, 0.7)
    both = np.array([_colour(colours, rng), _colour(colours, rng)], np.uint8)
    sheet.paste(Image.fromarray(both[second.astype(int)]), (int(low[0]), int(low[1])), mask)
