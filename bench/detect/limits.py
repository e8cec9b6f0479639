"""Compares the rate of the detector's network with the most that one core can multiply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn

from bench import report
from bench.machine_limits import best


def multiplications(network: nn.Module, size: tuple[int, int]) -> int:
    """Return the multiply-adds of all convolutions of a network for one image. size: (H, W) pixels."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        counts.append(output[0].numel() * layer.get_parameter("weight")[0].numel())

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network(torch.zeros(1, *size, 3, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def float_limit() -> float:
    """Return the most float32 operations per second of one thread: ONNX Runtime's own product of large squares."""
    n = 1024
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [n, n]) for name in ("a", "b", "product")]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["product"])], "square", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    square = np.random.default_rng(0).standard_normal((n, n), np.float32)
    return 2 * n**3 / best(lambda: session.run(None, {"a": square, "b": square}), 15)


def measure(network: nn.Module, size: tuple[int, int], seconds: Sequence[float]) -> None:
    """Print the rates of the core and of the network. seconds: times that the network took for one image."""
    limit, work = float_limit(), 2 * multiplications(network, size)
    reached = work / min(seconds)
    report.table(
        "the limit: float32 operations of one core",
        ["", "1e9/s", "share of the limit"],
        [
            ["product of large squares", limit / 1e9, 1.0],
            ["the network at its fastest", reached / 1e9, reached / limit],
        ],
    )
    report.say(
        f"an image of {size[1]} x {size[0]} takes {work / 1e9:.2f} GFLOP, so {work / limit * 1000:.1f} ms at the limit"
    )
