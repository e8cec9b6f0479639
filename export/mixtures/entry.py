"""The entries of mixture-density detectors in the table of networks. Imports no torch until a network is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.entry import Tensor


def _mixture_detector(weights: Path) -> Any:
    from export.mixtures import files
    from export.mixtures import network as mixtures_network

    network = files.load(weights)
    missing = [name for name in mixtures_network.OUTPUTS if name not in network.design.depths()]
    if missing:
        raise ValueError(f"they lack the heads of {', '.join(missing)}, which the model's config.pbtxt promises")
    return network


# The contract of every mixture-density detector; K and C are free, so that one config serves them all.
MIXTURE_HEADS = (
    Tensor("PRIORS", ("batch", "priors", 4)),
    Tensor("LOCATION_MEAN", ("batch", "priors", "components", 4)),
    Tensor("LOCATION_VARIANCE", ("batch", "priors", "components", 4)),
    Tensor("LOCATION_WEIGHT", ("batch", "priors", "components", 4)),
    Tensor("CLASS_MEAN", ("batch", "priors", "components", "classes")),
    Tensor("CLASS_VARIANCE", ("batch", "priors", "components", "classes")),
    Tensor("CLASS_WEIGHT", ("batch", "priors", "components")),
)
