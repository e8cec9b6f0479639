"""Makes the row of a network of `enhance` in the table of exports, ours or imported. Imports no torch until used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.entry import Network, Shape, Tensor
from export.tensorrt import profiles

INPUTS = (
    Tensor("LUMA", ("batch", "height", "width")),
    Tensor("CHROMA", ("batch", "rows", "columns", 2)),
    Tensor("COLOUR", ("batch", 3, 4)),
    Tensor("STRENGTH", ("batch", 1)),
)


def entry(name: str, start: str = "", **about: Any) -> Network:
    """Return the row of one network.

    name: of the model and of its weights. start: name of the weights that its training begins with, empty where it
    begins at random. about: other fields of `Network`.
    """
    train = about.pop("train", "") or (
        f"python -m export.video.train --model {name} --data ../shared/data/camvid "
        f"--judge ../shared/data/restoration {f'--start weights/{start}.pt ' if start else ''}--out weights/{name}.pt"
    )
    return Network(
        name=name,
        load=about.pop("load", _served),
        inputs=INPUTS,
        outputs=(
            Tensor("LUMA_OUT", ("batch", "height_out", "width_out")),
            Tensor("CHROMA_OUT", ("batch", "rows_out", "columns_out", 2)),
        ),
        example=shapes(2, 36, 52),
        # A frame, both kinds of chroma, odd sizes, a tiny and a long one; batches from 1 to the limit.
        check=about.pop("check", ())
        or (
            shapes(1, 270, 480),
            shapes(4, 120, 160),
            shapes(3, 97, 131),
            shapes(1, 64, 250, halved=False),
            shapes(1, 7, 5),
            shapes(1, 1, 1, halved=False),
        ),
        make=frames,
        # Grey levels. A value next to a half may be rounded either way.
        tolerance=1.0,
        profile=profiles.shapes("frame_network", INPUTS),
        train=train,
        **about,
    )


def _served(weights: Path) -> Any:
    """Return the served network with these weights."""
    from export.video import network

    return network.Served(network.load(weights)).eval()


def shapes(batch: int, height: int, width: int, halved: bool = True) -> dict[str, Shape]:
    """Return the inputs' shapes for frames of that size. halved: True for YUV 4:2:0, False for RGB."""
    rows, columns = (-(-height // 2), -(-width // 2)) if halved else (height, width)
    return {
        "LUMA": (batch, height, width),
        "CHROMA": (batch, rows, columns, 2),
        "COLOUR": (batch, 3, 4),
        "STRENGTH": (batch, 1),
    }


def frames(wanted: Mapping[str, Shape], seed: int) -> dict[str, Any]:
    """Return generated street scenes as inputs. STRENGTH is uniform in [0, 1] per frame, and 1 for the first."""
    import numpy as np

    import scenes
    from sluice.methods.video.planes import RGB, Colour, Picture

    batch, height, width = wanted["LUMA"]
    colour = RGB if wanted["CHROMA"][1:3] == (height, width) else Colour("bt709", "limited")
    luma, chroma = [], []
    for index in range(batch):
        scene = scenes.render(seed + index, (max(width, 64), max(height, 64))).image[:height, :width]
        picture = Picture.of_rgb(scene)
        if colour is not RGB:
            picture = Picture.of_planes(picture.planes(colour), height, width, colour)
        luma.append(picture.luma)
        chroma.append(picture.chroma)
    strength = np.random.default_rng(seed).uniform(0, 1, (batch, 1)).astype(np.float32)
    strength[0] = 1
    return {
        "LUMA": np.stack(luma),
        "CHROMA": np.stack(chroma),
        "COLOUR": np.repeat(colour.to_rgb[None].astype(np.float32), batch, 0),
        "STRENGTH": strength,
    }
