"""Softmax and sigmoid that neither overflow nor lose small values."""

from __future__ import annotations

import numpy as np


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) scaled to the sum 1 along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):  # exp(-x) beyond float32 is infinite, and the result 0
        return 1 / (1 + np.exp(-x))
