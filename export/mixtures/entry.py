"""The rows of mixture-density detectors in the table of exports. Imports no torch until a network is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.entry import Network, Tensor
from export.examples import street_pictures
from export.tensorrt import profiles
from export.training import CAMVID_DATA, CAMVID_LICENCE

INPUTS = (Tensor("IMAGE", ("batch", "height", "width", 3)),)
# The contract of every mixture-density detector. K and C are free, so that one config serves them all.
HEADS = (
    Tensor("PRIORS", ("batch", "priors", 4)),
    Tensor("LOCATION_MEAN", ("batch", "priors", "components", 4)),
    Tensor("LOCATION_VARIANCE", ("batch", "priors", "components", 4)),
    Tensor("LOCATION_WEIGHT", ("batch", "priors", "components", 4)),
    Tensor("CLASS_MEAN", ("batch", "priors", "components", "classes")),
    Tensor("CLASS_VARIANCE", ("batch", "priors", "components", "classes")),
    Tensor("CLASS_WEIGHT", ("batch", "priors", "components")),
)


def load(weights: Path) -> Any:
    """Return the detector with these weights. Raises ValueError where it lacks heads of the contract `HEADS`."""
    from export.mixtures import files

    detector = files.load(weights)
    missing = [head.name for head in HEADS[1:] if head.name not in detector.design.depths()]
    if missing:
        raise ValueError(f"they lack the heads of {', '.join(missing)}, which the model's config.pbtxt promises")
    return detector


ENTRIES = (
    Network(
        name="mixture_detector",
        title="Mixture-density detector: SSD with a mixture of Gaussians for every box coordinate and class",
        load=load,
        train="python -m export.mixtures.train --data ../shared/data/camvid --out weights/mixture_detector.pt "
        "--set trunk=lite0 --set scene_count=700 --set canvas=1.2 --set camera=0.2",
        inputs=INPUTS,
        outputs=HEADS,
        example={"IMAGE": (2, 96, 160, 3)},
        # Every canvas of `detect`, a tiny and a long one; batches from 1 to the model's limit.
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
        # Raw heads reach about 20; sums of a few hundred products differ in the last digits of float32.
        tolerance=2e-3,
        profile=profiles.shapes("mixture_detector", INPUTS),
        edition="2",  # its graph says how the heads are to be read
        data=CAMVID_DATA,
        licence=CAMVID_LICENCE,
    ),
    # A user's own checkpoint of the published network, served in the place of the small one; see
    # docs/decisions/mixtures.md for the parameters of `detect` that go with it.
    Network(
        name="ssd300_vgg16",
        model="mixture_detector",
        title="Mixture-density detector as published: SSD300 on VGG-16, 8,732 priors",
        load=load,
        train="the published recipe; any checkpoint with its key names is taken: --weights FILE.pth",
        inputs=INPUTS,
        outputs=HEADS,
        example={"IMAGE": (2, 320, 352, 3)},
        check=({"IMAGE": (1, 300, 300, 3)}, {"IMAGE": (3, 300, 300, 3)}),
        make=street_pictures,
        tolerance=2e-3,
        profile=profiles.shapes("ssd300_vgg16", INPUTS),
        edition="2",  # its graph says how the heads are to be read
    ),
)
