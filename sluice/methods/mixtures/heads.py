"""The raw heads of a mixture-density detector: the tensors of a network, with their shapes and values checked.

A detector of any architecture fits, as long as it gives these tensors. They are checked once, when `Heads` is made, so
that the maths behind it need not doubt them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sluice.errors import InvalidArgument

# Greatest number in heads: its square, an uncertainty, is still far from the end of float32.
GREATEST = 1e9


@dataclass(frozen=True)
class Heads:
    """The raw output of a network for B images of one size: N priors, K components, C classes; taken as float32.

    priors:            [N, 4] or [B, N, 4] cx, cy, w, h, pixels of the canvas; kept as [B, N, 4].
    location_mean:     [B, N, K, 4] offsets from the prior of cx, cy, w, h, scaled by the two variances of `Options`.
    location_variance: [B, N, K, 4]; its sigmoid is the variance or the deviation, as `Options.location_sigmoid` says.
    location_weight:   [B, N, K, 4]; its softmax over K gives the weights, separately for each coordinate.
    class_mean:        [B, N, K, C] logits; class 0 is the background.
    class_variance:    [B, N, K, C]; its sigmoid is the variance of the logit. None if the network has no such heads.
    class_weight:      [B, N, K]; its softmax over K gives one weight per component for all classes.

    Raises InvalidArgument, which names the tensor, for a shape that does not fit the others and for numbers that are
    not finite or exceed GREATEST.
    """

    priors: np.ndarray
    location_mean: np.ndarray
    location_variance: np.ndarray
    location_weight: np.ndarray
    class_mean: np.ndarray
    class_variance: np.ndarray | None
    class_weight: np.ndarray

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), np.float32))
        if self.class_mean.ndim != 4 or 0 in self.class_mean.shape or self.class_mean.shape[3] < 2:
            raise InvalidArgument(
                "CLASS_MEAN is [B, N, K, C]: images, priors, components, classes with the background first (C of 2 or "
                f"more); got {list(self.class_mean.shape)}"
            )
        b, n, k, c = self.class_mean.shape
        shapes = {
            "location_mean": (b, n, k, 4), "location_variance": (b, n, k, 4), "location_weight": (b, n, k, 4),
            "class_variance": (b, n, k, c), "class_weight": (b, n, k),
        }  # fmt: skip
        if self.priors.ndim == 2:
            object.__setattr__(self, "priors", np.broadcast_to(self.priors, (b, *self.priors.shape)))
        for name, shape in {"priors": (b, n, 4), **shapes}.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise InvalidArgument(
                    f"{name.upper()} must be {list(shape)}, as CLASS_MEAN {list(self.class_mean.shape)} (B, N, K, C) "
                    f"has it; got {list(array.shape)}"
                )
        for name in ("priors", "class_mean", *shapes):
            self._check_finite(name)
        if (self.priors[..., 2:] <= 0).any():
            raise InvalidArgument("PRIORS are cx, cy, w, h with w and h above 0; got one that is not")

    def _check_finite(self, name: str) -> None:
        array = getattr(self, name)
        for image in range(0 if array is None else len(array)):
            numbers = array[image].reshape(-1)
            # A sum of squares within the limit proves in one pass that every number is; NaN is within no limit.
            if not (np.dot(numbers, numbers) <= GREATEST**2 or np.abs(numbers).max() <= GREATEST):
                what = f"holds NaN, infinite numbers or some beyond {GREATEST:.0e}; the network or its input is broken"
                raise InvalidArgument(f"{name.upper()} of image {image} {what}")

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Heads:
        """Make heads from tensors by their names on the wire: PRIORS, LOCATION_MEAN, ..., CLASS_WEIGHT.

        Raises InvalidArgument for a missing tensor; only CLASS_VARIANCE may be missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name.upper() for name in names if name != "class_variance" and name.upper() not in tensors]
        if missing:
            raise InvalidArgument(f"heads need {', '.join(missing)}; only CLASS_VARIANCE may be left out")
        return cls(**{name: tensors.get(name.upper()) for name in names})  # type: ignore[arg-type]  # only one may be None

    def __len__(self) -> int:
        """Return B, the number of images."""
        return len(self.class_mean)

    @property
    def classes(self) -> int:
        """Return C, the number of classes, the background included."""
        return self.class_mean.shape[3]
