"""Reads published upscalers from ncnn's two files: NAME.param, text with a layer per line, and NAME.bin, the weights.

The layers are joined to one expression, in which copies have disappeared and fused activations stand apart. The same
expression is written out for RRDBNet and for SRVGGNetCompact of the file's sizes. Only a file whose expression is equal
to one of these two is taken, so a network that merely looks like them cannot be served as something else.

Source: ncnn's wiki, "param and model file structure" and "operators"; `modelbin.cpp` for the tags of weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export import stored

MAGIC = "7767517"  # first line of the text format
FLOAT16, INT8, FLOAT32 = 0x01306B47, 0x000D4B38, 0x0002C056  # tags before a convolution's weights; 0: float32 as well
ARRAY = -23300  # key of an array: ARRAY - number of the parameter
CONVOLUTIONS = 5  # of each dense block of a published RRDBNet
ENDS = 6  # convolutions of RRDBNet outside its blocks
Node = int


@dataclass(frozen=True)
class Layer:
    """A line of the text. values: the layer's parameters by number; one that is missing has ncnn's default."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: dict[int, Any]


class Graph:
    """An expression, each node once: equal expressions are the same node, so two networks compare as two numbers."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Node] = {}

    def node(self, kind: str, *arguments: Any) -> Node:
        """Return the node of an operator and its arguments: numbers, and nodes."""
        return self.nodes.setdefault((kind, *arguments), len(self.nodes))

    def total(self, *terms: tuple[float, Node]) -> Node:
        """Return the node of a weighted sum. terms: (factor, node), in any order."""
        return self.node("sum", *sorted((round(factor, 6), node) for factor, node in terms))

    def joined(self, parts: Sequence[Node]) -> Node:
        """Return the node of channels side by side."""
        return parts[0] if len(parts) == 1 else self.node("concat", *parts)


class Weights:
    """The file of weights, read from its beginning to its end."""

    def __init__(self, path: Path):
        stored.begun(path)
        self.name, self.content, self.at = path.name, path.read_bytes(), 0

    def tagged(self, count: int, layer: Layer) -> np.ndarray:
        """Return a convolution's weights, float32 [count], which ncnn stores behind a tag of their kind.

        Raises ValueError for kinds that lose precision (int8, tables), and where the file ends too early.
        """
        tag = int.from_bytes(self._bytes(4, layer), "little")
        if tag == FLOAT16:
            values = np.frombuffer(self._bytes(-(-2 * count // 4) * 4, layer), "<f2")[:count].astype(np.float32)
        elif tag in (0, FLOAT32):
            values = np.frombuffer(self._bytes(4 * count, layer), "<f4")
        else:
            kind = "int8" if tag == INT8 else f"of the tag {tag:#010x}"
            raise ValueError(
                f"the weights of {layer.name} in {self.name} are {kind}; give the file in float16 or float32, as it "
                "was before it was quantised"
            )
        return self._finite(values, layer)

    def plain(self, count: int, layer: Layer) -> np.ndarray:
        """Return float32 [count] without a tag: biases and slopes."""
        return self._finite(np.frombuffer(self._bytes(4 * count, layer), "<f4"), layer)

    def end(self) -> None:
        """Check that all was read. Raises ValueError where more follows."""
        if self.at != len(self.content):
            raise ValueError(
                f"{self.name} has {len(self.content) - self.at:,} bytes more than the layers of its .param take; the "
                "two files are not of one network"
            )

    def _bytes(self, count: int, layer: Layer) -> bytes:
        """Return the next bytes of the file."""
        found = self.content[self.at : self.at + count]
        if len(found) < count:
            raise ValueError(
                f"{self.name} ends within the weights of {layer.name}, after {len(self.content):,} bytes; it is cut "
                "short, or not of this .param"
            )
        self.at += count
        return found

    def _finite(self, values: np.ndarray, layer: Layer) -> np.ndarray:
        """Return the values. Raises ValueError where some are not finite, as in a file that does not fit."""
        if not np.isfinite(values).all():
            raise ValueError(f"the weights of {layer.name} in {self.name} are not all finite; it is not of this .param")
        return values


class Reader:
    """Joins layers to an expression and takes their weights."""

    def __init__(self, graph: Graph, weights: Weights, name: str):
        self.graph, self.weights, self.name = graph, weights, name
        self.blobs: dict[str, Node] = {}  # by the name of a layer's output
        self.convolutions: list[tuple[Tensor, Tensor]] = []  # weight [out, in, 3, 3] and bias [out], in order
        self.slopes: list[Tensor] = []  # of PReLU, [channels], in order
        self.known = {
            "Input": self._input, "Split": self._split, "Convolution": self._convolution, "PReLU": self._prelu,
            "ReLU": self._relu, "Concat": self._concat, "Eltwise": self._eltwise, "BinaryOp": self._binary,
            "PixelShuffle": self._shuffle, "Interp": self._interp,
        }  # fmt: skip

    def add(self, layer: Layer) -> None:
        """Take a layer. Raises ValueError, naming the layer, for an operator that neither network has."""
        if layer.kind not in self.known:
            raise ValueError(
                f"{self.name} has a layer {layer.kind} ({layer.name}), which neither RRDBNet nor SRVGGNetCompact has; "
                f"known are {', '.join(self.known)}"
            )
        if unknown := [blob for blob in layer.inputs if blob not in self.blobs]:
            raise ValueError(f"{layer.name} in {self.name} takes {unknown[0]}, which no layer before it makes")
        node = self.known[layer.kind](layer, [self.blobs[blob] for blob in layer.inputs])
        self.blobs.update(dict.fromkeys(layer.outputs, node))

    def _wants(self, layer: Layer, **wanted: tuple[int, Any, Any]) -> None:
        """Check parameters. wanted: by name (number, ncnn's default, value). Raises ValueError for another value."""
        for name, (number, default, value) in wanted.items():
            if (got := layer.values.get(number, default)) != value:
                raise ValueError(
                    f"{layer.name} in {self.name} has {name} {got}, expected {value}: it is neither RRDBNet nor "
                    "SRVGGNetCompact"
                )

    def _input(self, _layer: Layer, _inputs: list[Node]) -> Node:
        return self.graph.node("input")

    def _split(self, _layer: Layer, inputs: list[Node]) -> Node:
        return inputs[0]

    def _convolution(self, layer: Layer, inputs: list[Node]) -> Node:
        self._wants(layer, kernel=(1, 0, 3), dilation=(2, 1, 1), stride=(3, 1, 1), pad=(4, 0, 1), bias=(5, 0, 1))
        self._wants(layer, kernel_h=(11, 3, 3), dilation_h=(12, 1, 1), stride_h=(13, 1, 1), pad_top=(14, 1, 1))
        self._wants(layer, pad_right=(15, 1, 1), pad_bottom=(16, 1, 1), int8=(8, 0, 0), pad_value=(18, 0, 0))
        made, size = layer.values.get(0, 0), layer.values.get(6, 0)
        if made < 1 or size < 9 * made or size % (9 * made):
            raise ValueError(f"{layer.name} in {self.name} has {made} outputs and {size} weights, which do not fit")
        values = self.weights.tagged(size, layer).reshape(made, -1, 3, 3)
        bias = self.weights.plain(made, layer)
        self.convolutions.append((torch.tensor(values), torch.tensor(bias)))
        node = self.graph.node("convolution", len(self.convolutions) - 1, inputs[0])
        activation, settings = layer.values.get(9, 0), layer.values.get(10, [])
        if activation == 2 and len(settings) == 1:
            return self.graph.node("leaky", round(settings[0], 6), node)
        self._wants(layer, activation=(9, 0, 0))
        return node

    def _prelu(self, layer: Layer, inputs: list[Node]) -> Node:
        self.slopes.append(torch.tensor(self.weights.plain(layer.values.get(0, 0), layer)))
        return self.graph.node("prelu", len(self.slopes) - 1, inputs[0])

    def _relu(self, layer: Layer, inputs: list[Node]) -> Node:
        return self.graph.node("leaky", round(layer.values.get(0, 0.0), 6), inputs[0])

    def _concat(self, layer: Layer, inputs: list[Node]) -> Node:
        self._wants(layer, axis=(0, 0, 0))
        return self.graph.joined(inputs)

    def _eltwise(self, layer: Layer, inputs: list[Node]) -> Node:
        self._wants(layer, operation=(0, 0, 1))
        factors = layer.values.get(1) or [1.0] * len(inputs)
        if len(factors) != len(inputs):
            raise ValueError(f"{layer.name} in {self.name} has {len(inputs)} inputs and {len(factors)} factors")
        return self.graph.total(*zip(factors, inputs, strict=True))

    def _binary(self, layer: Layer, inputs: list[Node]) -> Node:
        self._wants(layer, operation=(0, 0, 0), with_scalar=(1, 0, 0))
        return self.graph.total(*((1.0, node) for node in inputs))

    def _shuffle(self, layer: Layer, inputs: list[Node]) -> Node:
        self._wants(layer, mode=(1, 0, 0))
        return self.graph.node("shuffle", layer.values.get(0, 1), inputs[0])

    def _interp(self, layer: Layer, inputs: list[Node]) -> Node:
        ratio = layer.values.get(2, 1.0)
        self._wants(layer, height_scale=(1, 1.0, ratio), height=(3, 0, 0), width=(4, 0, 0), align_corner=(6, 0, 0))
        kind = {1: "nearest", 2: "bilinear", 3: "bicubic"}.get(layer.values.get(0, 0), "unknown")
        return self.graph.node(kind, float(ratio), inputs[0])


def read(path: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Return the kind of network, the arguments of its class, and its weights under BasicSR's names.

    path: NAME.param, with NAME.bin beside it.
    Raises FileNotFoundError, or ValueError with one sentence where the files hold another network or are damaged.
    """
    listed = layers(path)
    if not path.with_suffix(".bin").is_file():
        raise FileNotFoundError(f"{path.name} needs its weights beside it; {path.with_suffix('.bin').name} is missing")
    graph = Graph()
    reader = Reader(graph, Weights(path.with_suffix(".bin")), path.name)
    for layer in listed:
        reader.add(layer)
    reader.weights.end()
    taken = {blob for layer in listed for blob in layer.inputs}
    ends = [blob for layer in listed for blob in layer.outputs if blob not in taken]
    if len(ends) != 1 or sum(layer.kind == "Input" for layer in listed) != 1 or not reader.convolutions:
        raise ValueError(f"{path.name} must have one input, one output and convolutions; its outputs: {ends[:4]}")
    found = reader.blobs[ends[0]]
    for kind, guess in (("srvgg", _srvgg), ("rrdbnet", _rrdbnet)):
        if made := guess(reader, found):
            return kind, *made
    raise ValueError(
        f"{path.name} has layers that RRDBNet and SRVGGNetCompact have, but joined in another way; these two are what "
        "`enhance` serves from ncnn's files"
    )


def layers(path: Path) -> list[Layer]:
    """Return the layers of a .param file in order. Raises ValueError with one sentence where it is another file."""
    stored.begun(path)
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except UnicodeDecodeError:
        lines = []
    if not lines or lines[0] != [MAGIC]:
        raise ValueError(f"{path.name} is not ncnn's text format, whose first line is {MAGIC}; give the .param file")
    try:
        count = int(lines[1][0])
        found = [_layer(words) for words in lines[2:]]
    except (ValueError, IndexError):
        raise ValueError(f"{path.name} has a line that is no layer of ncnn's; it is damaged") from None
    if len(found) != count:
        raise ValueError(f"{path.name} has {len(found)} layers and announces {count}; it is cut short or joined")
    return found


def _layer(words: list[str]) -> Layer:
    """Return the layer of a line: kind, name, numbers of inputs and outputs, their names, parameters NUMBER=VALUE."""
    takes, makes = int(words[2]), int(words[3])
    inputs, outputs = words[4 : 4 + takes], words[4 + takes : 4 + takes + makes]
    if len(outputs) != makes:
        raise ValueError
    values: dict[int, Any] = {}
    for word in words[4 + takes + makes :]:
        key, _, value = word.partition("=")
        if int(key) <= ARRAY:
            values[ARRAY - int(key)] = [float(one) for one in value.split(",")[1:]]
        else:
            values[int(key)] = int(value) if re.fullmatch(r"-?\d+", value) else float(value)
    return Layer(words[0], words[1], tuple(inputs), tuple(outputs), values)


def _srvgg(reader: Reader, found: Node) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return settings and weights of SRVGGNetCompact, None where the expression `found` is of another network."""
    graph, count = reader.graph, len(reader.convolutions)
    if len(reader.slopes) != count - 1:
        return None
    drawn = round((len(reader.convolutions[-1][1]) / 3) ** 0.5)
    x = h = graph.node("input")
    for index in range(count - 1):
        h = graph.node("prelu", index, graph.node("convolution", index, h))
    h = graph.node("shuffle", drawn, graph.node("convolution", count - 1, h))
    h = graph.total((1.0, h), (1.0, graph.node("nearest", float(drawn), x)))
    reduced = [(s, graph.node("bicubic", s / drawn, h)) for s in range(1, drawn)]
    for scale, wanted in [*reduced, (drawn, h)]:
        if wanted == found:
            state: dict[str, Tensor] = {}
            for index, (weight, bias) in enumerate(reader.convolutions):
                state |= {f"body.{2 * index}.weight": weight, f"body.{2 * index}.bias": bias}
            state |= {f"body.{2 * index + 1}.weight": slope for index, slope in enumerate(reader.slopes)}
            settings = {"width": len(reader.convolutions[0][1]), "convolutions": count - 2, "scale": scale}
            return settings | ({"drawn": drawn} if drawn != scale else {}), state
    return None


def _rrdbnet(reader: Reader, found: Node) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return settings and weights of RRDBNet x4, None where the expression `found` is of another network."""
    graph, names = reader.graph, []

    def convolution(name: str, node: Node) -> Node:
        names.append(name)
        return graph.node("convolution", len(names) - 1, node)

    blocks = (len(reader.convolutions) - ENDS) // (3 * CONVOLUTIONS)
    first = h = convolution("conv_first", graph.node("input"))
    for block in range(blocks):
        start = h
        for sub in range(1, 4):
            known, begun = [h], h
            for index in range(1, CONVOLUTIONS):
                made = convolution(f"body.{block}.rdb{sub}.conv{index}", graph.joined(known))
                known.append(graph.node("leaky", 0.2, made))
            last = convolution(f"body.{block}.rdb{sub}.conv{CONVOLUTIONS}", graph.joined(known))
            h = graph.total((0.2, last), (1.0, begun))
        h = graph.total((0.2, h), (1.0, start))
    h = graph.total((1.0, first), (1.0, convolution("conv_body", h)))
    for name in ("conv_up1", "conv_up2"):
        h = graph.node("leaky", 0.2, convolution(name, graph.node("nearest", 2.0, h)))
    h = convolution("conv_last", graph.node("leaky", 0.2, convolution("conv_hr", h)))
    if h != found or len(names) != len(reader.convolutions) or not blocks:
        return None
    state: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(names, reader.convolutions, strict=True):
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    growth = len(state["body.0.rdb1.conv1.bias"])
    return {"width": len(state["conv_first.bias"]), "growth": growth, "blocks": blocks, "scale": 4}, state
