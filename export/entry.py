"""What every step of an export needs to know of a network: a line of the table `export.registry.NETWORKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The tree that this code came with: a clone, or `sluice/shipped` of an installed package.
ROOT = Path(__file__).resolve().parent.parent
Shape = tuple[int, ...]


class ExportError(Exception):
    """An export cannot go on; the message is one sentence or two, with the remedy, for the person at the terminal."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph. axes: a name for each axis of free size, its length for each fixed one."""

    name: str
    axes: tuple[str | int, ...]

    @property
    def free(self) -> dict[int, str]:
        return {index: axis for index, axis in enumerate(self.axes) if isinstance(axis, str)}


@dataclass(frozen=True)
class Network:
    """Everything that an export needs to know of a network.

    name: of the model in `model_repository`, where `model` names no other. load: path of the weights -> module in eval
    mode with float32 parameters. train: the command that makes the weights. example: shapes at which the graph is
    traced, by input; their sizes must all differ and be none of `check`, so that a size baked into the graph is
    noticed. check: shapes compared between torch and ONNX Runtime. make: shapes, seed -> input arrays like those that
    callers send. tolerance: greatest absolute difference allowed in any output. profile: (min, opt, max) shapes for
    TensorRT. unit: outputs of length 1 over the last axis. data, licence: what to say in the card where the weights'
    record is silent. family: name of the weights and of their card, where several graphs come from one file. made: what
    `make` gives, for the card. fast: whether 16 bits do for it: bf16 in the profile cpu-fast, fp16 in TensorRT.
    edition: of what this network alone writes into its graph; '': that of `export.graph`. root: folder whose
    model_repository is written to, and whose weights are read.
    """

    name: str
    title: str
    load: Callable[[Path], Any]
    train: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    example: Mapping[str, Shape]
    check: tuple[Mapping[str, Shape], ...]
    make: Callable[[Mapping[str, Shape], int], dict[str, Any]]
    tolerance: float
    profile: Mapping[str, tuple[Shape, Shape, Shape]]
    unit: tuple[str, ...] = ()
    opset: int = 17
    data: str = ""
    licence: str = ""
    model: str = ""
    family: str = ""
    made: str = "generated street scenes"
    fast: bool = True
    edition: str = ""
    root: Path = ROOT

    @property
    def weights(self) -> Path:
        return self.root / "weights" / f"{self.family or self.name}.pt"

    @property
    def card(self) -> Path:
        return self.weights.with_suffix(".md")

    @property
    def onnx(self) -> Path:
        return self.root / "model_repository" / (self.model or self.name) / "1" / "model.onnx"

    @property
    def plan(self) -> Path:
        return self.onnx.with_name("model.plan")
