"""The entry of `feature_extractor` in the table of networks. Imports no torch until a network is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _feature_extractor(weights: Path) -> Any:
    from export.matching import network as features

    return features.load(weights)
