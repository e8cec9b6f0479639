"""Joins preparation of pixels, networks and decoding into one graph: an image in, boxes and scores of all members out.

The graph takes IMAGE, uint8 [B, H, W, 3] RGB on a canvas, and gives MEMBER_BOXES float32 [B, N, 4], MEMBER_SCORES
float32 [B, N, C] and MEMBERS int32 [B, N], as `sluice.methods.mixtures.members.Predictions` describes them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn

from export import onnx_file
from export.detector import decoding, dropout
from export.detector.mapping import Mapping
from export.entry import ExportError
from export.files import digest

NEWEST_OPSET = 20  # that torch's tracing exporter writes
OUTPUTS = ("MEMBER_BOXES", "MEMBER_SCORES", "MEMBERS")
FLOATS: dict[int, torch.dtype] = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16}


@dataclass(frozen=True)
class Source:
    """A detector as it came.

    image: its input, [B, 3, H, W], [B, H, W, 3], or without B. nchw: whether the channels come before the rows.
    size: (width, height) where the graph fixes them, otherwise None. outputs: their names.
    """

    model: ModelProto
    image: ValueInfoProto
    nchw: bool
    size: tuple[int, int] | None
    origin: str
    sha256: str

    @property
    def batched(self) -> bool:
        """Return whether the input has a batch axis."""
        return len(onnx_file.dims(self.image)) == 4

    @property
    def outputs(self) -> list[str]:
        """Return the names of the outputs."""
        return [value.name for value in self.model.graph.output]


def read(path: Path) -> Source:
    """Return the detector of an ONNX file. Raises ExportError with the remedy for what `detect` cannot be served by."""
    model = onnx_file.load(path)
    if onnx_file.opset(model) > NEWEST_OPSET:
        raise ExportError(f"{path.name} is of opset {onnx_file.opset(model)}; export it with opset_version=17, or 20")
    values = onnx_file.inputs(model)
    told = ", ".join(f"{value.name} {onnx_file.shown(onnx_file.dims(value))}" for value in values) or "none"
    if len(values) != 1 or values[0].type.tensor_type.elem_type not in FLOATS:
        raise ExportError(
            f"{path.name} needs one input, an image of floating-point numbers; its inputs are: {told}; export the part "
            "of the detector that sees the image"
        )
    shape = onnx_file.dims(values[0])
    inner = shape[-3:]
    nchw = inner[0] == 3 if 3 in (inner[0], inner[-1]) else not any(inner)
    if len(shape) not in (3, 4) or (not nchw and inner[-1] != 3):
        raise ExportError(
            f"{path.name} takes {told}, which is no image [B, 3, H, W] or [B, H, W, 3]; export it as such"
        )
    if len(shape) == 4 and shape[0]:
        raise ExportError(
            f"{path.name} was exported with a fixed batch of {shape[0]}; export it again with "
            f"dynamic_axes={{'{values[0].name}': {{0: 'batch'}}, ...}} for the input and every output"
        )
    height, width = inner[1:] if nchw else inner[:2]
    if bool(height) != bool(width):
        raise ExportError(f"{path.name} takes {told}, one side fixed and one free; export it with both fixed, or free")
    return Source(model, values[0], nchw, (width, height) if width else None, path.name, digest(path))


class Prepare(nn.Module):
    """Makes a network's input of a canvas, the batch once per pass."""

    def __init__(self, mapping: Mapping, source: Source, passes: int) -> None:
        super().__init__()
        self.mapping, self.source, self.passes = mapping, source, passes

    def forward(self, canvas: Tensor) -> Tensor:
        told = self.mapping
        x = canvas.float() / told.scale
        if told.order == "BGR":
            x = x.flip(-1)
        if any(told.mean) or set(told.std) != {1.0}:
            x = (x - torch.tensor(told.mean)) / torch.tensor(told.std)
        x = x.permute(0, 3, 1, 2) if self.source.nchw else x
        x = x.to(FLOATS[self.source.image.type.tensor_type.elem_type])
        return x.repeat(self.passes, 1, 1, 1) if self.source.batched else x[0]


