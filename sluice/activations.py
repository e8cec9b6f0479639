"""Softmax and sigmoid for the raw outputs of networks.

Logits of any size are allowed: neither function overflows, and both keep every small value that the type can hold.
"""

from __future__ import annotations

import numpy as np


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """Return exp(x) scaled to sum 1 along one axis, of the shape and float type of `x`.

    x: logits [...], finite or -inf, at least one of them finite along the axis; a logit of -inf has the share 0.
    """
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), 0 to 1, of the shape and float type of `x`; infinities give 0 and 1."""
    with np.errstate(over="ignore"):  # exp(-x) beyond the type's range is infinite, and the result 0
        return 1 / (1 + np.exp(-x))
