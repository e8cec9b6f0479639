"""Makes raw heads for tests: random ones, and ones whose objects are known."""

import math

import numpy as np

from sluice.methods.mixtures.heads import Heads


def random_heads(seed, b=1, n=60, k=3, c=5, background=0.0):
    """Return heads of b images with random numbers: n priors, k components, c classes."""
    random = np.random.default_rng(seed)
    priors = np.concatenate([random.uniform(0, 500, (n, 2)), random.uniform(20, 120, (n, 2))], axis=1)
    mean = random.standard_normal((b, n, k, c)) * 2
    mean[..., 0] += background
    return Heads(
        priors,
        random.standard_normal((b, n, k, 4)),
        random.standard_normal((b, n, k, 4)),
        random.standard_normal((b, n, k, 4)),
        mean,
        random.standard_normal((b, n, k, c)),
        random.standard_normal((b, n, k)),
    )


def planted(boxes, scores, classes=None, c=5, k=2):
    """Return heads of one image whose every prior is a box (corners), of one class with the given score."""
    boxes = np.asarray(boxes, np.float64)
    n = len(boxes)
    priors = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    mean = np.full((1, n, k, c), -50.0)
    mean[..., 0] = 0
    for i, score in enumerate(scores):
        mean[0, i, :, 1 if classes is None else classes[i]] = math.log(score / (1 - score))
    return Heads(
        priors,
        np.zeros((1, n, k, 4)),
        np.zeros((1, n, k, 4)),
        np.zeros((1, n, k, 4)),
        mean,
        np.zeros((1, n, k, c)),
        np.zeros((1, n, k)),
    )


def tensors(heads):
    """Return the heads by their tensor names on the wire."""
    found = {name.upper(): getattr(heads, name) for name in heads.__dataclass_fields__}
    return {name: np.ascontiguousarray(array) for name, array in found.items() if array is not None}
