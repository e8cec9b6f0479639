"""Mixture-density detectors: SSD whose heads give a mixture of K Gaussians for every box coordinate and every class.

Contract of the served graph: IMAGE uint8 [B, H, W, 3], RGB 0-255 -> for N priors, K components and C classes (the first
is the background)

    PRIORS            float32 [B, N, 4]     cx, cy, w, h, pixels of IMAGE
    LOCATION_MEAN     float32 [B, N, K, 4]  offsets of cx, cy, w, h from the prior, scaled as `Design.scaled` says
    LOCATION_VARIANCE float32 [B, N, K, 4]  raw; sigmoid gives what `Design.location_sigmoid` says
    LOCATION_WEIGHT   float32 [B, N, K, 4]  raw; softmax over K gives the weights, per coordinate
    CLASS_MEAN        float32 [B, N, K, C]  logits
    CLASS_VARIANCE    float32 [B, N, K, C]  raw; absent from networks without class variance
    CLASS_WEIGHT      float32 [B, N, K]     raw; softmax over K gives one weight per component for all classes

Sources: US 12,387,481, paragraphs 68-82; Choi et al., "Active Learning for Deep Object Detection via Probabilistic
Modeling", ICCV 2021, section 3; SSD: Liu et al., ECCV 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.matching.network import Merge, Residual, Widths, convolution, normalise
from export.training import trunk
from export.training.trunk import TAPS, Trunk
from sluice.methods.mixtures.options import Reading

VARIANCES = (0.1, 0.2)  # SSD's scales of the offsets: of the centre, of the logarithm of the size
OUTPUTS = ("LOCATION_MEAN", "LOCATION_VARIANCE", "LOCATION_WEIGHT", "CLASS_MEAN", "CLASS_VARIANCE", "CLASS_WEIGHT")
STREET = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")


@dataclass(frozen=True)
class Source:
    """A feature map that boxes are read from. step: pixels per cell. shapes: (w, h) of each prior of a cell, pixels."""

    channels: int
    step: float
    shapes: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Design:
    """The settings that rebuild a network, stored beside its weights.

    preset: the backbone, one of PRESETS. labels: names of the classes without the background. components: K.
    mixture: False gives the plain detector, with offsets and logits alone (K = 1).
    class_variance: False gives the efficient form, without the heads of the class variance (equation 8 of the paper).
    location_sigmoid: what the training's loss took the sigmoid of LOCATION_VARIANCE for, `deviation` (published) or
    `variance` (the patent). scaled: whether the loss divided the offsets by `VARIANCES`. Readers of the heads need
    both, so both are stored with the weights and in the graph. Weights without them are of the published loss.
    """

    preset: str = "small"
    labels: tuple[str, ...] = STREET
    components: int = 4
    mixture: bool = True
    class_variance: bool = True
    location_sigmoid: str = "deviation"
    scaled: bool = True

    @property
    def classes(self) -> int:
        """Return C, the number of classes with the background."""
        return len(self.labels) + 1

    @property
    def k(self) -> int:
        """Return K, the number of components: 1 without mixture."""
        return self.components if self.mixture else 1

    @property
    def reading(self) -> Reading:
        """Return how the heads are to be read."""
        return Reading(self.location_sigmoid, *(VARIANCES if self.scaled else (1.0, 1.0)))

    def depths(self) -> dict[str, int]:
        """Return the numbers per prior and component of each output, in the order of the fused convolution."""
        if not self.mixture:
            return {"LOCATION_MEAN": 4, "CLASS_MEAN": self.classes}
        c = self.classes
        depths = dict(zip(OUTPUTS, (4, 4, 4, c, c, 1), strict=True))
        if not self.class_variance:
            del depths["CLASS_VARIANCE"]
        return depths


# ------------------------------------------------------------------------------------------------ backbones


# Three shapes per cell: square, standing (people, riders, signs), lying (cars).
STREET_SOURCES = tuple(
    Source(64, step, ((s, s), (s * 0.7, s * 1.6), (s * 1.5, s * 0.75)))
    for step, s in ((8, 18.0), (16, 40.0), (32, 84.0), (64, 180.0))
)


class Street(nn.Module):
    """The light backbone: first stages and way up of the feature extractor, read at strides 8, 16, 32 and 64.

    Its layers have the extractor's names, so that the extractor's weights load.
    forward: [B, 3, H, W], H and W multiples of 32 -> four maps of 64 channels.
    """

    channels = 64

    def __init__(self, widths: Widths | None = None):
        super().__init__()
        w = widths or Widths()
        self.quarter = nn.Sequential(convolution(48, w.quarter), Residual(w.quarter))
        self.eighth = nn.Sequential(convolution(w.quarter, w.eighth, stride=2), Residual(w.eighth), Residual(w.eighth))
        self.sixteenth = nn.Sequential(
            convolution(w.eighth, w.sixteenth, stride=2), Residual(w.sixteenth), Residual(w.sixteenth)
        )
        self.last = nn.Sequential(convolution(w.sixteenth, w.last, stride=2), Residual(w.last))
        self.up_sixteenth = Merge(w.last, w.sixteenth, self.channels)
        self.up_eighth = Merge(self.channels, w.eighth, self.channels)
        self.coarse = convolution(w.last, self.channels, size=1)
        self.coarsest = convolution(w.last, self.channels, stride=2)

    def sources(self) -> tuple[Source, ...]:
        """Return the four maps, finest first, with their priors."""
        return STREET_SOURCES

    def forward(self, x: Tensor) -> list[Tensor]:
        eighth = self.eighth(self.quarter(F.pixel_unshuffle(x, 4)))
        sixteenth = self.sixteenth(eighth)
        last = self.last(sixteenth)
        middle = self.up_sixteenth(last, sixteenth)
        return [self.up_eighth(middle, eighth), middle, self.coarse(last), self.coarsest(last)]

    def pixels(self, image: Tensor) -> Tensor:
        """Normalise an image, uint8 [B, H, W, 3] -> float32 [B, 3, H, W]."""
        return normalise(image)


class Lite(nn.Module):
    """The backbone on the pretrained trunk: its maps and a way up of our own, read at strides 8, 16, 32 and 64.

    forward: [B, 3, H, W] of `trunk.normalise`, H and W multiples of 32 -> four maps of 64 channels.
    """

    channels = 64

    def __init__(self) -> None:
        super().__init__()
        _, eighth, sixteenth, last = TAPS.values()
        self.trunk = Trunk()
        self.up_sixteenth = Merge(last, sixteenth, self.channels)
        self.up_eighth = Merge(self.channels, eighth, self.channels)
        self.coarse = convolution(last, self.channels, size=1)
        self.coarsest = convolution(self.channels, self.channels, stride=2)

    def sources(self) -> tuple[Source, ...]:
        """Return the four maps, finest first, with their priors."""
        return STREET_SOURCES

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.read(self.trunk(x))

    def read(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """Return the four maps that boxes are read from. taps: the trunk's four maps."""
        _, eighth, sixteenth, last = taps
        middle = self.up_sixteenth(last, sixteenth)
        coarse = self.coarse(last)
        return [self.up_eighth(middle, eighth), middle, coarse, self.coarsest(coarse)]

    def pixels(self, image: Tensor) -> Tensor:
        """Normalise an image, uint8 [B, H, W, 3] -> float32 [B, 3, H, W]."""
        return trunk.normalise(image)


