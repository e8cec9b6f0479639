"""The diffusion process in torch: the shares of image and noise at time t, all of them element by element."""

from __future__ import annotations

import torch
from torch import Tensor

BETA_MIN, BETA_D = 0.1, 19.9  # beta(t) = BETA_MIN + BETA_D t
EARLIEST = 1e-3  # smallest t that networks are trained at and solvers end at


def log_signal(t: Tensor) -> Tensor:
    """Return -2 log alpha(t) = log(1 + gamma^2)."""
    return BETA_MIN * t + 0.5 * BETA_D * t * t


def alpha(t: Tensor) -> Tensor:
    """Return the share of the image in x_t, 1 at t = 0 to 0.0066 at t = 1."""
    return torch.exp(-0.5 * log_signal(t))


def sigma(t: Tensor) -> Tensor:
    """Return the standard deviation of the noise in x_t, sqrt(1 - alpha^2), without loss of digits at small t."""
    h = torch.tanh(0.5 * log_signal(t))  # ONNX has no expm1
    return torch.sqrt(2 * h / (1 + h))


def gamma(t: Tensor) -> Tensor:
    """Return sigma / alpha: 0.0105 at t = 0.001, 152.167 at t = 1."""
    return sigma(t) / alpha(t)


def time_at(log_one_plus_gamma_squared: Tensor) -> Tensor:
    """Return the t at which log(1 + gamma^2) has this value."""
    return (torch.sqrt(BETA_MIN**2 + 2 * BETA_D * log_one_plus_gamma_squared) - BETA_MIN) / BETA_D


def time_slope(t: Tensor) -> Tensor:
    """Return dt / dgamma = 2 gamma / ((1 + gamma^2) beta(t)). Source: reference formula F6."""
    return 2 * sigma(t) * alpha(t) / (BETA_MIN + BETA_D * t)


def over(t: Tensor) -> Tensor:
    """Reshape [B] or [B, 1] to [B, 1, 1, 1], so that images [B, C, H, W] can be multiplied by it."""
    return t.reshape(-1, 1, 1, 1)
