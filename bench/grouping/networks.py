"""Serves the two networks of `bench grouping`: the published design and the shipped one.

Each has a repository of its own, in which pictures are seen at 224 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sluice_client import Sluice

import scenes
from bench import class_names, segment_process
from bench.grouping import official
from export.grouping import network as grouping
from export.registry import NETWORKS
from sluice import server

SIDE = 224  # pixels; the only size that transformers' own class takes
KINDS = ("base", "small")


@dataclass(frozen=True)
class Subject:
    """A network, and the folder that serves it."""

    kind: str
    title: str
    network: grouping.GroupingNetwork
    root: Path


def subject(kind: str, folder: Path, design: Any = None) -> Subject:
    """Make a network and export it.

    kind: 'base', of `design` (None for the published one) with random weights, or 'small', the shipped weights.
    """
    weights = NETWORKS["image_grouper"].weights
    if kind == "base":
        pictures = np.stack([scenes.render(seed, (SIDE, SIDE)).image for seed in range(8)])
        network = official.drawn(design or grouping.Design(), class_names.CAMVID, pictures)
        weights = folder / "base.pt"
        grouping.save(network, weights, half=False)
    elif not weights.is_file():
        raise SystemExit(f"weights/{weights.name} are missing; train them with: {NETWORKS['image_grouper'].train}")
    network = grouping.load(weights)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    root = segment_process.repository(folder / kind, weights, SIDE)
    return Subject(kind, f"{kind}, {millions:.1f} million parameters", network, root)


@contextmanager
def served(root: Path | None, profile: str) -> Iterator[tuple[server.Server, Sluice]]:
    """Start a server of `segment` alone and a client. root: None for the repository itself."""
    folders = None if root is None else [root / "model_repository", root / "ensembles"]
    with (
        server.start(profile=profile, models=segment_process.MODELS, repositories=folders) as running,
        Sluice(running.grpc, timeout=300) as client,
    ):
        yield running, client
