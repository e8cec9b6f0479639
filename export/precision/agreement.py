"""Says in words how far a graph of less precision agrees with fp32 on given inputs, per output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from export.entry import Network

if TYPE_CHECKING:
    import onnx


def sentences(
    network: Network, whole: onnx.ModelProto, less: onnx.ModelProto, inputs: Iterable[dict[str, np.ndarray]]
) -> list[str]:
    """Return a sentence per output, over all inputs."""
    names = [tensor.name for tensor in network.outputs]
    before, after = runs(whole), runs(less)
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in names}
    for given in inputs:
        for name, a, b in zip(names, before.run(names, given), after.run(names, given), strict=True):
            pairs[name].append((a, b))
    return [f"{name}: {_said(network, name, pairs[name])}" for name in names]


def runs(model: onnx.ModelProto):  # type: ignore[no-untyped-def]  # onnxruntime is imported only where it is used
    """Return an ONNX Runtime session of a model, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _said(network: Network, name: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Return the agreement of one output in words."""
    if pairs[0][0].dtype == np.uint8:
        apart = np.concatenate([np.abs(a.astype(int) - b.astype(int)).ravel() for a, b in pairs])
        return (
            f"grey levels differ by {apart.mean():.2f} of 255 on average, 99 of 100 pixels by at most "
            f"{np.quantile(apart, 0.99):.0f}, the worst by {apart.max()}"
        )
    wide = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    if name in network.unit:
        cosines = np.concatenate([(a * b).sum(-1).ravel() for a, b in wide])
        return (
            f"the cosine between a vector and the same in fp32 is {cosines.mean():.5f} on average and below "
            f"{np.quantile(cosines, 0.01):.4f} for one in a hundred (1 would be the same)"
        )
    apart = np.concatenate([np.abs(a - b).ravel() for a, b in wide])
    spread = float(np.concatenate([a.ravel() for a, _ in wide]).std())
    if spread == 0:
        return f"values differ by {apart.mean():.2g} on average; in fp32 all are the same"
    return (
        f"values differ by {apart.mean() / spread:.2%} of their spread in fp32 on average, the worst of a hundred by "
        f"{np.quantile(apart, 0.99) / spread:.1%}"
    )
