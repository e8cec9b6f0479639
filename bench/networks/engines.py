"""Opens one graph in each precision: fp32, bf16 through OpenVINO, fp16 and int8; each on one thread."""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from typing import Any

import numpy as np
import onnx
import onnxruntime

from export.entry import Network
from export.precision.half import half
from export.precision.inputs import generated
from export.precision.int8 import quantized
from export.precision.rounding import rounded

Values = dict[str, np.ndarray]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]
Run = Callable[[Values], Values]
WHOLE, BF16, FP16, INT8 = "fp32", "bf16", "fp16", "int8"


def ort(model: onnx.ModelProto) -> Run:
    """Open a graph in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(names, given), strict=True))


def openvino(model: onnx.ModelProto) -> Run | None:
    """Open a graph in OpenVINO in bf16, on one thread; None where OpenVINO or the processor's bf16 is missing.

    Each shape has a program compiled for it alone, as the profile cpu-fast serves most networks.
    """
    if util.find_spec("openvino") is None:
        return None
    from openvino import Core

    core = Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    source = core.read_model(model.SerializeToString(), b"")
    programs: dict[Shapes, Any] = {}
    names = [output.name for output in model.graph.output]  # OpenVINO gives them in this order, under other names

    def run(given: Values) -> Values:
        shapes = tuple((name, array.shape) for name, array in given.items())
        if shapes not in programs:
            fitted = source.clone()
            fitted.reshape({name: list(shape) for name, shape in shapes})
            programs[shapes] = core.compile_model(fitted, "CPU", settings)
        found = programs[shapes](given)
        return {name: np.array(found[index]) for index, name in enumerate(names)}

    return run


class Precisions:
    """A network in all precisions.

    runs: by precision, with the rounding of that precision. timed: by precision, as it would be served; it differs for
    fp16, which ONNX Runtime computes in fp32. size: bytes of the graph.
    """

    def __init__(self, network: Network, calibration: int):
        """calibration: number of generated inputs that int8 is calibrated on."""
        whole = onnx.load(network.onnx)
        short = half(whole, network)
        small = quantized(whole, network, generated(network, calibration))
        self.whole = whole
        self.runs: dict[str, Run] = {WHOLE: ort(whole)}
        self.size = {WHOLE: whole.ByteSize(), BF16: whole.ByteSize(), FP16: short.ByteSize(), INT8: small.ByteSize()}
        fast = openvino(whole)
        if fast is not None:
            self.runs[BF16] = fast
        self.runs[FP16] = ort(rounded(short))
        self.runs[INT8] = ort(small)
        self.timed = self.runs | {FP16: ort(short)}
