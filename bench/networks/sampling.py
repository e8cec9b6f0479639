"""Judges score networks and curvature heads: how far pictures of few steps are from the converged solution in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from bench.networks.engines import Run, Values, ort
from bench.networks.task import Task, Work
from export.registry import NETWORKS
from sluice.methods.genie.trajectory import Call, Options, noise, sample

KINDS = ("score", "curvature")
FINE = Options(solver="unipc", steps=40)  # the converged solution
COARSE = {"score": Options(solver="unipc", steps=10), "curvature": Options(solver="genie", steps=10)}


def task(model: str, kind: str) -> Task:
    """Return the task of one graph of a model. kind: score or curvature; the other graph is not asked."""

    def prepare(data: Path | None, count: int) -> tuple[Work, str]:
        network = NETWORKS[f"{model}_{kind}"]
        channels, size = network.check[0]["SAMPLE"][1], network.check[0]["SAMPLE"][2]
        latents = noise(range(count), (channels, size, size))
        labels = np.arange(count) % 10 if "LABEL" in network.check[0] else None
        whole = ort(onnx.load(NETWORKS[f"{model}_score"].onnx))
        converged = sample(_asked(whole, labels), latents, FINE)

        def work(run: Run) -> list[float]:
            found = sample(_asked(run, labels), latents, COARSE[kind])
            apart = (np.clip(found, -1, 1) - np.clip(converged, -1, 1)) * 127.5
            return [float(value) for value in np.sqrt((apart**2).mean(axis=(1, 2, 3)))]

        return work, f"{count} latents, {COARSE[kind].steps} steps of {COARSE[kind].solver}"

    return Task("distance to the converged picture, levels of 255", prepare, inputs=48, quick=2, better=-1)


def _asked(run: Run, labels: np.ndarray | None):  # type: ignore[no-untyped-def]  # the type is `trajectory.Network`
    """Return a graph as the function that a trajectory calls. labels: [B], None for a network without classes."""

    def answer(call: Call) -> tuple[np.ndarray, np.ndarray | None]:
        given: Values = {"SAMPLE": call.x.astype(np.float32), "TIME": call.t.astype(np.float32)[:, None]}
        if labels is not None:
            given["LABEL"] = np.tile(labels, len(call.x) // len(labels)).astype(np.int64)[:, None]
        found = run(given)
        return found["EPSILON"], found.get("DERIVATIVE")

    return answer
