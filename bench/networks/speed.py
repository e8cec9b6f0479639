"""Times networks in each precision, one thread, in turns, and says which share of the core's limit they reach."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.machine_limits import best, int8_limit
from bench.networks.engines import BF16, FP16, INT8, WHOLE, Run, Values, openvino, ort

SIDE = 1536  # of the square product that a core's limit is measured with


def race(runs: Mapping[str, Run], given: Values, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each precision in each round. The precisions take turns; a first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds + 1):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            begin = time.perf_counter()
            runs[name](given)
            if turn:
                found[name].append(1e3 * (time.perf_counter() - begin))
    return found


def operations(model: onnx.ModelProto, given: Values) -> float:
    """Return the floating-point operations of the convolutions and products of one call, two per multiply-add."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    kept = {tensor.name: tensor for tensor in model.graph.initializer}
    # A kernel that torch traced as a constant is the value of a node.
    constants = (node for node in model.graph.node if node.op_type == "Constant")
    kept |= {node.output[0]: field.t for node in constants for field in node.attribute if field.name == "value"}
    products = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    outside = {value.name for value in (*model.graph.output, *model.graph.input)}
    wanted = {node.output[0] for node in products} | {node.input[0] for node in products if node.op_type != "Conv"}
    for name in sorted(wanted - outside - set(kept)):
        exposed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    found = given | ort(exposed)(given)
    total = 0.0
    for node in products:
        if node.op_type == "Conv":
            inner = float(np.prod(kept[node.input[1]].dims[1:]))
        else:
            left = kept[node.input[0]].dims if node.input[0] in kept else found[node.input[0]].shape
            inner = float(left[-1])
        total += 2 * inner * found[node.output[0]].size
    return total


@cache
def limits() -> dict[str, float]:
    """Return the most operations per second that one core reaches here in each precision, on a large product."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        "square",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE]) for name in ("left", "right")],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [SIDE, SIDE])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal((SIDE, SIDE), np.float32) for name in ("left", "right")}
    plain, fast = ort(model), openvino(model)
    whole = 2 * SIDE**3 / best(lambda: (plain(given), None)[1], 3)
    found = {WHOLE: whole, FP16: whole, INT8: int8_limit(1)}
    if fast is not None:
        found[BF16] = 2 * SIDE**3 / best(lambda: (fast(given), None)[1], 3)
    return found
