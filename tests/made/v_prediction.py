"""Turns the answers of networks that predict eps into those of networks that predict v."""

from sluice.methods.genie import schedule


def v_of_eps(eps, x, t):
    """Return v [B, ...] = (eps - sigma x_t) / alpha, from eps and x_t [B, ...] at t [B]; `eps_of_v` leads back."""
    alpha, sigma = (of(t).reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype) for of in (schedule.alpha, schedule.sigma))
    return (eps - sigma * x) / alpha
