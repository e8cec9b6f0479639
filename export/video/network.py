"""Networks of the verb `enhance`: their designs, their files, and the graph that is served.

A file of weights holds one network: U-SNet, which removes artefacts, or a network that enlarges. `Served` gives all of
them one contract: the planes of a frame go in and come out, uint8, as video has them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export import stored
from export.video import esrgan, ncnn_file
from export.video.planes import difference, enlarged, from_rgb, reduced, subsampling, to_bytes, to_rgb
from export.video.rrdb import RRRDB, RRDBNet, SRVGGNetCompact, bicubic
from export.video.usnet import STRIDE, USNet, whole

KINDS: dict[str, type[nn.Module]] = {"usnet": USNet, "rrrdb": RRRDB, "rrdbnet": RRDBNet, "srvgg": SRVGGNetCompact}


@dataclass(frozen=True)
class Design:
    """The settings that rebuild a network: a name of `KINDS`, and the arguments of that class."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of network {self.kind!r}; there are: {', '.join(KINDS)}")

    def build(self) -> nn.Module:
        """Return a new network of this design."""
        return KINDS[self.kind](**self.settings)


# `small` is shipped, `large` is for a GPU. Reference section 3.3 gives multiply-adds per pixel of the input.
PRESETS = {
    "usnet_tiny": Design("usnet", {"width": 16, "hidden": [32] * 7}),
    "usnet_small": Design("usnet", {"width": 32, "hidden": [64] * 7}),
    "usnet_large": Design("usnet", {"width": 64, "hidden": [128] * 7}),
    # Sixteen channels are a block of ONNX Runtime's layout, which pays for whole blocks. There is no convolution at
    # high resolution, since one would take a third of the time. docs/decisions/video.md says what else was tried.
    "rrrdb_small": Design("rrrdb", {"width": 16, "fine": 0, "growth": [[[16]] * 2]}),
    "rrrdb_medium": Design("rrrdb", {"width": 32, "fine": 16, "growth": [[[16, 16]] * 2] * 3}),
    "rrrdb_large": Design("rrrdb", {"width": 32, "fine": 16, "growth": [[[16] * 4] * 3] * 4}),
}


@dataclass(frozen=True)
class Enhancer:
    """A network with its design."""

    design: Design
    network: nn.Module

    @property
    def scale(self) -> int:
        """Return the ratio of output to input, per side."""
        return int(getattr(self.network, "scale", 1))

    @property
    def stride(self) -> int:
        """Return the step in pixels of the input by which a picture may move without changing the answer."""
        return STRIDE if self.design.kind == "usnet" else int(getattr(self.network, "fold", 1))


class Served(nn.Module):
    """The served network. forward, for B frames of one size:

    LUMA uint8 [B, H, W], CHROMA uint8 [B, h, w, 2], COLOUR float32 [B, 3, 4], STRENGTH float32 [B, 1]
        -> LUMA_OUT uint8 [B, sH, sW], CHROMA_OUT uint8 [B, sh, sw, 2]

    YUV 4:2:0 has h = ceil(H/2), w = ceil(W/2) and CHROMA (U, V), and comes out with chroma of half the size of
    LUMA_OUT, rounded up. RGB has h = H, w = W, LUMA R and CHROMA (G, B). A frame of one pixel counts as RGB.
    COLOUR maps (plane 0, plane 1, plane 2, 1), planes 0..255, to RGB 0..1. STRENGTH 0 gives the frame as it is
    (removers) or enlarged bicubically, 1 the network's answer.

    A remover adds its change to the planes, so chroma that it does not change comes out as it went in, although it was
    enlarged on the way.
    """

    def __init__(self, enhancer: Enhancer):
        super().__init__()
        self.network, self.scale, self.stride = enhancer.network.eval(), enhancer.scale, enhancer.stride
        self.whole = enhancer.design.kind == "usnet"

    def forward(self, luma: Tensor, chroma: Tensor, colour: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        first, rest = self.enhanced(luma.float(), chroma.float(), colour, strength)
        # To bytes at the very end, since TensorRT has bytes at the edges of a graph only.
        return to_bytes(first[:, 0]), to_bytes(rest.permute(0, 2, 3, 1))

    def enhanced(self, luma: Tensor, chroma: Tensor, colour: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        """Return the answer in floating point, neither rounded nor cut off: planes [B, 1, sH, sW], [B, 2, sh, sw]."""
        height, width = luma.shape[1], luma.shape[2]
        finer = subsampling(luma, chroma)
        first, rest = luma[:, None], chroma.permute(0, 3, 1, 2)
        planes = torch.cat([first, enlarged(rest, finer)[:, :, :height, :width]], 1)
        rgb = to_rgb(planes, colour)
        strength = strength.reshape(-1, 1, 1, 1)
        if self.scale == 1:
            seen = whole(rgb) if self.whole else rgb
            found = self.network(seen)[:, :, :height, :width].clamp(0, 1)
            change = strength * difference(found - rgb, colour)
            return first + change[:, :1], rest + reduced(change[:, 1:], finer)
        if isinstance(self.network, RRRDB | SRVGGNetCompact):
            found = self.network.beyond(rgb, strength)
        else:
            plain = self._plain(rgb)
            found = plain + strength * (self.network(rgb) - plain)
        planes = from_rgb(found.clamp(0, 1), colour)
        height, width = self.scale * height, self.scale * width
        return planes[:, :1, :height, :width], reduced(planes[:, 1:], finer, (height, width))

    def _plain(self, rgb: Tensor) -> Tensor:
        """Return RGB enlarged without the network."""
        if self.scale == 2:
            return bicubic(rgb)
        if self.scale == 4:
            return bicubic(bicubic(rgb))
        return nn.functional.interpolate(rgb, scale_factor=self.scale, mode="bicubic")


def save(enhancer: Enhancer, path: str | Path, half: bool = True) -> None:
    """Store a network as float16, or as float32 if `half` is False, without the branches that only training has."""
    state = {name: value for name, value in enhancer.network.state_dict().items() if not name.startswith("branches.")}
    if half:
        state = {name: value.half() for name, value in state.items()}
    torch.save({"design": asdict(enhancer.design), "state": state}, path)


def load(path: str | Path) -> Enhancer:
    """Return the network of a file of `save` or of an ESRGAN or Real-ESRGAN checkpoint, in eval mode and float32.

    path: of torch's or safetensors' file, or of ncnn's NAME.param, which has NAME.bin beside it.
    Raises FileNotFoundError, or ValueError with one sentence where the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"weights {path.name} not found; train them with: python -m export.video.train")
    if path.suffix == ".param":
        kind, settings, state = ncnn_file.read(path)
        design = Design(kind, settings)
    else:
        found = stored.read(path)
        if isinstance(found, dict) and set(found) == {"design", "state"}:
            design, state = Design(**found["design"]), found["state"]
        else:
            kind, settings, state = esrgan.read(found, path.name)
            design = Design(kind, settings)
    network = design.build()
    state = {**{name: value for name, value in network.state_dict().items() if name.startswith("branches.")}, **state}
    stored.fill(network, state, path.name)
    return Enhancer(design, network.eval())
