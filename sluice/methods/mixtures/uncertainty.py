"""Uncertainty: mean, aleatoric and epistemic variance of Gaussian mixtures.

The variance of a mixture is the mean of its components' variances plus the variance of its components' means. The first
part is aleatoric (it lies in the data), the second epistemic (it lies in the model, and more labels can reduce it).
Sources: Choi et al., "Active Learning for Deep Object Detection via Probabilistic Modeling", ICCV 2021, equation 6;
US 12,387,481, [0084].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sluice.activations import sigmoid, softmax


class Mixture(NamedTuple):
    """The mean of a mixture and the two parts of its variance, each of the shape of one component."""

    mean: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


def mix(pi: np.ndarray, mu: np.ndarray, var: np.ndarray) -> Mixture:
    """Return the mean of mixtures, and their variance split into its aleatoric and its epistemic part.

    pi: [..., K, 1] or [..., K, D] weights, which sum to 1 over K. mu, var: [..., K, D] means and variances.
    Returns mean, aleatoric and epistemic [..., D] each; aleatoric + epistemic is the variance of the mixture.
    Source: Choi et al., 2021, equation 6; US 12,387,481, [0084].
    """
    mean = (pi * mu).sum(axis=-2)
    return Mixture(mean, (pi * var).sum(axis=-2), (pi * np.square(mu - mean[..., None, :])).sum(axis=-2))


def mix_location(
    mean: np.ndarray, variance: np.ndarray, weight: np.ndarray, location_sigmoid: str = "variance"
) -> Mixture:
    """Return offsets with their uncertainties, [..., 4] each, in the scaled offsets of the detector.

    mean, variance, weight: [..., K, 4] raw heads.
    location_sigmoid: as in `mixtures.Reading`. A deviation is squared before it is mixed, because only variances add
        up to the variance of the mixture.
    """
    spread = sigmoid(variance)
    return mix(softmax(weight, -2), mean, np.square(spread) if location_sigmoid == "deviation" else spread)


def mix_class(mean: np.ndarray, variance: np.ndarray | None, weight: np.ndarray) -> Mixture:
    """Return class probabilities with their uncertainties, [..., C] each.

    mean, variance: [..., K, C] raw heads; variance None if the network has none. weight: [..., K] raw heads.
    The aleatoric part is a variance of logits, NaN without class variances; the epistemic part is a variance of
    probabilities, at most 1/4. Both as published.
    """
    pi = softmax(weight, -1)[..., None]
    var = np.full_like(mean, np.nan) if variance is None else sigmoid(variance)
    return mix(pi, softmax(mean, -1), var)
