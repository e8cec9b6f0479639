"""Measures the most that this machine can multiply and read; the scan's shares are shares of these limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sluice.methods.scan.codes import ZERO


@cache
def bare_session() -> onnxruntime.InferenceSession:
    """Return the product of codes and templates alone, in the library that the scan uses."""
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right", "zero"], ["product"])],
        "bare",
        [
            helper.make_tensor_value_info("left", TensorProto.UINT8, ["M", "C"]),
            helper.make_tensor_value_info("right", TensorProto.INT8, ["C", "Q"]),
        ],
        [helper.make_tensor_value_info("product", TensorProto.INT32, ["M", "Q"])],
        [numpy_helper.from_array(np.array(ZERO, np.uint8), "zero")],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def bare_product(codes: np.ndarray, right: np.ndarray, frames: int, threads: int) -> None:
    """Multiply codes [n, P, C] uint8 with right [C, Q] int8, `frames` at a time, and throw the products away."""
    session = bare_session()
    starts = iter(range(0, len(codes), frames))

    def loop() -> None:
        binding = session.io_binding()
        product = np.empty((frames * codes.shape[1], right.shape[1]), np.int32)
        binding.bind_input("right", "cpu", 0, np.int8, right.shape, right.ctypes.data)
        for start in starts:
            left = codes[start : start + frames].reshape(-1, codes.shape[2])
            binding.bind_input("left", "cpu", 0, np.uint8, left.shape, left.ctypes.data)
            shape = len(left), right.shape[1]
            binding.bind_output("product", "cpu", 0, np.int32, shape, product.ctypes.data)
            session.run_with_iobinding(binding)

    together(loop, threads)


def together(loop: Callable[[], None], threads: int) -> None:
    """Run the same function on several threads and wait for all of them."""
    others = [threading.Thread(target=loop) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    loop()
    for thread in others:
        thread.join()


def best(work: Callable[[], None], rounds: int = 7) -> float:
    """Return the least seconds of several rounds, because a limit is what is reached when nothing disturbs."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def int8_limit(threads: int) -> float:
    """Return the most 8-bit operations per second that the scan's own library reaches here, on large squares."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (2 * threads, 1024, 1024), np.uint8)
    right = rng.integers(-127, 128, (1024, 1024), np.int8)
    return 2 * codes.size * 1024 / best(lambda: bare_product(codes, right, 1, threads))


def float_limit() -> float:
    """Return the most float32 operations per second that NumPy's product reaches here."""
    square = np.random.default_rng(0).standard_normal((2048, 2048), np.float32)
    out = np.empty_like(square)

    def multiply() -> None:
        np.matmul(square, square, out=out)

    return 2 * 2048**3 / best(multiply)


def read_limit(threads: int) -> float:
    """Return the bytes per second that all cores together read from memory."""
    array = np.ones(1 << 27, np.int64)  # 1 GiB: far more than any cache
    parts = np.split(array, 256)

    def work() -> None:
        todo = iter(parts)

        def loop() -> None:
            for part in todo:
                part.max()

        together(loop, threads)

    return array.nbytes / best(work)
