"""Trains classifiers, once each, whose features measure how much generated images resemble the data."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.genie_quality.data import Data, Sizes

VERSION = 1  # of the classifier and its data; raise it when either changes
FEATURES = 32  # few, so that a few hundred images give a stable covariance


@dataclass(frozen=True)
class Settings:
    """The settings of a classifier's training. All are part of the name under which the classifier is kept."""

    sizes: Sizes = field(default_factory=Sizes)
    steps: int = 900
    batch: int = 128
    rate: float = 2e-3
    seed: int = 0


QUICK = Settings(Sizes(crops=100, real=100, scenes=0), steps=10, batch=8)


class Network(nn.Module):
    """Maps uint8 [B, C, S, S] to logits [B, classes]; `features` are the layer before, [B, 32]."""

    def __init__(self, channels: int, size: int, classes: int):
        super().__init__()
        widths = (channels, 16, 32, 64)
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in widths[1:])
        self.before = nn.Linear(64 * (size // 8) ** 2, FEATURES)
        self.last = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images [B, C, S, S], [B, 32]."""
        x = images.float() / 127.5 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)
        return F.relu(self.before(x.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.features(images))


class Judge:
    """A trained classifier, and its accuracy on data that it has not seen."""

    def __init__(self, network: Network, accuracy: float):
        self.network, self.accuracy = network.eval(), accuracy

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Return float64 [N, 32] of uint8 images [N, C, S, S]."""
        return torch.cat([self.network.features(part) for part in _parts(images)]).double().numpy()

    @torch.no_grad()
    def classes(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each image, int64 [N]."""
        return torch.cat([self.network(part).argmax(1) for part in _parts(images)]).numpy()


def _parts(images: np.ndarray) -> list[Tensor]:
    return list(torch.from_numpy(images).split(256))


def trained(name: str, data: Data, settings: Settings, cache: Path) -> Judge:
    """Return the classifier of a model: the one kept in `cache`, or a new one."""
    known = {"version": VERSION, "model": name, "features": FEATURES, **asdict(settings)}
    key = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:20]
    path = cache / f"{name}_{key}.pt"
    images, shares = data.train
    torch.manual_seed(settings.seed)
    network = Network(images.shape[1], images.shape[2], shares.shape[1])
    if path.exists():
        stored = torch.load(path, weights_only=True)
        network.load_state_dict(stored["state"])
        return Judge(network, stored["accuracy"])
    learn(network, images, shares, settings)
    judge = Judge(network, 0.0)
    judge.accuracy = float((judge.classes(data.test[0]) == data.test[1].argmax(axis=1)).mean())
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".new")
    torch.save({"state": network.state_dict(), "accuracy": judge.accuracy}, part)
    part.replace(path)
    return judge


def learn(network: Network, images: np.ndarray, shares: np.ndarray, settings: Settings) -> None:
    """Train by cross-entropy against the shares, so that a crop of half road, half sky is told as half and half."""
    order = np.random.default_rng(settings.seed)
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, settings.steps + 1)
    network.train()
    for step in range(settings.steps):
        chosen = order.integers(0, len(images), settings.batch)
        loss = F.cross_entropy(network(torch.from_numpy(images[chosen])), torch.from_numpy(shares[chosen]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(
                f"classifier {step + 1}/{settings.steps}  loss {float(loss.detach()):.3f}", file=sys.stderr, flush=True
            )
    network.eval()
