"""Quantises a graph to int8 with Q/DQ nodes, which ONNX Runtime and TensorRT both read.

Weights have a scale per channel, activations a scale per tensor, from the least to the greatest value on the inputs
given. Both are symmetric, as TensorRT demands. Convolutions and products with weights become int8; the layers that
keep fp32 in fp16 (`export.precision.layers`), the first layers and those that make the outputs keep fp32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.entry import ExportError, Network
from export.precision.layers import kept

if TYPE_CHECKING:
    import onnx

PRODUCTS = ("Conv", "MatMul", "Gemm")


def quantized(model: onnx.ModelProto, network: Network, inputs: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """Return the graph with Q/DQ nodes. Inputs, outputs and metadata stay. inputs: to calibrate on, at least one.

    Raises ExportError where no layer can become int8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    chosen = layers(model, network)
    if not chosen:
        raise ExportError(f"{network.name} has no convolution or product that int8 could take over")

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), before)
        with _quiet():
            quantize_static(
                before,
                after,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(PRODUCTS),
                nodes_to_quantize=chosen,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
            )
        made = onnx.load(after)
    record = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(made, record | {"sluice.precision": "int8"})
    onnx.checker.check_model(made)
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings: ONNX Runtime advises a step that folds constants, which the exporter has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def layers(model: onnx.ModelProto, network: Network) -> list[str]:
    """Return the names of the nodes that become int8, in the graph's order.

    They are the products with a constant, without those that keep fp32, the first ones after an input and the last ones
    before an output.
    """
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer}
    fixed |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    products = {
        node.name: node
        for node in graph.node
        if node.op_type in PRODUCTS and fixed & set(node.input[1:2]) and node.name
    }
    behind: set[str] = set()  # tensors that a product reached
    first = set()
    for node in graph.node:
        reached = bool(behind & set(node.input))
        if node.name in products and not reached:
            first.add(node.name)
        if node.name in products or reached:
            behind.update(node.output)
    before: set[str] = set()  # tensors from which a product is reached
    last = set()
    for node in reversed(graph.node):
        leads = bool(before & set(node.output))
        if node.name in products and not leads:
            last.add(node.name)
        if node.name in products or leads:
            before.update(node.input)
    out = set(kept(model, network)) | first | last
    return [name for name in products if name not in out]
