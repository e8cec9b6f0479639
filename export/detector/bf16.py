"""Measures what bf16 through OpenVINO costs a detector, by which its configs serve bf16 or fp32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from export.detector import checking
from export.detector.mapping import Mapping
from sluice.server import profile

PICTURES = 4  # per canvas
MOST_PIXELS, MOST_SCORE = 0.5, 0.005  # mean differences up to which the profile cpu-fast takes bf16


@dataclass(frozen=True)
class Cost:
    """Differences between bf16 and fp32, of the boxes that reach the mapping's `confidence`.

    pixels, scores: mean and greatest difference of a corner and of a score. boxes: how many were compared; 0 where bf16
    gives another number of boxes. reason: why bf16 was not measured, empty if it was.
    """

    pixels: tuple[float, float] = (0.0, 0.0)
    scores: tuple[float, float] = (0.0, 0.0)
    boxes: int = 0
    reason: str = ""

    @property
    def small(self) -> bool:
        """Return whether the profile cpu-fast takes bf16."""
        return bool(self.boxes) and self.pixels[0] <= MOST_PIXELS and self.scores[0] <= MOST_SCORE

    def told(self) -> str:
        """Return the cost in a sentence."""
        served = "bf16" if self.small else "fp32"
        if not self.boxes:
            return f"bf16: {self.reason}; the profiles auto and cpu-fast serve fp32"
        return (
            f"bf16: corners of {self.boxes} boxes differ from fp32 by {self.pixels[0]:.2g} pixels on average "
            f"({self.pixels[1]:.2g} at most), scores by {self.scores[0]:.1e} ({self.scores[1]:.1e}); up to "
            f"{MOST_PIXELS:g} and {MOST_SCORE:g} on average the profiles auto and cpu-fast serve bf16, so they serve "
            f"{served}"
        )


def cost(model: ModelProto, mapping: Mapping) -> Cost:
    """Return what bf16 costs on generated street scenes, at every canvas."""
    lacking = profile.bf16_here()[1]
    if lacking:
        return Cost(reason=f"not measured, because {lacking}")
    import openvino

    core, whole = openvino.Core(), checking.session(model)
    source = core.read_model(model.SerializeToString(), b"")
    corners, shares = [], []
    for size in mapping.sizes:
        source.reshape({"IMAGE": [1, size[1], size[0], 3]})
        settings = {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
        short = core.compile_model(source, "CPU", settings)
        for image in checking.picture(size, PICTURES):
            boxes, scores, _ = whole.run(None, {"IMAGE": image[None]})
            found = short({"IMAGE": image[None]})
            if found["MEMBER_BOXES"].shape != boxes.shape:
                return Cost(reason="it gives another number of boxes than fp32")
            kept = scores.max(-1) >= mapping.confidence
            corners.append(np.abs(found["MEMBER_BOXES"] - boxes)[kept].ravel())
            shares.append(np.abs(found["MEMBER_SCORES"] - scores)[kept].ravel())
    pixels, points = np.concatenate(corners), np.concatenate(shares)
    if not pixels.size:
        return Cost(reason=f"no box of the generated scenes reaches the confidence {mapping.confidence:g}")
    return Cost(
        (float(pixels.mean()), float(pixels.max())), (float(points.mean()), float(points.max())), pixels.size // 4
    )
