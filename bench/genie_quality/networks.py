"""Runs a score network and its curvature head in ONNX Runtime, in this process and in the calling thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from bench.score_graphs import seconds, session
from export import graph
from export.genie import files
from export.genie.rows import row
from export.genie.train_head import derivative
from sluice.methods.genie.trajectory import Call, Network

KINDS = ("score", "curvature")


ROUNDS = 9  # in which both graphs are timed


@dataclass(frozen=True)
class Model:
    """A network as two graphs: `score` gives eps, `curvature` its derivative as well.

    shape: (C, S, S) of an image. classes: number of labels, 0 if there are none. null: the label that stands for no
    class, None if there is none.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    null: int | None
    score: onnxruntime.InferenceSession
    curvature: onnxruntime.InferenceSession

    @classmethod
    def read(cls, name: str, weights: Path) -> Model:
        """Trace both graphs of a file of weights, as they are exported to be served.

        Raises FileNotFoundError if the file is missing, ValueError if it holds no network or no head.
        """
        loaded = files.load(weights)
        if loaded.head is None:
            raise ValueError(f"{weights.name} has no curvature head; train one with: python -m export.genie.train_head")
        design = loaded.design
        tables = [
            row(f"{name}_{kind}", channels=design.channels, size=design.size, labels=design.labels, head=i > 0)
            for i, kind in enumerate(KINDS)
        ]
        sessions = [session(graph.export(table, weights)) for table in tables]
        return cls(name, (design.channels, design.size, design.size), design.classes, design.null, *sessions)

    def head(self) -> float:
        """Return what the head adds to the time of an evaluation, as a share of the network's time: the median over
        batches of 64, both graphs in turn, processor time of one thread."""
        score, curvature = seconds([self.score, self.curvature], 64, ROUNDS)
        return max(0.0, float(np.median(curvature / score)) - 1)

    def labels(self, count: int) -> np.ndarray | None:
        """Return 0, 1, ... over and over, int64 [count]; None for networks without classes."""
        return np.arange(count) % self.classes if self.classes else None

    def feeds(self, x: np.ndarray, t: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return the graphs' inputs. x [B, C, S, S], t [B], labels [B] or None."""
        given: dict[str, np.ndarray] = {"SAMPLE": x.astype(np.float32), "TIME": t.astype(np.float32)[:, None]}
        if self.classes:
            assert labels is not None
            given["LABEL"] = labels.astype(np.int64)[:, None]
        return given

    def network(self, labels: np.ndarray | None) -> Network:
        """Return the network that `sluice.methods.genie.trajectory.sample` calls for a batch of these labels [B]."""

        def answer(call: Call) -> tuple[np.ndarray, np.ndarray | None]:
            rows = None
            if labels is not None:
                null = 0 if self.null is None else self.null  # a network without a null label is never asked for it
                rows = np.where(call.null, null, np.tile(labels, len(call.x) // len(labels)))
            given = self.feeds(call.x, call.t, rows)
            if call.derivative:
                eps, slope = self.curvature.run(["EPSILON", "DERIVATIVE"], given)
                return eps, slope
            return self.score.run(["EPSILON"], given)[0], None

        return answer


def exact(weights: Path, labels: np.ndarray | None) -> Network:
    """Return the same network in torch, with the exact derivative of eps along the trajectory instead of the head's."""
    loaded = files.load(weights)
    classes = None if labels is None else torch.from_numpy(labels)

    def answer(call: Call) -> tuple[np.ndarray, np.ndarray | None]:
        x, t = (torch.from_numpy(array.astype(np.float32)) for array in (call.x, call.t))
        with torch.no_grad():
            eps, slope = derivative(lambda x, t: loaded(x, t, classes), x, t)
        return eps.numpy(), slope.numpy()

    return answer


def pixels(images: np.ndarray) -> np.ndarray:
    """Return images of about -1 to 1 as the bytes that callers get. [..., C, S, S] -> uint8."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
