"""Inputs on which a graph is compared with torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.entry import Shape


def street_pictures(shapes: Mapping[str, Shape], seed: int) -> dict[str, Any]:
    """Generated street scenes as IMAGE, uint8 [B, H, W, 3] RGB; every picture of a batch is another one."""
    import numpy as np

    import scenes

    batch, height, width, _ = shapes["IMAGE"]
    return {"IMAGE": np.stack([scenes.render(seed + index, (width, height)).image for index in range(batch)])}
