"""Writes the output sizes of a user's own network into its config.pbtxt.

Triton compares the sizes of outputs exactly. A config that promises 16 groups of 128 numbers, as shipped, cannot serve
a network that gives 8 groups of 256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.entry import ExportError, Network


def fit(network: Network) -> list[str]:
    """Write the fixed sizes of a graph's outputs into the network's configs, also into that for TensorRT.

    Only the numbers change. Returns a line per changed config. Raises ExportError where a config lacks an output of the
    graph, or has it with another number of dimensions.
    """
    return written(network.onnx.parents[1], sizes(network.onnx))


def written(folder: Path, given: Mapping[str, Sequence[int]]) -> list[str]:
    """Write sizes of outputs into a model's configs, as `fit` does. given: output -> its dims in a config."""
    changed = []
    for path in sorted([*folder.glob("config.pbtxt"), *folder.glob("configs/*.pbtxt")]):
        text = path.read_text(encoding="utf-8")
        new = text
        for name, shape in given.items():
            new = _written(new, name, list(shape), path)
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(f"{folder.name}: wrote its sizes into {path.relative_to(folder)}")
    return changed


def sizes(graph: Path) -> dict[str, list[int]]:
    """Return the sizes of each output without the batch, -1 for free ones. graph: an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return {
        output.name: [size if isinstance(size, int) else -1 for size in output.shape[1:]]
        for output in session.get_outputs()
    }


def _written(text: str, name: str, shape: list[int], path: Path) -> str:
    """Return a config's text with the sizes of one output replaced. path: of the config, for errors."""
    found = re.search(rf'(name:\s*"{re.escape(name)}"[^}}]*?dims:\s*\[)([^\]]*)(\])', text)
    if not found:
        raise ExportError(f"{path} has no output {name} with dims; the graph gives {shape}")
    said = [int(number) for number in found.group(2).split(",")]
    if len(said) != len(shape):
        raise ExportError(f"{path} says {said} of {name}; the graph gives {shape}")
    if said == shape:
        return text
    return text[: found.start(2)] + f" {', '.join(map(str, shape))} " + text[found.end(2) :]
