"""GENIE: images from noise in few network evaluations, with the second-order Taylor method.

Source: Dockhorn, Vahdat, Kreis, "GENIE: Higher-Order Denoising Diffusion Solvers", NeurIPS 2022. Read `schedule` (the
process), `solvers` (one table), `trajectory` (the loop), `latents` (where it begins) and `pictures` (PNG and JPEG).
"""

from __future__ import annotations

from sluice.methods.genie.latents import noise, slerp
from sluice.methods.genie.trajectory import PREDICTIONS, RULES, Call, Network, Options, Trajectory, encode, sample

__all__ = ["PREDICTIONS", "RULES", "Call", "Network", "Options", "Trajectory", "encode", "noise", "sample", "slerp"]
