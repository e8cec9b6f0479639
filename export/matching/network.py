"""The feature extractor: a one-stage detector with a U-Net backbone, and Deep Template Matching's map taken from it.

Contract of the served graph: IMAGE uint8 [B, H, W, 3], RGB 0-255, H and W any multiples of 32
-> FEATURES float16 [B, H/8, W/8, 64], each cell of length 1. STRIDE = 8, CHANNELS = 64.

The penultimate map (stride 4, before the detector's last 1x1 convolution) is max-pooled 2x2, then normalised over its
channels in every cell.
Sources: US 2025/0265847, paragraphs 39-40; U-Net: Ronneberger et al., 2015; heat maps: Zhou et al., 2019.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export import stored
from export.training import trunk
from export.training.trunk import TAPS, Trunk

STRIDE = 8
CHANNELS = 64
DENSE_CLASSES = 11
OBJECT_CLASSES = 4


@dataclass(frozen=True)
class Widths:
    """The channels at strides 4, 8, 16 and 32 and of the way up. They rebuild a network and are stored beside it."""

    quarter: int = 48
    eighth: int = 80
    sixteenth: int = 128
    last: int = 128
    decoder: int = 64
    up: int = 48  # of the last step up, at stride 4, where a channel costs most
    channels: int = CHANNELS
    trunk: str = (
        ""  # "lite0" for the pretrained trunk below the way up; then eighth, sixteenth and last are the trunk's
    )


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, activate: bool = True) -> nn.Sequential:
    """Return a convolution with batch norm and, where `activate`, ReLU. size: of the kernel, pixels a side."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if activate else nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al., 2015)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = convolution(width, width)
        self.second = convolution(width, width, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Merge(nn.Module):
    """One step up: the coarser map, doubled in size, added to the finer one, then mixed by a 3x3 convolution."""

    def __init__(self, coarse: int, fine: int, width: int):
        super().__init__()
        self.coarse = convolution(coarse, width, size=1, activate=False)
        self.fine = convolution(fine, width, size=1, activate=False)
        self.mix = convolution(width, width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = F.interpolate(self.coarse(coarse), scale_factor=2, mode="nearest")
        return self.mix(F.relu(up + self.fine(fine)))


class Detector(nn.Module):
    """Backbone, penultimate map and the detector's heads.

    forward: [B, 3, H, W] float, RGB scaled by `pixels` -> penultimate map [B, C, H/4, W/4], signed.
    """

    def __init__(self, widths: Widths | None = None):
        super().__init__()
        w = self.widths = widths or Widths()
        # Four by four pixels become channels first, since convolutions at full and half size are slowest on a CPU.
        self.quarter = nn.Sequential(convolution(48, w.quarter), Residual(w.quarter))
        if w.trunk:
            fourth, eighth, sixteenth, last = TAPS.values()
            self.trunk = Trunk()
            self.up_sixteenth = Merge(last, sixteenth, 96)
            self.up_eighth = Merge(96, eighth, w.decoder)
            self.up_quarter = Merge(w.decoder, fourth + w.quarter, w.up)
        else:
            self.eighth = nn.Sequential(
                convolution(w.quarter, w.eighth, stride=2), Residual(w.eighth), Residual(w.eighth)
            )
            self.sixteenth = nn.Sequential(
                convolution(w.eighth, w.sixteenth, stride=2), Residual(w.sixteenth), Residual(w.sixteenth)
            )
            self.last = nn.Sequential(convolution(w.sixteenth, w.last, stride=2), Residual(w.last))
            self.up_sixteenth = Merge(w.last, w.sixteenth, w.decoder)
            self.up_eighth = Merge(w.decoder, w.eighth, w.decoder)
            self.up_quarter = Merge(w.decoder, w.quarter, w.up)
        self.penultimate = nn.Conv2d(w.up, w.channels, 1)
        # Eleven dense classes, a heat map per object class, log(width / 16) and log(height / 16) in canvas pixels.
        self.heads = nn.Conv2d(w.channels, DENSE_CLASSES + OBJECT_CLASSES + 2, 1)
        assert self.heads.bias is not None  # asked for by default
        nn.init.constant_(self.heads.bias[DENSE_CLASSES : DENSE_CLASSES + OBJECT_CLASSES], -4.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.widths.trunk:
            fourth, eighth, sixteenth, last = self.trunk(x)
            quarter = torch.cat([fourth, self.quarter(F.pixel_unshuffle(2 * x + 13 / 64, 4))], dim=1)
        else:
            quarter = self.quarter(F.pixel_unshuffle(x, 4))
            eighth = self.eighth(quarter)
            sixteenth = self.sixteenth(eighth)
            last = self.last(sixteenth)
        x = self.up_sixteenth(last, sixteenth)
        x = self.up_quarter(self.up_eighth(x, eighth), quarter)
        return self.penultimate(x)

    def pixels(self, image: Tensor) -> Tensor:
        """Scale an image as this network wants it, uint8 RGB [B, H, W, 3] -> float32 [B, 3, H, W]."""
        return trunk.normalise(image) if self.widths.trunk else normalise(image)

    def detect(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return dense class logits [B, 11, h, w], object heat map logits [B, 4, h, w], log sizes [B, 2, h, w].

        features: the penultimate map [B, C, h, w].
        """
        out = self.heads(features)
        return out.split((DENSE_CLASSES, OBJECT_CLASSES, 2), dim=1)


def normalise(image: Tensor) -> Tensor:
    """Scale an image, uint8 RGB [B, H, W, 3] -> float32 [B, 3, H, W], about -2..2."""
    return (image.permute(0, 3, 1, 2).float() - 114.0) * (1.0 / 64.0)


def cells(features: Tensor) -> Tensor:
    """Max-pool the penultimate map, then give every cell length 1. [B, C, h, w] -> [B, C, h/2, w/2] float32."""
    pooled = F.max_pool2d(features.float(), 2)
    return pooled * torch.rsqrt((pooled * pooled).sum(dim=1, keepdim=True) + 1e-12)


class FeatureExtractor(nn.Module):
    """The served network. forward: IMAGE uint8 [B, H, W, 3] -> FEATURES float16 [B, H/8, W/8, 64], cells of length 1.

    Call `eval()` before exporting. Raises ValueError for sizes that are no multiples of 32. The exported graph does not
    check, since the decoder only makes such sizes.
    """

    def __init__(self, detector: Detector):
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> Tensor:
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
        wrong = image.ndim != 4 or image.shape[-1] != 3
        if not traced and (wrong or image.shape[1] % 32 or image.shape[2] % 32):
            raise ValueError(
                f"expected IMAGE [B, H, W, 3] with H and W multiples of 32, got {list(image.shape)}; "
                "pad the image on its canvas"
            )
        return cells(self.detector(self.detector.pixels(image))).permute(0, 2, 3, 1).half()


def save(detector: Detector, path: str | Path, replace: bool = False) -> None:
    """Store a network as float16, with the widths that rebuild it. replace: as for `trunk.set_apart`."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in detector.state_dict().items()}
    named = trunk.set_apart(state, "trunk.", Path(path), replace)
    torch.save({"widths": asdict(detector.widths), "state": state, **named}, path)


def load(path: str | Path) -> FeatureExtractor:
    """Return the extractor with stored weights, in eval mode and float32.

    Raises FileNotFoundError, or ValueError with one sentence where the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"weights {path.name} not found; train them with: python -m export.matching.train --out {path.name}"
        )
    found = stored.read(path)
    if not isinstance(found, dict) or not {"widths", "state"} <= set(found) <= {"widths", "state", "trunk"}:
        raise ValueError(
            f"expected weights of the feature extractor in {path.name}, got another file; pass feature_extractor.pt"
        )
    detector = Detector(Widths(**found["widths"]))
    stored.fill(detector, trunk.put_back(found, "trunk.", path), path.name)
    return FeatureExtractor(detector).eval()
