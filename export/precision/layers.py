"""Holds which layers of a graph keep fp32 when the rest becomes fp16, each by its name with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from export.entry import Network

if TYPE_CHECKING:
    import onnx

NORM = "normalisation: squares and sums of a whole row or channel pass fp16's greatest number, 65,504"
UNIT = "unit length: the cosine between two vectors is compared to the fourth digit, and squares underflow"
SIZES = "positions and sizes: fp16 counts whole numbers to 2,048 only, and a coordinate needs more than 11 bits"

# Kind of operator -> reason.
KINDS = {
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "BatchNormalization", "GroupNormalization"), NORM),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceProd", "CumSum"), NORM),
    **dict.fromkeys(("ReduceL2", "LpNormalization"), UNIT),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "ReduceLogSumExp", "Exp", "Log"),
        "softmax and exponentials: fp16 overflows above exp(11), and small shares vanish",
    ),
    **dict.fromkeys(("Sqrt", "Reciprocal", "Pow"), "roots and powers: their results leave fp16's range first"),
    **dict.fromkeys(("Sin", "Cos"), "sines of large angles: fp16 knows an angle above 1,000 to half a radian only"),
    **dict.fromkeys(("Range", "NonMaxSuppression", "TopK", "RoiAlign", "GridSample"), SIZES),
    **dict.fromkeys(
        ("ConstantOfShape", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        "made numbers: their type stands in the operator",
    ),
}

ENHANCE = "grey levels and colours: between 128 and 255 fp16's step is an eighth of a level, before rounding to levels"
SCHEDULE = "schedule: quotients and differences of small numbers, and sines of times up to 1,000"
# Pattern of networks' names, patterns of nodes' names, reason. Operators outside every module begin with a capital.
NAMES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("feature_extractor", ("/MaxPool", "/Mul_1", "/Add", "/Div", "/Mul_2", "/Transpose_1", "/Cast_1"), UNIT),
    ("image_grouper", ("/Clip_8", "/Clip_9", "/Expand_1", "/Expand_2", "/Div_3", "/Div_4"), UNIT),
    (
        "image_grouper",
        ("/trunk/stem/*",),
        "first convolution: its weights reach 6, and what its sums lose in fp16 moves every share of a group",
    ),
    (
        "image_grouper",
        ("/Cast_20", "/Cast_21", "/q_proj_1/*", "/k_proj/*", "/Mul_41", "/Transpose_14", "/MatMul_11", "/ArgMax"),
        "hard assignment: a small difference puts a patch into another group",
    ),
    (
        "image_grouper",
        ("/Cast_23", "/Add_36", "/Div"),
        "shares of a group: 1e-12 keeps an empty group from a division by 0, and is 0 in fp16",
    ),
    ("artifact_remover_*", ("/[A-Z]*",), ENHANCE),
    ("frame_upscaler_*", ("/[A-Z]*",), ENHANCE),
    ("*_score", ("/[A-Z]*", "/network/[A-Z]*", "/network/unet/time_proj/*"), SCHEDULE),
    ("*_curvature", ("/[A-Z]*", "/unet/time_proj/*"), SCHEDULE),
)


def kept(model: onnx.ModelProto, network: Network) -> dict[str, str]:
    """Return the nodes that keep fp32: name, as `name_of` gives it -> reason.

    Three rules apply: nodes that are computed from sizes and constants alone, the operators of KINDS, and the names of
    NAMES. Without a row in NAMES, as for a user's own network, the first two decide.
    """
    found = dict.fromkeys(_of_sizes(model.graph), SIZES)
    found |= {name_of(node): KINDS[node.op_type] for node in model.graph.node if node.op_type in KINDS}
    name = network.model or network.name
    for networks, patterns, reason in NAMES:
        if fnmatchcase(name, networks):
            named = (node.name for node in model.graph.node)
            found |= {node: reason for node in named if any(fnmatchcase(node, pattern) for pattern in patterns)}
    return found


def name_of(node: onnx.NodeProto) -> str:
    """Return a node's name, or where it has none that of its first output, which is unique in a graph."""
    return node.name or node.output[0]


def _of_sizes(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names of the nodes that no value of an input reaches, but by its size."""
    reached = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and any(name in reached for name in node.input):
            reached.update(node.output)
        else:
            yield name_of(node)
