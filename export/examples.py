"""Makes inputs on which a graph is compared with torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.entry import Shape


def street_pictures(shapes: Mapping[str, Shape], seed: int) -> dict[str, Any]:
    """Return generated street scenes as IMAGE, uint8 [B, H, W, 3] RGB, no two of a batch alike."""
    import numpy as np

    import scenes

    batch, height, width, _ = shapes["IMAGE"]
    return {"IMAGE": np.stack([scenes.render(seed + index, (width, height)).image for index in range(batch)])}
