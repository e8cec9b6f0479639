"""Measures how far a network of `enhance` looks: tiles that overlap by this radius give the whole frame's answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from export.video.network import Design, Enhancer, Served

AT_FIRST = 64  # pixels measured to either side, doubled until the radius ends within them
NARROW = 8  # pixels across the measured strip


def radius(design: Design) -> int:
    """Return the greatest distance of an input pixel that any output depends on, chroma included: pixels, at least 1.

    The measure is by derivatives of the whole served graph, with 4:2:0 and RGB planes, down and across. The radius
    depends on how layers are joined, not on widths or weights. So the measured network has the same layers with one or
    two channels, and positive weights, whose derivatives cannot cancel each other.
    """
    blocks = int(design.settings.get("blocks", 1))
    if blocks > 2:  # equal blocks in a row reach equally far, and to measure each would take minutes
        one, two = (radius(Design(design.kind, {**design.settings, "blocks": count})) for count in (1, 2))
        return one + (blocks - 1) * (two - one)
    served = Served(Enhancer(design, positive(thin(design).build())))
    served.double()
    reach = AT_FIRST
    while True:
        found = max(_seen(served, reach, halved, across) for halved in (True, False) for across in (False, True))
        if found < reach - 2 * served.stride - 2:
            return max(found, 1)
        reach *= 2


def thin(design: Design) -> Design:
    """Return a design of the same layers with one or two channels. Layers without channels stay so."""

    def least(value: Any, most: int) -> Any:
        """Return a number, or each number of nested lists, as at most `most`."""
        return [least(item, most) for item in value] if isinstance(value, list | tuple) else min(int(value), most)

    channels = {"width": 2, "fine": 2, "growth": 1, "hidden": 1}
    settings = {
        name: least(value, channels[name]) if name in channels else value for name, value in design.settings.items()
    }
    return Design(design.kind, settings)


def positive(network: nn.Module) -> nn.Module:
    """Set positive random weights without bias, so that a convolution's output is about the mean of its inputs."""
    random = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        with torch.no_grad():
            parameter.copy_(torch.rand(parameter.shape, generator=random) + 0.5)
            if parameter.dim() > 1:
                parameter.div_(parameter[0].numel())
            elif name.endswith("bias"):
                parameter.zero_()
    return network.eval()


def _seen(served: Served, reach: int, halved: bool, across: bool) -> int:
    """Return the greatest distance along a strip of a pixel that outputs in its middle depend on.

    reach: half the length of the strip. halved: 4:2:0 planes, otherwise RGB. across: a horizontal strip.
    """
    length, finer = 2 * reach, 2 if halved else 1
    middle = reach // 16 * 16  # where tiles may begin
    size = (NARROW, length) if across else (length, NARROW)
    luma = torch.full((1, *size), 1.0, dtype=torch.float64, requires_grad=True)
    chroma = torch.full((1, *(side // finer for side in size), 2), 1.0, dtype=torch.float64, requires_grad=True)
    # Far below 1, so that no clamp cuts a derivative off.
    colour = 1e-9 * torch.tensor([[[3, 1, 1, 1], [1, 4, 1, 1], [1, 1, 5, 1]]], dtype=torch.float64)
    outputs = served.enhanced(luma, chroma, colour, torch.ones(1, 1, dtype=torch.float64))
    farthest = 0
    period = max(served.stride, finer) * served.scale
    for output, coarser in zip(outputs, (1, finer), strict=True):
        lines = output.sum((1, 2) if across else (1, 3))[0]
        for index in range(middle * served.scale // coarser, (middle * served.scale + period) // coarser):
            first = index * coarser // served.scale
            last = (index * coarser + coarser - 1) // served.scale
            slopes = torch.autograd.grad(lines[index], (luma, chroma), retain_graph=True)
            for slope, grain in zip(slopes, (1, finer), strict=True):
                met = _met(slope, across)
                farthest = max(farthest, first - met[0] * grain, met[1] * grain + grain - 1 - last)
    return farthest


def _met(slope: Tensor, across: bool) -> tuple[int, int]:
    """Return the first and the last row (column if `across`) with a derivative. slope: [1, H, W] or [1, H, W, 2]."""
    slope = slope[0].abs().sum(2) if slope.dim() == 4 else slope[0].abs()
    met = torch.nonzero(slope.sum(0 if across else 1)).flatten()
    return int(met[0]), int(met[-1])
