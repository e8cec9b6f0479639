"""Reads an ONNX file of the user's own, and refuses with one sentence what no server here can execute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from export.entry import ExportError

STANDARD = ("", "ai.onnx")
CONTRIBUTED = "com.microsoft"  # operators of ONNX Runtime, which Triton's ONNX Runtime backend executes
LEAST_OPSET, OPSET = 13, 17  # an older graph is converted to OPSET


def load(path: Path) -> ModelProto:
    """Return the graph of an ONNX file with its external data, of opset 13 or newer.

    Raises ExportError with one sentence and the remedy for a file that is none, or cannot be served.
    """
    if not path.is_file():
        raise ExportError(f"{path} is {'a folder' if path.exists() else 'not there'}; give an ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # the parser of messages names no common exception
        raise ExportError(
            f"{path} is no ONNX file ({first_line(error)}); give the file that torch.onnx.export wrote"
        ) from None
    if not model.graph.node:
        raise ExportError(f"{path} is no ONNX file with a graph; give the file that torch.onnx.export wrote")
    missing = sorted(name for name in external(model) if not (path.parent / name).is_file())
    if missing:
        raise ExportError(
            f"{path.name} keeps its weights in {', '.join(missing[:3])}, which {'is' if len(missing) == 1 else 'are'} "
            f"not beside it; copy the data into {path.parent}"
        )
    check_operators(model, path.name)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        if opset(model) < LEAST_OPSET:
            model = onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # damaged data, or an operator that the converter does not know
        raise ExportError(
            f"{path.name} cannot be read ({first_line(error)}); export it again with opset_version={OPSET}"
        ) from None
    return model


def opset(model: ModelProto) -> int:
    """Return the version of the standard operators of a graph."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 1)


def inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs of a graph that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def dims(value: ValueInfoProto) -> list[int]:
    """Return the sizes of a tensor's axes, 0 for those that are free."""
    return [max(0, dim.dim_value) if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim]


def shown(shape: Sequence[int]) -> str:
    """Return a shape in words: free axes as ?."""
    return f"[{', '.join(str(size or '?') for size in shape)}]"


def check_operators(model: ModelProto, name: str) -> None:
    """Check that a graph holds standard operators only, or those of ONNX Runtime. Raises ExportError naming others."""
    own = {function.name for function in model.functions}
    strange = sorted(
        {
            f"{node.domain}::{node.op_type}"
            for node in model.graph.node
            if node.domain not in (*STANDARD, CONTRIBUTED) and node.op_type not in own
        }
    )
    if strange:
        raise ExportError(
            f"{name} has custom operators that no server here executes: {', '.join(strange[:4])}; export the network "
            "with standard ONNX operators"
        )


def external(model: ModelProto) -> set[str]:
    """Return the names of the files that hold a graph's external data."""
    return {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def first_line(error: Exception) -> str:
    """Return the first line of an error, at most 160 characters of it."""
    return (str(error).strip().split("\n", 1)[0] or type(error).__name__)[:160]
