"""Whitened PCA: fewer channels, uncorrelated and of equal variance, in closed form.

Source: Jegou and Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening",
2012. With the mean m and the covariance U diag(l) U^T of the cells' vectors, y = diag(l)^-1/2 U^T (x - m), of which the
components of the greatest l are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from export.entry import ExportError

# Directions of less than this share of the greatest variance are rounding errors of float32, not features.
LEAST_SHARE = 1e-8


@dataclass(frozen=True)
class Projection:
    """y = (x - mean) @ matrix.

    mean: float32 [D]. matrix: float32 [D, C]. kept: share of the variance that C channels keep. cells: number of
    vectors that it was fitted on. The mean is subtracted first, since a product with a mean far from zero would lose
    its digits in 16 bits.
    """

    mean: np.ndarray
    matrix: np.ndarray
    kept: float
    cells: int


@dataclass
class Moments:
    """Count, sum [D] and sum of products [D, D] of vectors, in float64, which whitening is computed from."""

    count: int = 0
    sum: np.ndarray = field(default_factory=lambda: np.zeros(0))
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    offset: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, vectors: np.ndarray) -> None:
        """Count vectors [n, D], n of 1 or more, any float."""
        wide = np.asarray(vectors, np.float64)
        if not self.count:
            # Sums about a vector near the mean keep their digits where the mean is far from zero.
            self.offset = wide.mean(axis=0)
            self.sum, self.products = np.zeros(wide.shape[1]), np.zeros((wide.shape[1],) * 2)
        wide = wide - self.offset
        self.count += len(wide)
        self.sum += wide.sum(axis=0)
        self.products += wide.T @ wide

    def mean(self) -> np.ndarray:
        """Return the mean, float64 [D]."""
        return self.offset + self.sum / self.count

    def covariance(self) -> np.ndarray:
        """Return the covariance, float64 [D, D], normalised by the count."""
        centre = self.sum / self.count
        return self.products / self.count - np.outer(centre, centre)


def fit(moments: Moments, channels: int) -> Projection:
    """Return the whitening of D channels to the C `channels` of greatest variance.

    The sign of each component is that for which the greatest weight is positive, so that the same frames give the same
    network. Raises ExportError where the vectors are not finite, or vary in fewer directions than `channels`.
    """
    covariance = moments.covariance()
    if not np.isfinite(covariance).all():
        raise ExportError("the map of these frames has values that are not finite; check mean and std of the pixels")
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > LEAST_SHARE * max(values[0], np.finfo(np.float64).tiny)).sum())
    if rank < channels:
        raise ExportError(
            f"on these frames the map varies in {rank} directions, fewer than {channels} channels; give more frames "
            f"with --frames, or --channels {max(16, rank // 16 * 16)}"
        )
    basis = vectors[:, :channels]
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(channels)])
    matrix = basis * signs / np.sqrt(values[:channels])
    kept = float(values[:channels].sum() / values[values > 0].sum())
    return Projection(moments.mean().astype(np.float32), matrix.astype(np.float32), kept, moments.count)
