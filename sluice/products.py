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
    """One graph with one matrix of templates, for the use of one thread.

    exact: False for codes, left [n, P, C] uint8 with right [C, Q] int8, results int32;
           True for features, left [P, C] float16 with right [C, Q] float32, results float32.
    """

    def __init__(self, right: np.ndarray, exact: bool) -> None:
        self._kind = (np.float16, np.float32, np.float32) if exact else (np.uint8, np.int8, np.int32)
        self.right = np.ascontiguousarray(right, self._kind[1])
        self._bindings: dict[bool, tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding]] = {}
        self._exact = exact

    def __call__(self, left: np.ndarray, rows: np.ndarray, cells: np.ndarray | None = None) -> None:
        """Multiply, and write the maxima.

        rows: gets the greatest product of each row over the cells, [n, Q] or [Q]. cells: gets the greatest of each
        cell over the rows, [n, P] or [P]; None leaves that out. All arrays contiguous.
        """
        if not left.flags.c_contiguous or left.dtype != self._kind[0]:
            left = np.ascontiguousarray(left, self._kind[0])
        session, binding = self._bound(cells is not None)
        binding.bind_input("left", "cpu", 0, self._kind[0], left.shape, left.ctypes.data)
        binding.bind_output("rows", "cpu", 0, self._kind[2], rows.shape, rows.ctypes.data)
        if cells is not None:
            binding.bind_output("cells", "cpu", 0, self._kind[2], cells.shape, cells.ctypes.data)
        session.run_with_iobinding(binding)

    def _bound(self, per_cell: bool) -> tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding]:
        if per_cell not in self._bindings:
            session = _session(self._exact, per_cell)
            binding = session.io_binding()
            right = self.right
            binding.bind_input("right", "cpu", 0, self._kind[1], right.shape, right.ctypes.data)
            self._bindings[per_cell] = session, binding
        return self._bindings[per_cell]


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
            helper.make_tensor_value_info("right", TensorProto.FLOAT if exact else TensorProto.INT8, ["C", "Q"]),
        ],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
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
    rows = np.empty((1, 16), np.int32)
    Product(np.full((64, 16), LIMIT, np.int8), exact=False)(np.full((1, 1, 64), 255, np.uint8), rows)
    return LIMIT if (rows == 64 * (255 - ZERO) * LIMIT).all() else LIMIT // 2
