"""Judges the networks of `enhance` as the literature does: PSNR of the luma on LIVE1 and Set5.

The luma is that of BT.601's limited range, 16..235, as in MATLAB's rgb2ycbcr.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from export.video.codec import jpeg
from export.video.data import Clips

Enhance = Callable[[np.ndarray], np.ndarray]  # RGB [H, W, 3] uint8 -> [sH, sW, 3] uint8


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Read a folder's photographs as RGB [H, W, 3] uint8, by name. Raises FileNotFoundError where there is none."""
    found = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.webp"))}
    if not found:
        raise FileNotFoundError(f"expected photographs as *.webp in {folder.name}, found none")
    return found


def luma(rgb: np.ndarray) -> np.ndarray:
    """Return the luma of RGB [..., 3] uint8, float64 16..235."""
    return 16 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(found: np.ndarray, wanted: np.ndarray, border: int = 0) -> float:
    """Return the PSNR of two lumas [H, W], decibels against a peak of 255. border: pixels left out at each edge."""
    inside = slice(border, -border or None)
    error = (found[inside, inside] - wanted[inside, inside]) ** 2
    return float(10 * np.log10(255**2 / max(float(error.mean()), 1e-10)))


def weights(size: int, made: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels' indices [made, taps] and weights [made, taps] of a resize along one axis; rows sum to 1.

    The resize is that of MATLAB's imresize: bicubic (a = -1/2), antialiased, the edge mirrored. size, made: pixels
    before and after.
    """
    scale = made / size
    stretch = max(1.0, 1 / scale)
    centre = (np.arange(made) + 0.5) / scale - 0.5
    taps = int(np.ceil(4 * stretch)) + 2
    index = np.floor(centre - 2 * stretch).astype(int)[:, None] + np.arange(taps)
    x = np.abs(centre[:, None] - index) / stretch
    weight = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])[index % (2 * size)]
    return mirrored, weight / weight.sum(1, keepdims=True)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image [H, W, C] uint8 to (h, w) as MATLAB does (see `weights`), uint8."""
    out = image.astype(np.float64)
    for axis in (0, 1):
        index, weight = weights(out.shape[axis], size[axis])
        taken = np.take(out, index, axis=axis)
        out = np.einsum("htwc,ht->hwc" if axis == 0 else "hwtc,wt->hwc", taken, weight)
    return np.round(out).clip(0, 255).astype(np.uint8)


def row(name: str, scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return a row of the record: mean PSNR without the network (decoded, or enlarged bicubically) and with it.

    scores: (without, with) per picture, decibels.
    """
    plain, enhanced = np.mean(scores, axis=0)
    return {
        "set": name,
        "plain, dB": round(float(plain), 2),
        "enhanced, dB": round(float(enhanced), 2),
        "gain, dB": round(float(enhanced - plain), 2),
    }


def deblocking(enhance: Enhance, folder: Path, quality: int, colour: bool = False) -> dict[str, Any]:
    """Score LIVE1 coded as JPEG, decoded and enhanced.

    colour: True codes the pictures as JPEG 4:2:0, False their luma, as the literature does.
    """
    scores = []
    for image in pictures(folder).values():
        if colour:
            decoded = jpeg(image, quality)
            wanted, plain, found = luma(image), luma(decoded), luma(enhance(decoded))
        else:
            grey = np.round(luma(image)).astype(np.uint8)
            decoded = jpeg(grey, quality)
            wanted, plain = grey.astype(np.float64), decoded.astype(np.float64)
            found = enhance(np.repeat(decoded[..., None], 3, axis=2)).mean(axis=2)
        scores.append((psnr(plain, wanted), psnr(found, wanted)))
    return row(f"LIVE1, JPEG {quality} {'4:2:0' if colour else 'of the luma'}", scores)


def enlarging(enhance: Enhance, folder: Path, quality: int = 0) -> dict[str, Any]:
    """Score Set5 at half size, coded as JPEG where `quality` is not 0, and enlarged again."""
    scores = []
    for image in pictures(folder).values():
        height, width = (side // 2 * 2 for side in image.shape[:2])
        image = image[:height, :width]
        low = resized(image, (height // 2, width // 2))
        if quality:
            low = jpeg(low, quality)
        plain = resized(low, (height, width))
        wanted = luma(image)
        scores.append((psnr(luma(plain), wanted, 2), psnr(luma(enhance(low)), wanted, 2)))
    return row(f"Set5 x2{f', JPEG {quality} 4:2:0' if quality else ''}", scores)


def of_clips(enhance: Enhance, clips: Clips, name: str) -> dict[str, Any]:
    """Score enhanced frames of coded clips. name: of the row."""
    scores = []
    for clean, coded in zip(clips.clean, clips.coded, strict=True):
        plain = coded if clean.shape == coded.shape else resized(coded, clean.shape[:2])
        wanted = luma(clean)
        scores.append((psnr(luma(plain), wanted, 2), psnr(luma(enhance(coded)), wanted, 2)))
    return row(name, scores)


def enhancing(served: torch.nn.Module) -> Enhance:
    """Return a served network as a function of one RGB picture."""
    colour = torch.cat([torch.eye(3) / 255, torch.zeros(3, 1)], 1)[None]

    @torch.no_grad()
    def enhance(rgb: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(rgb.copy())[None]
        first, rest = served(planes[..., 0], planes[..., 1:], colour, torch.ones(1, 1))
        return torch.cat([first[..., None], rest], 3)[0].numpy()

    return enhance
