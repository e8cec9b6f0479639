"""Checks that masks are those of the published rule and vectors those of transformers' class, with the same weights."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

import scenes
from bench import report
from bench.class_names import CAMVID
from bench.grouping import official
from bench.grouping.networks import SIDE, Subject
from bench.grouping.rivals import Transformers
from bench.segment_process import InProcess

PIXELS, VECTORS = 0.999, 1e-5
SIZES = ((224, 224), (640, 480), (300, 500), (720, 405))  # width, height; in turn


def png(seed: int, size: tuple[int, int]) -> bytes:
    """Draw a street scene and return it as PNG. size: (width, height), pixels."""
    buffer = io.BytesIO()
    Image.fromarray(scenes.render(seed, size).image).save(buffer, "PNG")
    return buffer.getvalue()


def measure(subject: Subject, count: int, first: int = 3000) -> None:
    """Print how much is equal on `count` generated pictures, and the claims. first: seed of the first picture."""
    here = InProcess(subject.root)
    encoded = [png(first + i, SIZES[i % len(SIZES)]) for i in range(count)]
    with torch.no_grad():
        words = official.class_features(subject.network, CAMVID, here.config.templates)
    shares, classes = [], []
    for data in encoded:
        found = np.asarray(Image.open(io.BytesIO(here.segment([data], CAMVID, rule="official")["MASKS"][0])))
        expected = official.masks(subject.network, data, CAMVID, classes=words)
        shares.append(float((found == expected).mean()))
        classes.append(len(np.unique(expected)))
    pictures, texts = vectors(subject, here, [first + i for i in range(count)])
    report.table(
        f"segment, {subject.title}: equality with torch, {count} pictures, {len(CAMVID)} names",
        ["pixels equal, mean", "at worst", "classes a mask", "image vectors, greatest difference", "text vectors"],
        [[float(np.mean(shares)), min(shares), float(np.mean(classes)), pictures, texts]],
    )
    worst = min(shares)
    report.claim(
        f"masks equal to the official rule in torch, {subject.kind}, worst picture", worst, PIXELS, worst >= PIXELS,
        "of the pixels", [worst, max(shares)],
    )  # fmt: skip
    greatest = max(pictures, texts)
    report.claim(
        f"vectors equal to transformers' class, {subject.kind}", greatest, VECTORS, greatest <= VECTORS,
        "greatest difference",
    )  # fmt: skip


@torch.inference_mode()
def vectors(subject: Subject, here: InProcess, seeds: Sequence[int]) -> tuple[float, float]:
    """Return the greatest differences between the graphs and `GroupViTModel`, for numbers in the vectors of pictures
    and of texts, all of length 1."""
    rival = Transformers(subject.network, CAMVID)
    images = np.stack([scenes.render(seed, (SIDE, SIDE)).image for seed in seeds])
    out = subject.network.vit(
        input_ids=rival.ids, attention_mask=rival.seen, pixel_values=rival.pixels([png(s, (SIDE, SIDE)) for s in seeds])
    )
    found = np.concatenate([here.run("image_grouper", image[None])["EMBEDDING"] for image in images])
    texts = here.run("text_encoder", rival.ids.numpy())["EMBEDDING"]
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    return (
        float(np.abs(found - out.image_embeds.numpy()).max()),
        float(np.abs(texts - out.text_embeds.numpy()).max()),
    )
