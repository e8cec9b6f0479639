"""Files of score networks: reads and writes ours, and reads folders of diffusers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from export import stored
from export.genie import diffusers_folder
from export.genie.network import Design, ScoreNetwork


def save(network: ScoreNetwork, path: str | Path) -> None:
    """Store a network as float16, with the design that rebuilds it."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save({"design": asdict(network.design), "state": state}, path)


def load(path: str | Path) -> ScoreNetwork:
    """Return the network of a file of `save` or of a diffusers folder, in eval mode and float32.

    Raises FileNotFoundError, or ValueError with one sentence where file or folder holds something else.
    """
    path = Path(path)
    if path.is_dir():
        return diffusers_folder.read(path)
    if not path.exists():
        raise FileNotFoundError(
            f"weights {path.name} not found; train them with: python -m export.genie.train_score --out {path.name}"
        )
    found = stored.read(path)
    if not isinstance(found, dict) or set(found) != {"design", "state"}:
        raise ValueError(f"expected weights of a score network in {path.name}, got another file")
    network = ScoreNetwork(Design(**found["design"]))
    stored.fill(network, found["state"], path.name)
    return network.eval()
