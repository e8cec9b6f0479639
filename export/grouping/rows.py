"""The pair of rows of a file of weights with images and texts. Imports no torch until a network is loaded.

One file of weights makes two models, `image_grouper` and `text_encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.entry import Network, Shape, Tensor
from export.examples import street_pictures
from export.tensorrt import profiles

LENGTH = 77  # tokens of the longest text
IMAGES = (Tensor("IMAGE", ("batch", "height", "width", 3)),)
TEXTS = (Tensor("TOKENS", ("batch", "length")),)
TRAIN = (
    "python -m export.grouping.train --data ../shared/data/camvid --out weights/grouping.pt --trunk weights/trunk.pt "
    "--set trunk=lite0 --set steps=8000 --set scenes=700"
)


def _image_grouper(weights: Path) -> Any:
    """Return the served image encoder with these weights."""
    from export.grouping import network

    return network.ImageGrouper(network.load(weights)).eval()


def _text_encoder(weights: Path) -> Any:
    """Return the served text encoder with these weights."""
    from export.grouping import network

    return network.TextEncoder(network.load(weights)).eval()


def sentences(shapes: Mapping[str, Shape], seed: int) -> dict[str, Any]:
    """Return TOKENS int64 [B, L] like those of texts: start, words, end, then 0. The first text is as long as fits."""
    import numpy as np

    batch, length = shapes["TOKENS"]
    rng = np.random.default_rng(seed)
    tokens = np.zeros((batch, length), np.int64)
    for index in range(batch):
        end = length - 1 if index == 0 else int(rng.integers(1, length))
        tokens[index, :end] = rng.integers(256, 49_406, end)
        tokens[index, 0], tokens[index, end] = 49_406, 49_407
    return {"TOKENS": tokens}


def pair(image: str = "image_grouper", text: str = "text_encoder", **about: Any) -> tuple[Network, Network]:
    """Return the rows of one file of weights: image encoder, text encoder.

    image, text: names of the two models. about: fields of `Network` that both share.
    """
    # A patch that belongs to one of two groups by a hair would change sides in 16 bits, and its group with it.
    about = {"family": "grouping", "train": TRAIN, "fast": False, **about}
    pictures = Network(
        name=image,
        title="GroupViT's image encoder: groups of pixels, what each means, and which pixels belong to it",
        load=_image_grouper,
        inputs=IMAGES,
        outputs=(
            Tensor("GROUPS", ("batch", "groups", "features")),
            Tensor("EMBEDDING", ("batch", "features")),
            Tensor("ASSIGNMENT", ("batch", "groups", "rows", "columns")),
        ),
        example={"IMAGE": (4, 160, 96, 3)},
        # The published size, windows of 448, frames as they are, a tiny and a long one; batches from 1 to the limit.
        check=(
            {"IMAGE": (1, 224, 224, 3)},
            {"IMAGE": (8, 224, 224, 3)},
            {"IMAGE": (2, 448, 448, 3)},
            {"IMAGE": (1, 480, 640, 3)},
            {"IMAGE": (1, 384, 512, 3)},
            {"IMAGE": (5, 32, 256, 3)},
            {"IMAGE": (3, 64, 32, 3)},
        ),
        make=street_pictures,
        tolerance=1e-4,
        profile=profiles.shapes("image_grouper", IMAGES),
        unit=("GROUPS", "EMBEDDING"),
        **about,
    )
    texts = Network(
        name=text,
        title="GroupViT's text encoder",
        load=_text_encoder,
        inputs=TEXTS,
        outputs=(Tensor("EMBEDDING", ("batch", "features")), Tensor("SCALE", ("batch", 1))),
        example={"TOKENS": (2, 33)},
        check=tuple({"TOKENS": shape} for shape in ((1, LENGTH), (64, 12), (3, 2), (7, 40), (16, LENGTH))),
        make=sentences,
        made="random texts of 2 to 77 tokens",
        tolerance=1e-4,
        profile=profiles.shapes("text_encoder", TEXTS),
        edition="2",  # since it says which tokens were learned
        **about,
    )
    return pictures, texts
