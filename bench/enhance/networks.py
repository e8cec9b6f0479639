"""Makes the contenders of `bench enhance` as ONNX graphs: our networks and the peers that a user would take instead.

All have the contract of the served models, planes of YUV 4:2:0 as uint8 in and out, so every figure includes all that a
frame costs. Networks that work on luma alone (FSRCNN, AR-CNN, DnCNN) get luma alone; their chroma is enlarged
bicubically or left as it is, as their authors do. Ours and SRVGGNetCompact work in RGB, and the graph converts in both
directions.

These peers have random weights: their time is measured, their quality is as published, or unknown. realesr-animevideov3
has its own, and is run by ncnn (`realesr`): its time and its quality are measured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from export import graph
from export.video import entry as video_entry
from export.video import network as video
from export.video.network import Design, Enhancer
from export.video.rrdb import QUARTER
from sluice.methods.video.planes import Colour

REMOVERS = ("artifact_remover_weak", "artifact_remover_strong")
UPSCALERS = ("frame_upscaler_clean", "frame_upscaler_lossy")
SHIPPED = REMOVERS + UPSCALERS
COLOUR = Colour("bt601", "limited")
DNCNN = "DnCNN-3"  # the denoiser with whose multiply-adds the removers are compared
BICUBIC = "bicubic"
COUNTED = (64, 96)  # (H, W) of the frame on which multiply-adds are counted, pixels


def fsrcnn(d: int = 56, s: int = 12, m: int = 4) -> nn.Sequential:
    """Return FSRCNN(d, s, m) x2 on luma. Source: Dong, Loy, Tang, 2016, section 3.2."""
    layers: list[nn.Module] = [nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d), nn.Conv2d(d, s, 1), nn.PReLU(s)]
    for _ in range(m):
        layers += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
    layers += [nn.Conv2d(s, d, 1), nn.PReLU(d)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(d, 1, 9, stride=2, padding=4, output_padding=1))


def arcnn() -> nn.Sequential:
    """Return AR-CNN (9-7-1-5) on luma. Source: Dong et al., 2015, section 3."""
    sizes = ((1, 64, 9), (64, 32, 7), (32, 16, 1), (16, 1, 5))
    layers: list[nn.Module] = []
    for seen, made, side in sizes:
        layers += [nn.Conv2d(seen, made, side, padding=side // 2), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def dncnn(layers: int = 20, width: int = 64) -> nn.Sequential:
    """Return DnCNN-3 on luma, its batch normalisation folded. Source: Zhang et al., 2017, section III."""
    found: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for _ in range(layers - 2):
        found += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*found, nn.Conv2d(width, 1, 3, padding=1))


class OnLuma(nn.Module):
    """Maps LUMA [B, H, W], CHROMA [B, h, w, 2] uint8 to the same, s times as large.

    network: luma [B, 1, H, W] 0..1 -> [B, 1, sH, sW]; None enlarges bicubically. residual: True if the network returns
    the change of luma.
    """

    def __init__(self, network: nn.Module | None, scale: int, residual: bool = False):
        super().__init__()
        self.network, self.scale, self.residual = network, scale, residual

    def forward(self, luma: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
        first, rest = luma[:, None].float() / 255, chroma.permute(0, 3, 1, 2).float() / 255
        found = doubled(first) if self.network is None else self.network(first)
        first = first + found if self.residual else found
        return bytes_of(first)[:, 0], bytes_of(doubled(rest) if self.scale == 2 else rest).permute(0, 2, 3, 1)


def bytes_of(planes: Tensor) -> Tensor:
    """Return planes of 0..1 as uint8."""
    return (planes * 255).round().clamp(0, 255).to(torch.uint8)


def doubled(planes: Tensor) -> Tensor:
    """Double planes [B, C, H, W] by Keys' bicubic kernel, each plane by itself; the same as `rrdb.bicubic`."""
    batch, channels, height, width = planes.shape
    kernel = torch.tensor([[*reversed(QUARTER), 0.0], [0.0, *QUARTER]])
    x = F.pad(planes.reshape(batch * channels, 1, height, width), (2, 2, 2, 2), mode="replicate")
    x = F.conv2d(x, kernel.view(2, 1, 5, 1)).permute(0, 2, 1, 3).reshape(batch * channels, 1, 2 * height, width + 4)
    x = F.conv2d(x, kernel.view(2, 1, 1, 5)).permute(0, 2, 3, 1)
    return x.reshape(batch, channels, 2 * height, 2 * width)


@dataclass(frozen=True)
class Contender:
    """A way to enhance a frame. content: the ONNX file.

    multiplications: multiply-adds per pixel of the input, colour conversion included. parameters: of the network.
    models: the shipped models with this network, none for a peer.
    """

    name: str
    scale: int
    content: bytes
    multiplications: float
    parameters: int
    models: tuple[str, ...] = ()

    def session(self, threads: int | None = None) -> Session:
        """Open the graph. threads: None takes all cores."""
        return Session(self.content, threads)


