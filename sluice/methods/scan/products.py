"""The two products of the scan as ONNX graphs: 8-bit codes with templates, and float16 cells with templates.

Both are reduced to maxima while the products are in the cache, so the matrix of all cosines never reaches the memory. A
session runs on the thread that calls it: the scan has one thread per core already, and a second pool would only compete
with it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sluice.methods.scan.codes import LIMIT, ZERO

# Numbers of one call that stay in the cache, and the width at which NumPy's maximum of rows is fastest: measured, see
# docs/decisions/scan.md. Matrices of up to NARROW columns use the maximum of ONNX Runtime, wider ones that of NumPy.
COSINES = 600_000
WIDTH = 1200
NARROW = 32


class Product:
    """One graph with one matrix of templates, `right`, for the use of one thread.

    exact: False for codes, left uint8 [n, P, C] with right int8 [C, Q], results int32;
           True for features, left float16 [P, C] with right float32 [C, Q], results float32.
    """

    def __init__(self, right: np.ndarray, exact: bool) -> None:
        self._kind = (np.float16, np.float32, np.float32) if exact else (np.uint8, np.int8, np.int32)
        self.right = np.ascontiguousarray(right, self._kind[1])
        self._bindings: dict[tuple[str, ...], tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding]] = {}
        self._exact = exact
        self._products = np.empty(0, np.int32)

    def __call__(self, left: np.ndarray, rows: np.ndarray, cells: np.ndarray | None = None) -> None:
        """Multiply, and write the maxima into `rows` and `cells`; all arrays contiguous.

        rows:  receives the greatest product of each template row over the cells, [n, Q] or [Q].
        cells: receives the greatest product of each cell over the template rows, [n, P] or [P]; None leaves it out.
        """
        if not left.flags.c_contiguous or left.dtype != self._kind[0]:
            left = np.ascontiguousarray(left, self._kind[0])
        if cells is not None:
            self._run(left, rows=rows, cells=cells)
        elif self._exact or self.right.shape[1] <= NARROW:
            self._run(left, rows=rows)
        else:
            self._wide(left, rows)

    def _wide(self, left: np.ndarray, rows: np.ndarray) -> None:
        """Multiply and write the maxima of `rows` with NumPy's maximum, for large maps part by part."""
        n, cells, _ = left.shape
        columns = self.right.shape[1]
        part = max(1, min(cells, COSINES // columns))
        if self._products.size < n * part * columns:
            self._products = np.empty(n * part * columns, np.int32)
        if part == cells:
            products = self._products[: n * cells * columns].reshape(n, cells, columns)
            self._run(left, cosines=products)
            _maximum(products, rows)
            return
        best = np.empty((1, columns), np.int32)
        for frame, result in zip(left, rows, strict=True):
            for start in range(0, cells, part):
                piece = frame[None, start : start + part]
                products = self._products[: piece.shape[1] * columns].reshape(1, -1, columns)
                self._run(piece, cosines=products)
                _maximum(products, best)
                np.maximum(result, best[0], out=result) if start else np.copyto(result, best[0])

    def _run(self, left: np.ndarray, **results: np.ndarray) -> None:
        """Run the graph that gives these results, and have it write them into the arrays."""
        names = tuple(results)
        if names not in self._bindings:
            session = _session(self._exact, names)
            binding = session.io_binding()
            right = self.right
            binding.bind_input("right", "cpu", 0, self._kind[1], right.shape, right.ctypes.data)
            self._bindings[names] = session, binding
        session, binding = self._bindings[names]
        binding.bind_input("left", "cpu", 0, self._kind[0], left.shape, left.ctypes.data)
        for name, result in results.items():
            binding.bind_output(name, "cpu", 0, self._kind[2], result.shape, result.ctypes.data)
        session.run_with_iobinding(binding)


def _maximum(products: np.ndarray, rows: np.ndarray) -> None:
    """Write the greatest of products [n, P, Q] over P into rows [n, Q].

    Several cells are taken side by side at first, because NumPy is faster on long rows.
    """
    n, cells, columns = products.shape
    fold = max(1, min(WIDTH // columns, cells))
    whole = cells // fold
    folded = np.maximum.reduce(products[:, : whole * fold].reshape(n, whole, fold * columns), axis=1)
    np.maximum.reduce(folded.reshape(n, fold, columns), axis=1, out=rows)
    if whole * fold < cells:
        np.maximum(rows, np.maximum.reduce(products[:, whole * fold :], axis=1), out=rows)


@cache
def _session(exact: bool, results: tuple[str, ...]) -> onnxruntime.InferenceSession:
    """Build the graph of a product.

    results: some of `cosines` (the product), `rows` (its maxima over the cells) and `cells` (those over the rows).
    """
    kind = TensorProto.FLOAT if exact else TensorProto.INT32
    left = ["P", "C"] if exact else ["n", "P", "C"]
    if exact:
        nodes = [
            helper.make_node("Cast", ["left"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["wide", "right"], ["cosines"]),
        ]
    else:
        nodes = [helper.make_node("MatMulInteger", ["left", "right", "zero"], ["cosines"])]
    constants: dict[str, np.ndarray] = {
        "zero": np.array(ZERO, np.uint8),
        "over rows": np.array([len(left) - 2], np.int64),
        "over cells": np.array([len(left) - 1], np.int64),
    }
    shapes = {"cosines": [*left[:-1], "Q"], "rows": [*left[:-2], "Q"], "cells": left[:-1]}
    for name in set(results) - {"cosines"}:
        nodes.append(helper.make_node("ReduceMax", ["cosines", f"over {name}"], [name], keepdims=0))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "product",
        [
            helper.make_tensor_value_info("left", TensorProto.FLOAT16 if exact else TensorProto.UINT8, left),
            helper.make_tensor_value_info("right", TensorProto.FLOAT if exact else TensorProto.INT8, ["C", "Q"]),
        ],
        [helper.make_tensor_value_info(name, kind, shapes[name]) for name in results],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
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

    Without VNNI instructions ONNX Runtime adds pairs of 8-bit products in 16 bits, which 255·127·2 exceeds; with half
    the range of codes they fit. The bounds account for the coarser codes, so results stay exact, and only more frames
    are scored again.
    """
    rows = np.empty((1, 16), np.int32)
    Product(np.full((64, 16), LIMIT, np.int8), exact=False)(np.full((1, 1, 64), 255, np.uint8), rows)
    return LIMIT if (rows == 64 * (255 - ZERO) * LIMIT).all() else LIMIT // 2
