"""Tiny feature networks with random weights: ONNX graphs of every kind, and folders of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export import onnx_file
from export.features import source
from export.features.source import Source

KINDS = ("dinov2", "clip", "resnet", "convnext")
CHANNELS, STRIDE = 24, 8


def graph(path: Path, **made: Any) -> Source:
    """Write a network as `write` does and return it as it is read."""
    write(path, **made)
    return source.read(onnx_file.load(path), path.name, "0" * 64)


def write(
    path: Path,
    kind: str = "map",
    batch: int = 0,
    size: tuple[int, int] | None = None,
    channels_in: int = 3,
    channels: int = CHANNELS,
) -> None:
    """Write a network with an input x [batch, channels_in, height, width] and a map of `channels` at STRIDE.

    kind: map (nchw, an output beside a pooled vector), pooled (no map anywhere), tokens (behind a class token), mixed
    (an image's map depends on the other images), custom (an operator of nobody), external (without its data), or text
    (no ONNX file). batch, size: 0 and None for free ones.
    """
    if kind == "text":
        path.write_text("not a graph")
        return
    rng = np.random.default_rng(5)
    weights = {"w": rng.standard_normal((channels, channels_in, STRIDE, STRIDE)) / 8}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["patches"], strides=[STRIDE, STRIDE]),
        node("Tanh", "patches", "map"),
    ]
    shape: list[Any] = ["b", channels, "r", "c"]
    if kind == "pooled":
        nodes = [node("GlobalAveragePool", "x", "mean"), node("Tanh", "mean", "map")]
        weights, shape = {}, ["b", channels_in, 1, 1]
    if kind == "tokens":
        assert size is not None
        cells = size[0] * size[1] // STRIDE**2
        weights |= {"class_token": rng.standard_normal((1, 1, CHANNELS))}
        nodes = [nodes[0], *tokens(batch, cells)]
        shape = [batch or "b", cells + 1, CHANNELS]
    if kind == "mixed":
        mean = helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[0])
        nodes = [nodes[0], mean, helper.make_node("Sub", ["patches", "mean"], ["map"])]
    if kind == "custom":
        nodes.append(helper.make_node("Thing", ["map"], ["other"], domain="my"))
    width, height = size or ("w", "h")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch or "b", channels_in, height, width])
    held = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    held += [numpy_helper.from_array(np.array([batch, CHANNELS, -1]), "flat")] if kind == "tokens" else []
    made = helper.make_graph(nodes, "net", [x], [helper.make_tensor_value_info("map", TensorProto.FLOAT, shape)], held)
    domains = [helper.make_opsetid("", 17), *([helper.make_opsetid("my", 1)] if kind == "custom" else [])]
    model = helper.make_model(made, opset_imports=domains, ir_version=9)
    if kind == "external":
        onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
        path.with_name("net.data").unlink()
        return
    onnx.save(model, path)


def node(operator: str, before: str, after: str) -> onnx.NodeProto:
    """Return a node of one input and one output."""
    return helper.make_node(operator, [before], [after])


def tokens(batch: int, cells: int) -> list[onnx.NodeProto]:
    """Return the nodes from a map to tokens behind a class token, and a product of all tokens with each other.

    The batch stands in the shapes, as exporters without a free batch write it.
    """
    fixed = numpy_helper.from_array(np.array([batch, cells + 1, CHANNELS]))
    return [
        helper.make_node("Reshape", ["patches", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["cells"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["class_token", "cells"], ["tokens"], axis=1),
        helper.make_node("Transpose", ["tokens"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "turned"], ["products"]),
        helper.make_node("Softmax", ["products"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "tokens"], ["mixed"]),
        helper.make_node("Constant", [], ["shape"], value=fixed),
        helper.make_node("Reshape", ["mixed", "shape"], ["map"]),
    ]


def folder(path: Path, kind: str) -> Any:
    """Write a network of transformers with random weights, and return it in eval mode. kind: of KINDS."""
    import torch
    import transformers as t

    torch.manual_seed(4)
    small = {"hidden_size": 80, "num_hidden_layers": 2, "num_attention_heads": 2}
    stages = {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 1, 1]}
    if kind == "dinov2":
        network: Any = t.Dinov2Model(t.Dinov2Config(**small, patch_size=14, image_size=70))
    elif kind == "clip":
        seen = {**small, "intermediate_size": 64, "patch_size": 16, "image_size": 64}
        network = t.CLIPVisionModel(t.CLIPVisionConfig(**seen))
    elif kind == "resnet":
        network = t.ResNetModel(t.ResNetConfig(embedding_size=16, layer_type="basic", **stages))
    else:
        network = t.ConvNextModel(t.ConvNextConfig(**stages))
    network.eval().save_pretrained(path)
    return network


def map_of(network: Any, kind: str, pixels: Any) -> Any:
    """Return the map that is served of a network of `folder`, torch float32 [B, h, w, D], by the network itself.

    pixels: float32 [B, 3, H, W]. Convolutional networks give their stage of stride 16.
    """
    if kind in ("resnet", "convnext"):
        return network(pixels, output_hidden_states=True).hidden_states[3].permute(0, 2, 3, 1)
    more = {"interpolate_pos_encoding": True} if kind == "clip" else {}
    patch = network.config.patch_size
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    return network(pixels, **more).last_hidden_state[:, 1:].unflatten(1, (rows, columns))
