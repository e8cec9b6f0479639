"""Mean, aleatoric and epistemic variance of Gaussian mixtures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sluice.activations import sigmoid, softmax

# ------------------------------------------------------------------------------------------------ mixtures


class Mixture(NamedTuple):
    """A mixture's mean and the two parts of its variance, each of the shape of one component."""

    mean: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


def mix(pi: np.ndarray, mu: np.ndarray, var: np.ndarray) -> Mixture:
    """Split the variance of mixtures into what data cannot fix and what labels can.

    pi: [..., K, 1 or D] weights, sum 1 over K. mu, var: [..., K, D].
    Returns three of [..., D]; aleatoric + epistemic is the variance of the mixture.
    Source: Choi et al., ICCV 2021, equation 6; US 12,387,481, [0084].
    """
    mean = (pi * mu).sum(axis=-2)
    return Mixture(mean, (pi * var).sum(axis=-2), (pi * np.square(mu - mean[..., None, :])).sum(axis=-2))


def mix_location(
    mean: np.ndarray, variance: np.ndarray, weight: np.ndarray, location_sigmoid: str = "variance"
) -> Mixture:
    """Offsets [..., 4] with their uncertainties, from raw heads [..., K, 4]; in the detector's scaled offsets.

    location_sigmoid: as in `mixtures.options.Reading`; a deviation is squared before it is mixed, because only
    variances add up to that of the mixture.
    """
    spread = sigmoid(variance)
    return mix(softmax(weight, -2), mean, np.square(spread) if location_sigmoid == "deviation" else spread)


def mix_class(mean: np.ndarray, variance: np.ndarray | None, weight: np.ndarray) -> Mixture:
    """Probabilities [..., C] with their uncertainties, from raw heads [..., K, C] and [..., K].

    The aleatoric part is a variance of logits, the epistemic part one of probabilities (at most 1/4), as published.
    Without class variances the aleatoric part is NaN.
    """
    pi = softmax(weight, -1)[..., None]
    var = np.full_like(mean, np.nan) if variance is None else sigmoid(variance)
    return mix(pi, softmax(mean, -1), var)
