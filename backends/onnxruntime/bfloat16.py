"""Carries BF16 tensors as arrays of their 16 bits (uint16), since NumPy has no such type.

The values of ONNX Runtime take them from Triton's tensors to arrays and back, because both libraries support DLPack.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort

BFLOAT16 = 16  # TensorProto.DataType of ONNX
AVAILABLE = hasattr(ort.OrtValue, "from_dlpack")  # missing in older releases


def value(array: np.ndarray) -> ort.OrtValue:
    """Return bits as a BF16 value of ONNX Runtime, in memory of its own."""
    made = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), BFLOAT16)
    if array.nbytes:
        ctypes.memmove(made.data_ptr(), np.ascontiguousarray(array).ctypes.data, array.nbytes)
    return made


def bits(value: ort.OrtValue) -> np.ndarray:
    """Return the bits of a BF16 value of ONNX Runtime, copied."""
    array = np.empty(tuple(value.shape()), np.uint16)
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array


def received(tensor: Any) -> np.ndarray:
    """Return the bits of a BF16 tensor of Triton."""
    return bits(ort.OrtValue.from_dlpack(tensor.to_dlpack()))
