"""GENIE: images from noise in few network calls.

A diffusion network leads from noise to an image along a differential equation in the scaled state xbar over gamma.
GENIE solves this equation with the second-order Taylor method, whose derivative comes from a small head of the network
or from a second call. The other solvers are rows of the same table, and the same loop leads back from an image to its
latent.

Read `schedule` (the process and its grids), `solvers` (one table), `trajectory` (the loop), `latents` (where a loop
begins) and `pictures` (PNG and JPEG). Source: Dockhorn, Vahdat, Kreis, "GENIE: Higher-Order Denoising Diffusion
Solvers", NeurIPS 2022.

    >>> import numpy as np
    >>> from sluice.methods import genie
    >>> from sluice.methods.genie.schedule import sigma
    >>> def network(call):  # knows images whose pixels are standard normal: their x_t is standard normal at every t
    ...     return sigma(call.t)[:, None] * call.x, None
    >>> latents = genie.noise(seeds=[1, 2], shape=(4,))
    >>> images = genie.sample(network, latents, genie.Options(solver="genie", steps=20, curvature=False))
    >>> images.shape, bool(np.abs(images - latents).max() < 0.05)  # the equation leads each latent to itself
    ((2, 4), True)
"""

from __future__ import annotations

from sluice.methods.genie.latents import noise, slerp
from sluice.methods.genie.solvers import SOLVERS
from sluice.methods.genie.trajectory import PREDICTIONS, RULES, Call, Network, Options, Trajectory, encode, sample

__all__ = [
    "PREDICTIONS",
    "RULES",
    "SOLVERS",
    "Call",
    "Network",
    "Options",
    "Trajectory",
    "encode",
    "noise",
    "sample",
    "slerp",
]
