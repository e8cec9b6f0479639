"""Makes the rows of a score network in the table of exports, by the images that it draws. Imports no torch until used.

A network with a curvature head has two rows (`pair`): a graph with DERIVATIVE for the second-order solver, and a graph
without it for solvers of first order, which need not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.entry import Network, Shape, Tensor
from export.tensorrt import profiles


def pair(name: str, **about: Any) -> tuple[Network, Network]:
    """Return the rows of NAME_score and NAME_curvature, both made from weights/NAME.pt. about: arguments of `row`."""
    return (
        row(f"{name}_score", head=False, family=name, **about),
        row(f"{name}_curvature", head=True, family=name, **about),
    )


def row(
    name: str,
    *,
    channels: int,
    size: int,
    labels: int = 0,
    head: bool = True,
    title: str = "",
    train: str = "",
    **more: Any,
) -> Network:
    """Return the row of one graph. Its weights are a file of `files.save` or a diffusers folder.

    channels, size: of the images, pixels a side. labels: number of class labels, the null label included; 0 for an
    unconditional network. head: whether the graph has the output DERIVATIVE. more: other fields of `Network`.
    """
    image = ("batch", channels, size, size)
    inputs = [Tensor("SAMPLE", image), Tensor("TIME", ("batch", 1))]
    if labels:
        inputs.append(Tensor("LABEL", ("batch", 1)))
    outputs = [Tensor("EPSILON", image)] + ([Tensor("DERIVATIVE", image)] if head else [])

    def shapes(batch: int) -> dict[str, Shape]:
        return {t.name: (batch, *(n for n in t.axes if isinstance(n, int))) for t in inputs}

    def load(weights: Path) -> Any:
        from export.genie import files, network

        return network.Served(files.load(weights), head).eval()

    def make(wanted: Mapping[str, Shape], seed: int) -> dict[str, Any]:
        return states(wanted, labels, seed)

    return Network(
        name=name,
        title=title or "Score network of a diffusion sampler, and the curvature of its trajectories",
        load=load,
        train=train or "python -m export.genie.train_score, then python -m export.genie.train_head",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        example=shapes(2),
        check=tuple(shapes(batch) for batch in (1, 3, 8, 32)),
        make=make,
        # DERIVATIVE is divided by gamma, 0.01 at the earliest t: its last digits stand a hundred times higher.
        tolerance=1e-2 if head else 1e-3,
        profile=profiles.shapes("score_network", inputs),
        made="noise at times from 0.001 to 1",
        fast=False,  # a derivative in bf16 is mostly noise
        **more,
    )


def states(shapes: Mapping[str, Shape], labels: int, seed: int) -> dict[str, Any]:
    """Return inputs like a solver's: SAMPLE of unit variance, TIME uniform in [0.001, 1], LABEL uniform over `labels`.

    shapes: by input; LABEL is made where it has a shape.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "SAMPLE": rng.standard_normal(shapes["SAMPLE"], np.float32),
        "TIME": rng.uniform(1e-3, 1, shapes["TIME"]).astype(np.float32),
    }
    if "LABEL" in shapes:
        made["LABEL"] = rng.integers(0, labels, shapes["LABEL"], np.int64)
    return made
