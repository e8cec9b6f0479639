"""Judges masks by the names of CamVid's classes: intersection over union with its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from export.grouping.network import GroupingNetwork, ImageGrouper, TextEncoder
from export.training import camvid
from export.training.camvid import Frame
from sluice.methods.grouping.tokens import tokenizer

NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
TEMPLATE = "a photo of a {}."


@torch.no_grad()
def classes(network: GroupingNetwork, names: Sequence[str] = NAMES) -> tuple[torch.Tensor, float]:
    """Return the text embeddings of class names, [C, E] of length 1, and the scale of similarities."""
    ids = tokenizer()([TEMPLATE.format(name) for name in names]).ids
    found, scale = TextEncoder(network).eval()(torch.from_numpy(ids))
    return F.normalize(found, dim=-1), float(scale[0, 0])


@torch.no_grad()
def labels(served: ImageGrouper, texts: torch.Tensor, scale: float, image: np.ndarray, height: int) -> np.ndarray:
    """Return the class of every pixel, uint8 [H, W], from the groups' class probabilities weighted by their assignment.

    texts, scale: of `classes`. image: uint8 [H, W, 3]. height: rows that the network sees, a multiple of its step.
    """
    step = served.network.step
    rows, columns = image.shape[:2]
    width = round(height * columns / rows / step) * step
    shown = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    groups, _, share = served(torch.from_numpy(shown.copy())[None])
    means = (scale * groups[0] @ texts.T).softmax(dim=-1)
    full = F.interpolate(share, (rows, columns), mode="bilinear", align_corners=False)[0]
    return torch.einsum("ghw,gc->chw", full, means).argmax(0).numpy().astype(np.uint8)


def confusion(found: np.ndarray, truth: np.ndarray, count: int = len(NAMES)) -> np.ndarray:
    """Count pixels by true class (rows) and found class (columns), [count, count], without unlabelled pixels."""
    kept = truth < count
    return np.bincount(truth[kept].astype(np.int64) * count + found[kept], minlength=count**2).reshape(count, count)


def overlaps(table: np.ndarray) -> np.ndarray:
    """Return the intersection over union per class from a table of `confusion`, nan for a class that does not occur."""
    right = np.diag(table).astype(float)
    union = table.sum(0) + table.sum(1) - right
    return np.where(table.sum(1) > 0, right / np.maximum(union, 1), np.nan)


def judge(network: GroupingNetwork, frames: Sequence[Frame], height: int) -> np.ndarray:
    """Return the intersection over union per class over all frames, [11]. height: as for `labels`."""
    served = ImageGrouper(network).eval()
    texts, scale = classes(network)
    table = sum(confusion(labels(served, texts, scale, f.image, height), f.labels) for f in frames)
    return overlaps(np.asarray(table))


def layout(frames: Sequence[Frame]) -> np.ndarray:
    """Return the most frequent class of each pixel, uint8 [H, W], over frames of one size; of equals the first.

    A camera that looks ahead from a car sees the sky above and the road below, so this answer ignores the picture and
    is better than chance.
    """
    counts = np.zeros((len(NAMES), *frames[0].labels.shape), np.int32)
    for frame in frames:
        counts += frame.labels == np.arange(len(NAMES))[:, None, None]
    return counts.argmax(axis=0).astype(np.uint8)


def chance(frames: Sequence[Frame]) -> tuple[float, float, str]:
    """Return the mean IoU of answers that need no network.

    These are labels drawn at random with equal chances, and the best single class everywhere, with its name.
    """
    counts = sum(np.bincount(f.labels.ravel(), minlength=256)[: len(NAMES)] for f in frames)
    share = np.asarray(counts) / np.sum(counts)
    kept, n = share[share > 0], len(NAMES)
    drawn = float(np.mean((kept / n) / (kept + 1 / n - kept / n)))
    best = int(share.argmax())
    return drawn, float(share[best] / len(kept)), camvid.CLASSES[best]
