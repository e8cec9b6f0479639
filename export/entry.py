"""The rows of the tables in `export.registry`: `Network` for NETWORKS, `Command` for COMMANDS."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.process import weights as sets

# The tree that this code came with: a clone, or `sluice/shipped` of an installed package.
ROOT = Path(__file__).resolve().parent.parent
Shape = tuple[int, ...]


def home(name: str | None = None) -> Path:
    """Return the place of a set's engines in this tree. name: of the set; None for that of the environment, which is
    checked where a command begins."""
    return sets.place(ROOT, name or os.environ.get(sets.VARIABLE) or sets.RESEARCH)


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
    root: folder whose model_repository is written to; which set's weights are read follows from it
        (`sluice.process.weights`).
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
    root: Path = field(default_factory=home)

    @property
    def weights(self) -> Path:
        """Return the path of the weights."""
        return sets.shelf(self.root) / f"{self.family or self.name}.pt"

    @property
    def shipped(self) -> Path:
        """Return the path of the weights of the same set that came with this code."""
        return sets.shelf(home(sets.parts(self.root)[1])) / self.weights.name

    def label(self, weights: Path) -> str:
        """Return the set that a file of weights belongs to, "own" for a user's file."""
        ours = weights.resolve() in (self.weights.resolve(), self.shipped.resolve())
        return sets.parts(self.root)[1] if ours else sets.OWN

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