class Session:
    """A contender's graph in ONNX Runtime, fp32. threads: None takes all cores."""

    def __init__(self, content: bytes | str, threads: int | None = None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        self.engine = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = [each.name for each in self.engine.get_inputs()]

    def run(self, given: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return LUMA_OUT and CHROMA_OUT for the inputs of the served models."""
        wanted = {name: given[name] for name in self.inputs}
        luma, chroma = self.engine.run(["LUMA_OUT", "CHROMA_OUT"], wanted)
        return luma, chroma

    def planes(
        self, luma: np.ndarray, chroma: np.ndarray, colour: Colour = COLOUR, strength: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Enhance one frame: luma uint8 [H, W], chroma [h, w, 2] -> the same, s times as large. strength: 0..1."""
        found = self.run({
            "LUMA": luma[None], "CHROMA": chroma[None],
            "COLOUR": colour.to_rgb[None].astype(np.float32), "STRENGTH": np.full((1, 1), strength, np.float32),
        })  # fmt: skip
        return found[0][0], found[1][0]

    def rgb(self, image: np.ndarray) -> np.ndarray:
        """Enhance one picture at full strength: uint8 [H, W, 3] -> [sH, sW, 3]."""
        luma, chroma = self.planes(image[..., 0], np.ascontiguousarray(image[..., 1:]), Colour())
        return np.dstack([luma, chroma])


def exported(name: str, module: nn.Module, scale: int, folder: Path, models: Sequence[str] = ()) -> Contender:
    """Return a module as a contender. folder: where a record of its weights may be written."""
    weights = folder / "weights.pt"
    torch.save(module.state_dict(), weights)  # the exporter records which weights a graph has
    entry = video_entry.entry(name, title=name)
    count = 2 if isinstance(module, OnLuma) else 4
    network = replace(entry, load=lambda _: module, inputs=entry.inputs[:count])
    content = graph.export(network, weights)
    parameters = sum(p.numel() for key, p in module.named_parameters() if ".branches." not in key)
    return Contender(name, scale, content, multiplications(module.eval()), parameters, tuple(models))


def multiplications(module: nn.Module) -> float:
    """Return the multiply-adds of convolutions and matrix products, per pixel of the input."""
    given = video_entry.frames(video_entry.shapes(1, *COUNTED), 0)
    tensors = [torch.from_numpy(value) for value in given.values()][: 2 if isinstance(module, OnLuma) else 4]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*tensors)
    return counter.get_total_flops() / 2 / (COUNTED[0] * COUNTED[1])


def shipped(weights: Path, folder: Path) -> dict[str, Contender]:
    """Return the shipped networks by model, exported from the files of weights that are there."""
    found: dict[str, Contender] = {}
    for model in SHIPPED:
        path = weights / f"{model}.pt"
        if path.is_file():
            enhancer = video.load(path)
            found[model] = exported(model, video.Served(enhancer).eval(), enhancer.scale, folder, (model,))
    return found


def peers(ours: Mapping[str, Contender], folder: Path) -> list[Contender]:
    """Return the networks with random weights that are measured beside ours."""
    torch.manual_seed(0)
    found = [
        exported(BICUBIC, OnLuma(None, 2), 2, folder),
        exported("FSRCNN(56,12,4)", OnLuma(fsrcnn(), 2), 2, folder),
        exported("AR-CNN", OnLuma(arcnn(), 1), 1, folder),
        exported(DNCNN, OnLuma(dncnn(), 1, residual=True), 1, folder),
    ]
    # Widths are multiples of 16, because ONNX Runtime computes in blocks of 16 and other widths are slower.
    for model, width in ((UPSCALERS[0], 32), (REMOVERS[1], 16)):
        if model in ours:
            scale, budget = ours[model].scale, ours[model].multiplications
            ends = 9 * width * 3 * (1 + scale**2)
            convolutions = max(1, round((budget - ends) / (9 * width**2)))
            name = f"SRVGGNetCompact {width}x{convolutions}, x{scale}"
            found.append(exported(name, compact(width, convolutions, scale), scale, folder))
    return found


def compact(width: int, convolutions: int, scale: int) -> nn.Module:
    """Return SRVGGNetCompact with random weights, as the verb serves it."""
    design = Design("srvgg", {"width": width, "convolutions": convolutions, "scale": scale})
    return video.Served(Enhancer(design, design.build())).eval()


def frame(height: int, width: int) -> Mapping[str, np.ndarray]:
    """Return a generated street as a frame of that size, at full strength."""
    return video_entry.frames(video_entry.shapes(1, height, width), 0)
