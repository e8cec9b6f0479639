"""Makes an ONNX graph of a torch module, for Triton's ONNX Runtime backend, with the same bytes every time.

The tracing exporter (dynamo=False) is used on purpose: with torch 2.13 it needs no onnxscript, folds BatchNorm into the
convolutions, and writes neither source paths nor stack traces into the file, so the bytes depend on the weights, the
network and torch's version alone.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.entry import ExportError, Network
from export.files import digest, replace
from sluice.process import weights as sets

if TYPE_CHECKING:
    import onnx

# A part of every file's record. Raise it when this module writes another graph for the same weights; for a change of
# one network alone raise its `Network.edition`.
EDITION = "1"


def export(network: Network, weights: Path) -> bytes:
    """Trace a network and return the finished ONNX file.

    Raises ExportError where the graph's inputs and outputs are not those of the table.
    """
    import onnx
    import torch

    module = loaded(network, weights)
    # The exporter restores the training flag that it found; without this, a second export would trace a training graph.
    module.eval()
    example = network.make(network.example, 0)
    inputs = tuple(torch.from_numpy(example[tensor.name]) for tensor in network.inputs)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # the module's docstring says why this exporter
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.onnx.export(
            module,
            inputs,
            buffer,  # type: ignore[arg-type]  # typed as a path; this exporter writes into a file, too
            dynamo=False,
            opset_version=network.opset,
            do_constant_folding=True,
            input_names=[tensor.name for tensor in network.inputs],
            output_names=[tensor.name for tensor in network.outputs],
            dynamic_axes={tensor.name: tensor.free for tensor in (*network.inputs, *network.outputs)},
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    return finish(network, model, weights, getattr(module, "record", {})).SerializeToString(deterministic=True)


def loaded(network: Network, weights: Path) -> Any:
    """Return the network with its weights. Raises ExportError where the file holds something else."""
    try:
        return network.load(weights)
    except Exception as error:  # a damaged file can fail in torch's reader in any way
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ExportError(
            f"{weights} does not hold weights of {network.name} ({reason}); train them with: {network.train}"
        ) from error


def finish(
    network: Network, model: onnx.ModelProto, weights: Path, says: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Fix the outputs' sizes, infer shapes, record the origin of the weights, check the graph, and return it.

    says: metadata for readers of the outputs, stored beside the record; None for none.
    Raises ExportError where the graph's outputs are not those of the table.
    """
    import onnx

    outputs = {value.name: value for value in model.graph.output}
    for tensor in network.outputs:
        if tensor.name not in outputs:
            raise ExportError(
                f"the graph of {network.name} has outputs {sorted(outputs)}; the table says {tensor.name}"
            )
        traced = [
            d.dim_value if d.HasField("dim_value") else d.dim_param
            for d in outputs[tensor.name].type.tensor_type.shape.dim
        ]
        fixed = {axis: size for axis, size in enumerate(tensor.axes) if isinstance(size, int)}
        if len(traced) != len(tensor.axes) or any(
            isinstance(traced[a], int) and traced[a] != n for a, n in fixed.items()
        ):
            raise ExportError(
                f"{tensor.name} of {network.name} was traced as {traced}; the table says {list(tensor.axes)}"
            )
        for dim, axis in zip(outputs[tensor.name].type.tensor_type.shape.dim, tensor.axes, strict=True):
            dim.Clear()
            if isinstance(axis, int):
                dim.dim_value = axis
            else:
                dim.dim_param = axis
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    training = {"BatchNormalization", "Dropout"} & {node.op_type for node in model.graph.node}
    if training:
        raise ExportError(f"the graph of {network.name} still has {sorted(training)}: it was not exported in eval mode")
    model.doc_string = network.title
    onnx.helper.set_model_props(model, {**_origin(network, weights), **(says or {})})
    onnx.checker.check_model(model)
    return model


def record(path: Path) -> dict[str, str]:
    """Return a file's metadata, which `finish` wrote. Empty where the file is missing or does not parse."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return {}
    return {entry.key: entry.value for entry in model.metadata_props}


def current(network: Network, weights: Path) -> bool:
    """Return whether the graph exists and was made from these weights by this edition."""
    if not network.onnx.exists():
        return False
    found = record(network.onnx)
    return all(found.get(key) == value for key, value in _origin(network, weights).items())


def _origin(network: Network, weights: Path) -> dict[str, str]:
    """Return the record of a graph's origin: network, digest of the weights, edition, set of weights.

    The set `research` is not named, so that its graphs, and the versions in galleries, stay as they were.
    """
    edition, label = network.edition or EDITION, network.label(weights)
    said = {sets.OURS: network.name, "sluice.weights_sha256": digest(weights), "sluice.edition": edition}
    return said if label == sets.RESEARCH else {**said, sets.KEY: label}


def write(network: Network, content: bytes) -> None:
    """Write a network's graph to where Triton serves it."""
    replace(network.onnx, content)


def facts(path: Path) -> dict[str, Any]:
    """Return opset, IR version, producer, parameters and operators of a graph, for the card."""
    import math

    import onnx

    model = onnx.load(path)
    return {
        "opset": max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "ir": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}",
        "parameters": sum(math.prod(t.dims) for t in model.graph.initializer if len(t.dims) > 0),
        "operators": len(model.graph.node),
    }
