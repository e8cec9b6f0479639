"""The row of Deep Template Matching's network in the table of exports. Imports no torch until the network is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.entry import Network, Tensor
from export.examples import street_pictures
from export.tensorrt import profiles
from export.training import CAMVID_DATA, CAMVID_LICENCE


def load(weights: Path) -> Any:
    """Return the feature extractor with these weights, as `export.matching.network.load` does."""
    from export.matching import network

    return network.load(weights)


INPUTS = (Tensor("IMAGE", ("batch", "height", "width", 3)),)
ENTRIES = (
    Network(
        name="feature_extractor",
        title="Feature map of Deep Template Matching: a one-stage detector with a U-Net backbone, penultimate map",
        load=load,
        train="python -m export.matching.train --data ../shared/data/camvid --out new/feature_extractor.pt "
        "--set trunk=lite0 --set camera=0.3",
        inputs=INPUTS,
        outputs=(Tensor("FEATURES", ("batch", "rows", "columns", 64)),),
        example={"IMAGE": (2, 96, 160, 3)},
        # Every canvas of `image_decoder`, a tiny and a long one; batches from 1 to the model's limit.
        check=(
            {"IMAGE": (1, 480, 640, 3)},
            {"IMAGE": (3, 416, 736, 3)},
            {"IMAGE": (4, 544, 544, 3)},
            {"IMAGE": (1, 640, 480, 3)},
            {"IMAGE": (1, 736, 416, 3)},
            {"IMAGE": (8, 64, 64, 3)},
            {"IMAGE": (5, 32, 256, 3)},
        ),
        make=street_pictures,
        # Outputs are float16 of length 1. A step of float16 below 1 is 0.0005, so rounding may differ by one step.
        tolerance=1e-3,
        profile=profiles.shapes("feature_extractor", INPUTS),
        unit=("FEATURES",),
        data=CAMVID_DATA,
        licence=CAMVID_LICENCE,
    ),
)
