"""Makes the contenders of `bench detect` as ONNX graphs: our detector, the plain one, dropout and an ensemble.

All have the backbone of the shipped detector, run in ONNX Runtime in fp32 with one thread per session, and use the same
NumPy code after the network. The heads of the others are the means of one component of the shipped heads, so that they
find about as many objects and have as much to do afterwards. Only their time is measured; none of them is trained.

Dropout lies behind the first convolution of each of the backbone's four stages. Nearly the whole network lies behind
the first of them, so every pass has to be a whole one, as in the paper. It drops channels (one random number for 12,288
values at stride 4), the form that costs dropout least. Choi et al., ICCV 2021, compare with 25 passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from export import graph
from export.mixtures import files
from export.mixtures import network as mixtures_network
from export.mixtures.network import MixtureSSD
from export.registry import NETWORKS
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.objects import detections
from sluice.methods.mixtures.summaries import Detections

PASSES = 25
MEMBERS = 3
RATE = 0.1  # share of the channels that dropout sets to 0

Outputs = Mapping[str, np.ndarray]


def session(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime, in fp32, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Contender:
    """One way to a detection with its uncertainty. sessions: run one after the other, `passes` times each."""

    name: str
    sessions: Sequence[onnxruntime.InferenceSession]
    passes: int = 1

    def network(self, canvases: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Return every pass's outputs for IMAGE uint8 [B, H, W, 3]."""
        found = []
        for session in self.sessions:
            names = [output.name for output in session.get_outputs()]
            for _ in range(self.passes):
                found.append(dict(zip(names, session.run(names, {"IMAGE": canvases}), strict=True)))
        return found

    def after(self, outputs: Sequence[Outputs]) -> list[Detections]:
        """Return each image's objects, with the uncertainty that this way gives."""
        mixture = len(outputs) == 1 and "LOCATION_WEIGHT" in outputs[0]
        return detections(Heads.of(outputs[0]) if mixture else as_mixture(outputs))


def as_mixture(passes: Sequence[Outputs]) -> Heads:
    """Return passes of plain detectors as one mixture, one component per pass, all of equal weight.

    Its mean is the mean over the passes and its epistemic variance their variance, which is what dropout and ensembles
    give. Plain detectors know nothing of the noise of the data, so the aleatoric part means nothing here.
    """
    location, class_ = (
        passes[0][name] if len(passes) == 1 else np.concatenate([outputs[name] for outputs in passes], axis=2)
        for name in ("LOCATION_MEAN", "CLASS_MEAN")
    )
    nothing = np.zeros(location.shape, np.float32)
    return Heads(passes[0]["PRIORS"], location, nothing, nothing, class_, None, nothing[..., 0])


class ChannelDropout(nn.Module):
    """Sets random channels to 0, also outside of training: [B, C, h, w] -> the same, scaled so that the mean stays."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.rand_like(x[:, :, :1, :1]) >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))


def with_dropout(network: MixtureSSD, rate: float = RATE) -> MixtureSSD:
    """Put a dropout behind the first convolution of every stage of the light backbone. Changes `network`."""
    for name in ("quarter", "eighth", "sixteenth", "last"):
        stage = list(getattr(network.backbone, name))
        setattr(network.backbone, name, nn.Sequential(stage[0], ChannelDropout(rate), *stage[1:]))
    return network


@torch.no_grad()
def plain_of(network: MixtureSSD, component: int = 0) -> MixtureSSD:
    """Return a detector without mixture heads: the backbone of a network and the means of one of its components."""
    plain = MixtureSSD(mixtures_network.plain(network.design))
    plain.backbone.load_state_dict(network.backbone.state_dict())
    for head, given, source in zip(plain.heads, network.heads, network.sources, strict=True):
        for kind in ("weight", "bias"):
            rows = network.parts(getattr(given, kind), len(source.shapes))
            for name, part in plain.parts(getattr(head, kind), len(source.shapes)).items():
                part[:, 0] = rows[name][:, component]
    return plain.eval()


def export(network: MixtureSSD, path: Path, dropout: bool = False) -> Path:
    """Write a network as ONNX the way the shipped one is. Returns the path of the graph."""
    weights = path.with_suffix(".pt")
    files.save(network, weights)
    table = NETWORKS["mixture_detector"]
    names = {"PRIORS", *network.design.depths()}
    load = partial(_load, dropout=dropout)
    entry = replace(table, name=path.stem, load=load, outputs=tuple(t for t in table.outputs if t.name in names))
    path.write_bytes(graph.export(entry, weights))
    return path


def _load(weights: Path, dropout: bool) -> MixtureSSD:
    network = files.load(weights)
    return with_dropout(network) if dropout else network


def contenders(folder: Path) -> list[Contender]:
    """Return ours first, then the plain detector, dropout and the ensemble. The others' graphs are written to
    `folder`."""
    shipped = NETWORKS["mixture_detector"]
    if not (shipped.onnx.is_file() and shipped.weights.is_file()):
        raise SystemExit("the detector's graph or its weights are missing; run: make export")
    network = files.load(shipped.weights)
    if network.design.preset != "small":
        raise SystemExit(f"this benchmark is of the preset small, got weights of {network.design.preset}")
    plains = [plain_of(network, i % network.design.k) for i in range(MEMBERS)]
    members = [session(export(plain, folder / f"plain{i}.onnx")) for i, plain in enumerate(plains)]
    dropout = session(export(plains[0], folder / "dropout.onnx", dropout=True))
    return [
        Contender("mixture heads, one pass", [session(shipped.onnx)]),
        Contender("plain detector, no uncertainty", members[:1]),
        Contender(f"Monte-Carlo dropout, {PASSES} passes", [dropout], PASSES),
        Contender(f"ensemble of {MEMBERS}", members),
    ]
