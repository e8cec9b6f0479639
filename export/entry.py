"""The rows of the tables in `export.registry`: `Network` for NETWORKS, `Command` for COMMANDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The tree that this code came with: a clone, or `sluice/shipped` of an installed package.
ROOT = Path(__file__).resolve().parent.parent
Shape = tuple[int, ...]


class ExportError(Exception):
    """Raised where an export cannot go on. The message tells the person at the terminal why, and the remedy."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph. axes: a name per axis of free size, the length of each fixed axis."""

    name: str
    axes: tuple[str | int, ...]

    @property
    def free(self) -> dict[int, str]:
        """Return the names of the axes of free size, by index."""
        return {index: axis for index, axis in enumerate(self.axes) if isinstance(axis, str)}


@dataclass(frozen=True)
class Network:
    """Everything that an export needs to know about a network.

    name: of the model in `model_repository`, unless `model` names another.
    load: path of the weights -> module in eval mode with float32 parameters.
    train: the command that makes the weights.
    example: shapes at which the graph is traced, by input. Their sizes must all differ and must not occur in `check`,
        so that a size baked into the graph is noticed.
    check: shapes at which torch and ONNX Runtime are compared.
    make: shapes, seed -> input arrays like those that callers send. made: what `make` returns, in words for the card.
    tolerance: greatest absolute difference allowed in any output.
    profile: (least, best, greatest) shapes for TensorRT, by input; ours come from `export.tensorrt.profiles`.
    unit: outputs whose vectors along the last axis have length 1.
    data, licence: what the card says where the training record is silent.
    family: name of the weights and of the card where several graphs come from one file. Empty: `name`.
    fast: whether 16 bits are precise enough: bf16 in the profile cpu-fast, fp16 in TensorRT.
    edition: raised when this network alone writes another graph for the same weights. Empty: that of `export.graph`.
    root: folder whose model_repository is written to, and whose weights are read.
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
        """Return the path of the weights."""
        return self.root / "weights" / f"{self.family or self.name}.pt"

    @property
    def card(self) -> Path:
        """Return the path of the model card."""
        return self.weights.with_suffix(".md")

    @property
    def onnx(self) -> Path:
        """Return the path of the graph that Triton serves."""
        return self.root / "model_repository" / (self.model or self.name) / "1" / "model.onnx"

    @property
    def plan(self) -> Path:
        """Return the path of the classic TensorRT engine."""
        return self.onnx.with_name("model.plan")

    @property
    def rtx(self) -> Path:
        """Return the path of the TensorRT-for-RTX engine."""
        return self.onnx.with_name("model.rtx.onnx")


@dataclass(frozen=True)
class Command:
    """A command of its own below `sluice export`, which an entry offers.

    name: the word after `sluice export`. purpose: the thing that the command exports, in a few words. usage: an example
    for error messages. run: takes the words after `name` and returns the exit status.
    """

    name: str
    purpose: str
    usage: str
    run: Callable[[list[str]], int]
