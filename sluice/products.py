"""The two products of the scan as ONNX graphs: 8-bit codes with templates, and float16 cells with templates.

Both reduce to maxima inside ONNX Runtime, so that the matrix of all cosines never leaves the cache. A session has one
thread and runs on the thread that calls it: the scan brings one thread a core, and no second pool of threads exists.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sluice.quantise import LIMIT, ZERO


class Product:
    """One graph with its bound buffers, for the use of one thread.

    left:  [n, P, C] uint8 codes (`exact` False) or [P, C] float16 cells (`exact` True).
    right: [C, Q] int8, or float32.
    Gives the maxima over the cells [n, Q] (or [Q]) and, where `per_cell`, those over the rows [n, P] (or [P]);
    int32 or float32.
    """

    def __init__(self, exact: bool, per_cell: bool) -> None:
        self._session = _session(exact, per_cell)
        self._binding = self._session.io_binding()
        self._left = np.float16 if exact else np.uint8
        self._out = np.float32 if exact else np.int32
        self._buffers: dict[str, np.ndarray] = {}
        self._per_cell = per_cell

    def __call__(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Multiply and reduce. The results are views of buffers that the next call overwrites."""
        left = np.ascontiguousarray(left, self._left)
        right = np.ascontiguousarray(right)
        self._binding.bind_input("left", "cpu", 0, self._left, left.shape, left.ctypes.data)
        self._binding.bind_input("right", "cpu", 0, right.dtype.type, right.shape, right.ctypes.data)
        rows = self._bind("rows", (*left.shape[:-2], right.shape[1]))
        cells = self._bind("cells", left.shape[:-1]) if self._per_cell else None
        self._session.run_with_iobinding(self._binding)
        return rows, cells

    def _bind(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape))
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, self._out)
        self._binding.bind_output(name, "cpu", 0, self._out, shape, buffer.ctypes.data)
        return buffer[:size].reshape(shape)


@cache
def _session(exact: bool, per_cell: bool) -> onnxruntime.InferenceSession:
    kind = TensorProto.FLOAT if exact else TensorProto.INT32
    left = ["P", "C"] if exact else ["n", "P", "C"]
    nodes = (
        [
            helper.make_node("Cast", ["left"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["wide", "right"], ["cosines"]),
        ]
        if exact
        else [helper.make_node("MatMulInteger", ["left", "right", "zero"], ["cosines"])]
    )
    nodes.append(helper.make_node("ReduceMax", ["cosines", "over_cells"], ["rows"], keepdims=0))
    outputs = [helper.make_tensor_value_info("rows", kind, [*left[:-2], "Q"])]
    if per_cell:
        nodes.append(helper.make_node("ReduceMax", ["cosines", "over_rows"], ["cells"], keepdims=0))
        outputs.append(helper.make_tensor_value_info("cells", kind, left[:-1]))
    constants = {
        "zero": np.uint8(ZERO),
        "over_cells": np.array([len(left) - 2], np.int64),
        "over_rows": np.array([len(left) - 1], np.int64),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "product",
        [
            helper.make_tensor_value_info("left", TensorProto.FLOAT16 if exact else TensorProto.UINT8, left),
            helper.make_tensor_value_info(
                "right", TensorProto.FLOAT if exact else TensorProto.INT8, ["C", "Q"]
            ),
        ],
        outputs,
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


@cache
def template_limit() -> int:
    """Return the greatest template code whose products this CPU adds up without saturating.

    Without VNNI instructions ONNX Runtime adds pairs of 8-bit products in 16 bits, which 255·127·2 leaves; half the
    range fits. The bound counts the coarser codes, so results stay exact and only more frames are scored again.
    """
    left = np.full((1, 1, 64), 255, np.uint8)
    right = np.full((64, 16), LIMIT, np.int8)
    rows, _ = Product(exact=False, per_cell=False)(left, right)
    return LIMIT if (rows == 64 * (255 - ZERO) * LIMIT).all() else LIMIT // 2