class LengthNorm(nn.Module):
    """Scales each cell to length 1 and each channel by a learned factor, 20 at first. Source: SSD, section 3.1."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10) * self.weight[:, None, None]


# Smallest and next size of SSD300's priors at each source, pixels of 300.
SIZES = {
    "voc": ((30, 60), (60, 111), (111, 162), (162, 213), (213, 264), (264, 315)),
    "coco": ((21, 45), (45, 99), (99, 153), (153, 207), (207, 261), (261, 315)),
}


class Vgg(nn.Module):
    """SSD300's backbone: VGG-16 with its dense layers as convolutions, and four further stages.

    Layers have the names and places of published checkpoints. forward: [B, 3, 300, 300] -> six maps.
    """

    def __init__(self, set_: str = "voc"):
        super().__init__()
        self.set = set_
        layers: list[nn.Module] = []
        inputs = 3
        for item in (64, 64, "M", 128, 128, "M", 256, 256, 256, "C", 512, 512, 512, "M", 512, 512, 512):
            if isinstance(item, str):
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=item == "C"))
            else:
                layers += [nn.Conv2d(inputs, item, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = item
        layers += [nn.MaxPool2d(3, 1, 1), nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(1024, 1024, 1), nn.ReLU(inplace=True)]
        self.vgg = nn.ModuleList(layers)
        self.L2Norm = LengthNorm(512)
        further: tuple[tuple[int, int, int, int, int], ...]
        further = ((1024, 256, 1, 1, 0), (256, 512, 3, 2, 1), (512, 128, 1, 1, 0), (128, 256, 3, 2, 1))
        further += ((256, 128, 1, 1, 0), (128, 256, 3, 1, 0), (256, 128, 1, 1, 0), (128, 256, 3, 1, 0))
        self.extras = nn.ModuleList(nn.Conv2d(i, o, size, stride, pad) for i, o, size, stride, pad in further)
        for layer in self.extras:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def sources(self) -> tuple[Source, ...]:
        """Return the six maps, finest first, with their priors."""
        channels, steps = (512, 1024, 512, 256, 256, 256), (8, 16, 32, 64, 100, 300)
        ratios = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
        found = []
        for c, step, (s, next_), extra in zip(channels, steps, SIZES[self.set], ratios, strict=True):
            between = math.sqrt(s * next_)
            shapes = [(s, s), (between, between)]
            for ratio in extra:
                root = math.sqrt(ratio)
                shapes += [(s * root, s / root), (s / root, s * root)]
            found.append(Source(c, step, tuple(shapes)))
        return tuple(found)

    def forward(self, x: Tensor) -> list[Tensor]:
        for layer in self.vgg[:23]:
            x = layer(x)
        maps = [self.L2Norm(x)]
        for layer in self.vgg[23:]:
            x = layer(x)
        maps.append(x)
        for i, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if i % 2:
                maps.append(x)
        return maps

    def pixels(self, image: Tensor) -> Tensor:
        """Subtract the mean colour, uint8 [B, H, W, 3] -> float32 [B, 3, H, W]."""
        mean = torch.tensor((123.0, 117.0, 104.0), device=image.device)
        return (image.float() - mean).permute(0, 3, 1, 2)


# ------------------------------------------------------------------------------------------------ the detector


PRESETS: dict[str, Callable[[Design], Any]] = {
    "lite0": lambda _: Lite(),
    "small": lambda _: Street(),
    "ssd300_vgg16": lambda design: Vgg("coco" if design.classes == 81 else "voc"),
}


class MixtureSSD(nn.Module):
    """The detector. forward: IMAGE uint8 [B, H, W, 3] -> PRIORS, then the outputs of `design.depths()`.

    The module's docstring gives their shapes. One 3x3 convolution per source gives all heads; its channels run over
    output, prior of the cell, component, number.
    """

    def __init__(self, design: Design | None = None):
        super().__init__()
        d = self.design = design or Design()
        if d.preset not in PRESETS:
            raise ValueError(f"expected preset {' or '.join(PRESETS)}, got {d.preset!r}")
        self.backbone = PRESETS[d.preset](d)
        self.sources = self.backbone.sources()
        self.clipped = d.preset == "ssd300_vgg16"  # its priors end at the border of an image of 300 x 300
        width = d.k * sum(d.depths().values())
        self.heads = nn.ModuleList(nn.Conv2d(s.channels, len(s.shapes) * width, 3, padding=1) for s in self.sources)
        self._begin()

    @property
    def record(self) -> dict[str, str]:
        """Return the entries of the exported graph's metadata that tell readers how to read its heads."""
        return self.design.reading.as_record()

    @torch.no_grad()
    def _begin(self) -> None:
        """Set the first component's means as SSD does. The rest keeps torch's random values, which differ."""
        for head, source in zip(self.heads, self.sources, strict=True):
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            for name, part in self.parts(head.weight, len(source.shapes)).items():
                if name.endswith("MEAN"):
                    a, _, depth = part.shape[:3]
                    first = torch.empty(a * depth, *part.shape[3:])
                    nn.init.xavier_uniform_(first)
                    part[:, 0] = first.view(a, depth, *part.shape[3:])
            for name, part in self.parts(head.bias, len(source.shapes)).items():
                if name.endswith("MEAN"):
                    part[:, 0] = 0

    def parts(self, array: Tensor, a: int) -> dict[str, Tensor]:
        """Return the rows of a fused convolution as views: output -> [a, K, depth, ...]. a: priors per cell."""
        k, depths = self.design.k, self.design.depths()
        pieces = array.split([a * k * depth for depth in depths.values()])
        return {
            name: piece.view(a, k, depth, *array.shape[1:])
            for (name, depth), piece in zip(depths.items(), pieces, strict=True)
        }

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
        step = 1 if self.design.preset == "ssd300_vgg16" else 32
        if not traced and (image.ndim != 4 or image.shape[-1] != 3 or image.shape[1] % step or image.shape[2] % step):
            raise ValueError(
                f"expected IMAGE [B, H, W, 3] with H and W multiples of {step}, got {list(image.shape)}; "
                "pad the image on its canvas"
            )
        return self.raw(self.backbone.pixels(image))

    def raw(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of `forward` for normalised pixels [B, 3, H, W]."""
        return self.heads_of(self.backbone(pixels))

    def heads_of(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs of `forward` for the maps of the backbone."""
        k, depths = self.design.k, self.design.depths()
        parts: dict[str, list[Tensor]] = {name: [] for name in depths}
        batch = maps[0].shape[0]
        for map_, head, source in zip(maps, self.heads, self.sources, strict=True):
            a = len(source.shapes)
            pieces = head(map_).split([a * k * depth for depth in depths.values()], dim=1)
            for (name, depth), piece in zip(depths.items(), pieces, strict=True):
                parts[name].append(piece.flatten(2).transpose(1, 2).reshape(batch, -1, k, depth))
        found = {name: torch.cat(pieces, dim=1).float() for name, pieces in parts.items()}
        if "CLASS_WEIGHT" in found:
            found["CLASS_WEIGHT"] = found["CLASS_WEIGHT"].flatten(2)
        boxes = self.priors([(m.shape[2], m.shape[3]) for m in maps], maps[0].device)
        return boxes.expand(batch, -1, -1), *found.values()

    def priors(self, grids: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """Return the priors, float32 [1, N, 4]: cx, cy, w, h in pixels, by source, row, column, shape.

        grids: (h, w) of each source's map.
        """
        found = []
        for (h, w), source in zip(grids, self.sources, strict=True):
            shapes = torch.tensor(source.shapes, dtype=torch.float32, device=device)
            y = ((torch.arange(h, device=device).float() + 0.5) * source.step).view(-1, 1, 1, 1)
            x = ((torch.arange(w, device=device).float() + 0.5) * source.step).view(1, -1, 1, 1)
            cell = torch.zeros_like(y) + torch.zeros_like(x) + torch.zeros(1, 1, len(shapes), 1, device=device)
            found.append(torch.cat([cell + x, cell + y, cell + shapes[:, :1], cell + shapes[:, 1:]], dim=3).view(-1, 4))
        boxes = torch.cat(found)
        if self.clipped:
            boxes = boxes.clamp(min=0, max=300)
        return boxes[None]


def plain(design: Design) -> Design:
    """Return the design of the same detector without mixture heads, to compare with."""
    return replace(design, mixture=False)
