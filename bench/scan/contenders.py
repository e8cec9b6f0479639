"""Runs the alternatives that the scan is measured against, each in its own form."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import report
from bench.scan import data
from bench.scan.peers import PACKAGES, Peer, environment
from sluice.methods import matching
from sluice.methods.scan import engine
from sluice.methods.scan.products import COSINES
from sluice.process import blas

K = 10
OURS, BARE, TENSORDOT, TORCH, TORCH_BF16 = (
    "ours",
    "bare product",
    "NumPy tensordot",
    "torch fp32",
    "torch bf16",
)
ALTERNATIVES = (TENSORDOT, TORCH, TORCH_BF16, *PACKAGES)


def start_peers() -> tuple[dict[str, Peer], dict[str, str]]:
    """Start every peer that can be had. Returns them by name, and for the others the reason."""
    python, missing = environment(data.ROOT / ".bench" / "peers")
    peers = {}
    for name in PACKAGES:
        if name in missing:
            continue
        peer = Peer(name, python)
        if peer.reason is None:
            peers[name] = peer
        else:
            missing[name] = peer.reason
    # Each peer runs code of its own; its NumPy runs the kernel of the peers' environment.
    multiplier = blas.trial(os.environ, python) or {}
    rows = [[name, str(peer.version), str(multiplier.get("kernel"))] for name, peer in peers.items()]
    report.table("peers", ["library", "version", "kernel of its NumPy"], rows)
    return peers, missing


def torch_contenders(wide: np.ndarray, threads: int) -> dict[str, Callable[[matching.Templates], Any]]:
    """Return torch as a user writes it: einsum, amax, mean, topk, in float32 and bfloat16."""
    import torch

    torch.set_num_threads(threads)

    def contender(kind: torch.dtype) -> Callable[[matching.Templates], Any]:
        gallery = torch.from_numpy(wide).to(kind)

        def work(asked: matching.Templates) -> Any:
            with torch.inference_mode():
                rows = torch.from_numpy(asked.rows).to(kind)
                return torch.einsum("npc,qc->npq", gallery, rows).amax(1).float().mean(1).topk(K)

        return work

    return {TORCH: contender(torch.float32), TORCH_BF16: contender(torch.bfloat16)}


def best_of(scores: np.ndarray) -> np.ndarray:
    """Return the positions of the K best of scores [N], the best first."""
    best = np.argpartition(-scores, K)[:K]
    return best[np.argsort(-scores[best])]


def block_frames(asked: matching.Templates) -> int:
    """Return how many frames the scan takes in one product, which the bare product takes as well."""
    return int(np.clip(COSINES // (len(asked.rows) * data.CELLS), 1, engine.FRAMES))


def frames_for(name: str, cost: int, most: int) -> int:
    """Return how many frames a slow peer searches, so that a query takes it about a second."""
    return min(most, int(np.clip(1500 * 8192 // cost, 100, 600)) if name == "lancedb" else 400)
