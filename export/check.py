"""Compares an exported graph with torch, and measures what bf16 costs. The numbers go into the card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from export.entry import ExportError, Network, Shape
from export.graph import export, loaded
from sluice.process import blas

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """The comparison of one batch. difference: greatest absolute difference from torch in any output, as float32."""

    shapes: Mapping[str, Shape]
    difference: float


@dataclass(frozen=True)
class Bf16:
    """The cost of bf16 over all cells of all sizes.

    mean, hundredth, worst: 1 - cosine between a cell in bf16 and the same cell in float32: on average, exceeded by one
    cell in a hundred, and of the worst cell. difference: greatest absolute difference in any value.
    executed: the CPU's instructions for bf16.
    """

    mean: float
    hundredth: float
    worst: float
    difference: float
    executed: str


@dataclass(frozen=True)
class Report:
    """The comparison of one network. bf16: None where it was not measured; `not_measured` then says why, and is empty
    for a network that is never served in 16 bits."""

    network: Network
    rows: tuple[Row, ...]
    runtime: str
    bf16: Bf16 | None = None
    not_measured: str = ""

    @property
    def greatest(self) -> float:
        """Return the greatest difference of all rows."""
        return max(row.difference for row in self.rows)


def session(onnx_file: Path) -> Any:
    """Return an ONNX Runtime session on one thread of the CPU, which adds in the same order every time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])


def reference(network: Network, weights: Path) -> Callable[[Inputs], dict[str, np.ndarray]]:
    """Return the network in torch as a function from input arrays to output arrays, both by name."""
    import torch

    module = loaded(network, weights)
    module.eval()

    def run(inputs: Inputs) -> dict[str, np.ndarray]:
        with torch.no_grad():
            answer = module(*(torch.from_numpy(inputs[tensor.name]) for tensor in network.inputs))
        answers = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
        return {tensor.name: a.numpy() for tensor, a in zip(network.outputs, answers, strict=True)}

    return run


def compare(
    network: Network, weights: Path, onnx_file: Path, progress: Callable[[str], None] = lambda _: None
) -> Report:
    """Run torch and ONNX Runtime at every size of `network.check`, and return the differences.

    Raises ExportError that names the size where shapes, types, unit length or values disagree.
    """
    import onnxruntime

    torch_run, graph = reference(network, weights), session(onnx_file)
    rows = []
    samples: list[tuple[Inputs, dict[str, np.ndarray]]] = []
    for index, shapes in enumerate(network.check):
        inputs = network.make(shapes, 1000 * (index + 1))
        wanted = torch_run(inputs)
        names = [tensor.name for tensor in network.outputs]
        found = dict(zip(names, graph.run(names, inputs), strict=True))
        row = Row(shapes, max(_difference(network, shapes, name, wanted[name], found[name]) for name in names))
        rows.append(row)
        samples.append((inputs, wanted))
        progress(f"  {sizes(shapes):>24}  greatest difference {row.difference:.2e}")
        if not row.difference <= network.tolerance:
            raise ExportError(
                f"{network.name} differs between torch and ONNX Runtime by {row.difference:.3g} at {sizes(shapes)}; "
                f"at most {network.tolerance:g} is allowed. Do not serve this file"
            )
    bf16, reason = _bf16(network, onnx_file, samples, progress)
    return Report(network, tuple(rows), f"ONNX Runtime {onnxruntime.__version__}", bf16, reason)


def checked(network: Network, weights: Path, progress: Callable[[str], None] = lambda _: None) -> tuple[bytes, Report]:
    """Trace a network and compare the graph with torch before it lies where it would be served.

    Returns the ONNX file and the comparison. Raises ExportError as `export.graph.export` and `compare` do.
    """
    content = export(network, weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        return content, compare(network, weights, path, progress)


def _difference(
    network: Network, shapes: Mapping[str, Shape], name: str, wanted: np.ndarray, found: np.ndarray
) -> float:
    """Return the greatest absolute difference of one output, as float32. Raises ExportError as `compare` does."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        raise ExportError(
            f"{name} of {network.name} at {sizes(shapes)} is {found.dtype} {list(found.shape)} in ONNX Runtime "
            f"and {wanted.dtype} {list(wanted.shape)} in torch"
        )
    if name in network.unit:
        lengths = np.linalg.norm(found.astype(np.float32), axis=-1)
        if not np.allclose(lengths, 1, atol=4e-3):
            raise ExportError(
                f"{name} of {network.name} at {sizes(shapes)} must have length 1 in every cell; "
                f"got {lengths.min():.4f} to {lengths.max():.4f}"
            )
    return float(np.max(np.abs(wanted.astype(np.float32) - found.astype(np.float32)), initial=0.0))


def _bf16(
    network: Network,
    onnx_file: Path,
    samples: Sequence[tuple[dict[str, Any], dict[str, np.ndarray]]],
    progress: Callable[[str], object],
) -> tuple[Bf16 | None, str]:
    """Run the graph through OpenVINO in bf16, as the profile cpu-fast serves it.

    Returns the cost, or None and the reason why it was not measured.
    """
    if not network.fast:
        return None, ""
    if util.find_spec("openvino") is None:
        return None, "not measured: openvino is not installed (pip install 'sluice-perception[openvino]')"
    import openvino

    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None, "not measured: this CPU has no bf16 instructions"
    compiled = core.compile_model(
        str(onnx_file), "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": "1"}
    )
    losses, difference = [], 0.0
    for inputs, wanted in samples:
        found = compiled(inputs)
        for name in network.unit or [tensor.name for tensor in network.outputs]:
            a, b = wanted[name].astype(np.float32), np.asarray(found[name]).astype(np.float32)
            lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
            losses.append((1 - (a * b).sum(-1) / np.maximum(lengths, 1e-9)).ravel())
            difference = max(difference, float(np.abs(a - b).max(initial=0.0)))
    loss = np.concatenate(losses).astype(np.float64)
    result = Bf16(float(loss.mean()), float(np.quantile(loss, 0.99)), float(loss.max()), difference, _instructions())
    progress(f"  bf16 through OpenVINO: 1 - cosine {result.mean:.1e} on average, {result.worst:.1e} at worst")
    return result, ""


def _instructions() -> str:
    """Return the instructions that this CPU multiplies bf16 with."""
    flags = blas.instructions()
    if not flags:
        return "unknown"
    if "amx_bf16" in flags:
        return "AMX"
    return "AVX512-BF16, no AMX" if "avx512_bf16" in flags else "no bf16 instructions"


def sizes(shapes: Mapping[str, Shape]) -> str:
    """Return shapes in words: 'IMAGE 8x480x640x3'."""
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


def read_record(path: Path) -> dict[str, Any]:
    """Return the training record beside the weights, empty where there is none.

    Raises ExportError where the file is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path} is not JSON ({error}); write it again with the training command") from None
    if not isinstance(found, dict):
        raise ExportError(f"{path} must hold a JSON object; got a {type(found).__name__}")
    return found
