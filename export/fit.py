"""A network of a user's own may have other sizes than the one that is shipped: its config.pbtxt then says so.

Triton compares the sizes of outputs exactly, so a config that promises 16 groups of 128 numbers cannot serve a network
that gives 8 of 256.
"""

from __future__ import annotations

import re
from pathlib import Path

from export.entry import ExportError, Network


def fit(network: Network) -> list[str]:
    """Write into the configs of a network, the one for TensorRT included, the fixed sizes of its outputs.

    Only the numbers change. Returns a line for each config that was changed; raises ExportError where a config does not
    have an output of the graph, or has it with another number of dimensions.
    """
    given = sizes(network.onnx)
    folder = network.onnx.parent.parent
    changed = []
    for path in sorted([*folder.glob("config.pbtxt"), *folder.glob("configs/*.pbtxt")]):
        text = path.read_text(encoding="utf-8")
        new = text
        for name, shape in given.items():
            new = _written(new, name, shape, path)
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(f"{network.name}: wrote its sizes into {path.relative_to(folder)}")
    return changed


def sizes(graph: Path) -> dict[str, list[int]]:
    """Of each output without the batch; -1 where it is free."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return {
        output.name: [size if isinstance(size, int) else -1 for size in output.shape[1:]]
        for output in session.get_outputs()
    }


def _written(text: str, name: str, shape: list[int], path: Path) -> str:
    found = re.search(rf'(name:\s*"{re.escape(name)}"[^}}]*?dims:\s*\[)([^\]]*)(\])', text)
    if not found:
        raise ExportError(f"{path} has no output {name} with dims; the graph gives {shape}")
    said = [int(number) for number in found.group(2).split(",")]
    if len(said) != len(shape):
        raise ExportError(f"{path} says {said} of {name}; the graph gives {shape}")
    if said == shape:
        return text
    return text[: found.start(2)] + f" {', '.join(map(str, shape))} " + text[found.end(2) :]