class Decode(nn.Module):
    """Decodes a network's outputs, and puts the passes beside each other as members."""

    def __init__(self, mapping: Mapping, first: int, passes: int) -> None:
        super().__init__()
        self.decoder, self.first, self.passes = decoding.decoder(mapping), first, passes

    def forward(self, canvas: Tensor, *outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores = self.decoder(canvas, *outputs)
        # A sum with the boxes keeps batch and boxes free, which the tracer would fix in zeros_like or expand.
        nothing = (boxes[..., :1] * 0).to(torch.int32)
        number = torch.arange(self.first, self.first + self.passes, dtype=torch.int32)
        members = self.beside(nothing, number)[..., 0]
        return self.beside(boxes), self.beside(scores), members

    def beside(self, found: Tensor, number: Tensor | None = None) -> Tensor:
        """Return [P * B, N, k], pass by pass, as [B, P * N, k]. number: int32 [P] to add per pass; None for none."""
        apart = found.reshape(self.passes, -1, found.shape[1], found.shape[2])
        if number is not None:
            apart = apart + number[:, None, None, None]
        return apart.transpose(0, 1).flatten(1, 2)


def assemble(
    sources: Sequence[Source], mapping: Mapping, passes: int, example: MappingOf[str, np.ndarray]
) -> ModelProto:
    """Return the graph of all members.

    passes: of dropout, 1 for none. example: outputs of the first source for the first canvas, by name, at which the
    decoding is traced.
    Raises ExportError with one sentence where the parts cannot be joined.
    """
    opset = max(onnx_file.opset(source.model) for source in sources)
    graph = onnx.GraphProto(name="detector")
    graph.input.append(helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, ["batch", "height", "width", 3]))
    functions, domains, parts = [], {"": opset}, []
    width, height = mapping.sizes[0]
    canvas = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    for number, source in enumerate(sources):
        prepare = traced(Prepare(mapping, source, passes), (canvas,), ["canvas"], ["image"], opset)
        outputs = tuple(torch.from_numpy(np.concatenate([example[name]] * passes)) for name in mapping.tensors)
        names = [f"output_{i}" for i in range(len(outputs))]
        decode = traced(Decode(mapping, number, passes), (canvas, *outputs), ["canvas", *names], list(OUTPUTS), opset)
        model = dropout.fixed(source.model, passes) if passes > 1 else source.model
        model = converted(model, source, opset)
        mine = {"prepare": prepare, "network": model, "decode": decode}
        for part, one in mine.items():
            prefixed = onnx.compose.add_prefix(one, f"member_{number}_{part}_")
            graph.initializer.extend(prefixed.graph.initializer)
            functions += prefixed.functions
            domains |= {
                entry.domain: entry.version for entry in one.opset_import if entry.domain not in ("", "ai.onnx")
            }
            mine[part] = prefixed
        p = f"member_{number}_"
        links = [("IMAGE", f"{p}prepare_canvas"), ("IMAGE", f"{p}decode_canvas")]
        graph.node.extend(helper.make_node("Identity", [a], [b]) for a, b in links)
        graph.node.extend(mine["prepare"].graph.node)
        graph.node.append(helper.make_node("Identity", [f"{p}prepare_image"], [f"{p}network_{source.image.name}"]))
        graph.node.extend(mine["network"].graph.node)
        for name, tensor in zip(names, mapping.tensors, strict=True):
            graph.node.append(helper.make_node("Identity", [f"{p}network_{tensor}"], [f"{p}decode_{name}"]))
        graph.node.extend(mine["decode"].graph.node)
        parts.append(p + "decode_")
    for name, kind, more in zip(
        OUTPUTS, (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32), (4, "c", 0), strict=True
    ):
        graph.node.append(helper.make_node("Concat", [p + name for p in parts], [name], axis=1))
        shape = ["batch", "boxes", *([len(mapping.labels)] if more == "c" else [more] if more else [])]
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    joined = helper.make_model(graph, opset_imports=imports, functions=functions)
    joined.ir_version = max(source.model.ir_version for source in sources)
    return joined


def traced(
    module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str], opset: int
) -> ModelProto:
    """Return a module as a graph whose batch, sides and boxes are free."""
    axes = {
        name: dict(enumerate(f"{name}_{i}" for i in range(one.ndim))) for name, one in zip(inputs, example, strict=True)
    }
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every comparison of shapes, which `decoding` means
        torch.onnx.export(
            module.eval(),
            example,
            buffer,  # type: ignore[arg-type]  # typed as a path; this exporter writes into a file, too
            dynamo=False,
            opset_version=opset,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def converted(model: ModelProto, source: Source, opset: int) -> ModelProto:
    """Return a graph in this opset. Raises ExportError where the converter knows an operator no more."""
    if onnx_file.opset(model) == opset:
        return model
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter's errors have no common type
        raise ExportError(
            f"{source.origin} cannot be brought to opset {opset} ({onnx_file.first_line(error)}); export all members "
            f"with opset_version={opset}"
        ) from None
