"""Compares the graph that will be served with the network as it came, at every canvas and in batches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from export import check, entry
from export.entry import Network
from export.examples import street_pictures
from export.features import pictures
from export.features.canvases import Canvases
from export.features.served import INPUT, MODEL, OUTPUT, Plan
from export.features.source import Source

TOLERANCE = 2e-3  # four steps of float16 below 1
BATCH = 3  # compared beside single images


class Reference(nn.Module):
    """The network as it came, on pictures. forward: IMAGE uint8 [B, H, W, 3] -> FEATURES float16 [B, h, w, C]."""

    def __init__(self, source: Source, plan: Plan):
        super().__init__()
        self.look, self.plan = pictures.vectors(source, plan.map, plan.mean, plan.std), plan

    def forward(self, image: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pictures.features(self.look(image.numpy()), self.plan)))


def measured(model: ModelProto, source: Source, plan: Plan, seen: Canvases, say: Callable[[str], None]) -> check.Report:
    """Return the differences between a graph and its source on generated street scenes, and what bf16 costs.

    Raises ExportError where they differ by more than TOLERANCE, or in shape, or cells have not length 1.
    """
    singles = tuple({INPUT: (1, height, width, 3)} for width, height in seen.sizes)
    width, height = seen.sizes[0]
    network = Network(
        name=MODEL,
        title=f"Feature map of {source.origin}",
        load=lambda _: Reference(source, plan),
        train="sluice export features",
        inputs=(entry.Tensor(INPUT, ("batch", "height", "width", 3)),),
        outputs=(entry.Tensor(OUTPUT, ("batch", "rows", "columns", plan.channels)),),
        example=singles[0],
        check=(*singles, {INPUT: (BATCH, height, width, 3)}),
        make=street_pictures,
        tolerance=TOLERANCE,
        profile={INPUT: profile(seen)},
        unit=(OUTPUT,),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        say("the network as it came against the graph that is served:")
        return check.compare(network, path, path, say)


def profile(seen: Canvases) -> tuple[entry.Shape, entry.Shape, entry.Shape]:
    """Return the least, the most frequent and the greatest shape of IMAGE."""
    widths, heights = zip(*seen.sizes, strict=True)
    return (1, min(heights), min(widths), 3), (4, heights[0], widths[0], 3), (8, max(heights), max(widths), 3)
