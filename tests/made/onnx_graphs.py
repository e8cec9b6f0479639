"""Builds small ONNX graphs by hand, of the kinds that published Triton examples are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = list[int | str]


def save(path: Path, nodes, inputs, outputs, constants=(), external: bool = False, opset: int = 19) -> Path:
    """Write a graph; inputs and outputs are (name, element type, shape) or ONNX's own, constants (name, array)."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) if isinstance(each, tuple) else each for each in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=external, size_threshold=0)
    return path


def add_subtract(path: Path, element=TensorProto.INT32, batch: int | str = "n", size: int | str = 16) -> Path:
    """Write OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1."""
    names = ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1")
    nodes = [helper.make_node("Add", names[0], ["OUTPUT0"]), helper.make_node("Sub", names[0], ["OUTPUT1"])]
    inputs, outputs = ([(name, element, [batch, size]) for name in each] for each in names)
    return save(path, nodes, list(inputs), list(outputs))


def identity(path: Path, element=TensorProto.STRING, shape: Shape | None = None) -> Path:
    """Write OUTPUT0 = INPUT0."""
    dims: Shape = ["n", "k"] if shape is None else shape
    node = helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])
    return save(path, [node], [("INPUT0", element, dims)], [("OUTPUT0", element, dims)])


def classifier(path: Path, classes: int = 5, external: bool = False) -> Path:
    """Write an image network: data_0 [n,3,8,8] -> fc6_1 [n,classes,1,1] (a convolution over the whole image)."""
    weights = np.random.default_rng(7).standard_normal((classes, 3, 8, 8)).astype(np.float32)
    node = helper.make_node("Conv", ["data_0", "weights"], ["fc6_1"])
    return save(
        path,
        [node],
        [("data_0", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [("fc6_1", TensorProto.FLOAT, ["n", classes, 1, 1])],
        [("weights", weights)],
        external,
    )


def per_item_scalar(path: Path) -> Path:
    """Write SQUARE = VALUE * VALUE, one number per item: [n] -> [n]."""
    node = helper.make_node("Mul", ["VALUE", "VALUE"], ["SQUARE"])
    return save(path, [node], [("VALUE", TensorProto.FLOAT, ["n"])], [("SQUARE", TensorProto.FLOAT, ["n"])])


def scalar(path: Path) -> Path:
    """Write SQUARE = VALUE * VALUE, rank 0."""
    node = helper.make_node("Mul", ["VALUE", "VALUE"], ["SQUARE"])
    return save(path, [node], [("VALUE", TensorProto.FLOAT, [])], [("SQUARE", TensorProto.FLOAT, [])])


def with_default(path: Path) -> Path:
    """Write SUM = VALUE + OFFSET, where OFFSET [1] is 10 unless it is given."""
    node = helper.make_node("Add", ["VALUE", "OFFSET"], ["SUM"])
    return save(
        path,
        [node],
        [("VALUE", TensorProto.FLOAT, [1]), ("OFFSET", TensorProto.FLOAT, [1])],
        [("SUM", TensorProto.FLOAT, [1])],
        [("OFFSET", np.array([10], np.float32))],
    )


def picker(path: Path) -> Path:
    """Write PICKED = table[INDEX]: an index outside of the table's eight rows fails at run time only."""
    node = helper.make_node("Gather", ["table", "INDEX"], ["PICKED"])
    table = np.arange(8, dtype=np.float32) * 10
    return save(
        path,
        [node],
        [("INDEX", TensorProto.INT64, ["n", 1])],
        [("PICKED", TensorProto.FLOAT, ["n", 1])],
        [("table", table)],
    )


def network(path: Path, channels: int = 16, seed: int = 3) -> Path:
    """Write a small network with open height and width: IMAGE UINT8 [n,h,w,3] -> FEATURES FP16 [n,h/4,w/4,C]."""
    rng = np.random.default_rng(seed)

    def kernel(out: int, into: int) -> np.ndarray:
        return (rng.standard_normal((out, into, 3, 3)) / np.sqrt(9 * into)).astype(np.float32)

    nodes = [
        helper.make_node("Cast", ["IMAGE"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "k1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["c2"], ["cells"], perm=[0, 2, 3, 1]),
        helper.make_node("LpNormalization", ["cells"], ["unit"], axis=-1, p=2),
        helper.make_node("Cast", ["unit"], ["FEATURES"], to=TensorProto.FLOAT16),
    ]
    constants = [
        ("scale", np.array(1 / 255, np.float32)),
        ("k1", kernel(channels, 3)),
        ("k2", kernel(channels, channels)),
    ]
    return save(
        path,
        nodes,
        [("IMAGE", TensorProto.UINT8, ["n", "h", "w", 3])],
        [("FEATURES", TensorProto.FLOAT16, ["n", "gh", "gw", channels])],
        constants,
    )


def running_sum(path: Path) -> Path:
    """Write TOTAL = STATE_OUT = STATE_IN + INPUT, for implicit state; all [n,k]."""
    nodes = [
        helper.make_node("Add", ["STATE_IN", "INPUT"], ["STATE_OUT"]),
        helper.make_node("Identity", ["STATE_OUT"], ["TOTAL"]),
    ]
    inputs = [(name, TensorProto.INT32, ["n", "k"]) for name in ("INPUT", "STATE_IN")]
    return save(path, nodes, inputs, [(name, TensorProto.INT32, ["n", "k"]) for name in ("TOTAL", "STATE_OUT")])


def sequence(path: Path) -> Path:
    """Write OUTPUT = INPUT + START, as a model with sequence controls has it: [n,1] each, READY unused but present."""
    nodes = [
        helper.make_node("Add", ["INPUT", "START"], ["sum"]),
        helper.make_node("Mul", ["sum", "READY"], ["OUTPUT"]),
    ]
    return save(
        path,
        nodes,
        [(name, TensorProto.INT32, ["n", 1]) for name in ("INPUT", "START", "READY")],
        [("OUTPUT", TensorProto.INT32, ["n", 1])],
    )


def halves(path: Path) -> Path:
    """Write Y = the first half of X plus the second: [n,k] -> [n,k/2]; an odd k fails at run time."""
    nodes = [
        helper.make_node("Reshape", ["X", "two"], ["pairs"]),
        helper.make_node("ReduceMean", ["pairs"], ["Y"], axes=[2], keepdims=0),
    ]
    tensors = [("X", TensorProto.FLOAT, ["n", "k"])], [("Y", TensorProto.FLOAT, ["n", "h"])]
    return save(path, nodes, *tensors, [("two", np.array([0, -1, 2], np.int64))], opset=17)


def scaled(path: Path) -> Path:
    """Write Y = X * SCALE, a number for the whole graph: [n,k] and [] -> [n,k]."""
    node = helper.make_node("Mul", ["X", "SCALE"], ["Y"])
    inputs = [("X", TensorProto.FLOAT, ["n", "k"]), ("SCALE", TensorProto.FLOAT, [])]
    return save(path, [node], inputs, [("Y", TensorProto.FLOAT, ["n", "k"])])


def cast(path: Path, element) -> Path:
    """Write Y = X as another type: FP32 [n,k] -> [n,k]."""
    node = helper.make_node("Cast", ["X"], ["Y"], to=element)
    return save(path, [node], [("X", TensorProto.FLOAT, ["n", "k"])], [("Y", element, ["n", "k"])])


def add_one_bfloat(path: Path) -> Path:
    """Write Y = X + 1 in BF16, computed in FP32: [n,k] -> [n,k]."""
    nodes = [
        helper.make_node("Cast", ["X"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "one"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["Y"], to=TensorProto.BFLOAT16),
    ]
    inputs, outputs = ([(name, TensorProto.BFLOAT16, ["n", "k"])] for name in "XY")
    return save(path, nodes, inputs, outputs, [("one", np.array(1, np.float32))])


def zipmap(path: Path) -> Path:
    """Write a classifier as scikit-learn's converter makes it: label INT64 [n], probabilities as a sequence of maps."""
    nodes = [
        helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["X"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    numbers = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, numbers))
    outputs = [("label", TensorProto.INT64, ["n"]), helper.make_value_info("probabilities", maps)]
    return save(path, nodes, [("X", TensorProto.FLOAT, ["n", 2])], outputs)


def open_shape(path: Path) -> Path:
    """Write Y = X reshaped to SHAPE, which ONNX Runtime cannot infer, so that the rank of Y reads as 0."""
    node = helper.make_node("Reshape", ["X", "SHAPE"], ["Y"])
    inputs = [("X", TensorProto.FLOAT, ["k"]), ("SHAPE", TensorProto.INT64, ["r"])]
    return save(path, [node], inputs, [("Y", TensorProto.FLOAT, None)])


def lengths(path: Path) -> Path:
    """Write Y = X + X flat, for ragged batches; ENDS tells where each request ends, TOTAL [n] the last end to all."""
    nodes = [
        helper.make_node("Add", ["X", "X"], ["Y"]),
        helper.make_node("ReduceMax", ["ENDS"], ["whole"], keepdims=1),
        helper.make_node("Shape", ["ENDS"], ["requests"]),
        helper.make_node("Expand", ["whole", "requests"], ["TOTAL"]),
    ]
    inputs = [("X", TensorProto.FLOAT, ["k"]), ("ENDS", TensorProto.FLOAT, ["n"])]
    return save(path, nodes, inputs, [("Y", TensorProto.FLOAT, ["k"]), ("TOTAL", TensorProto.FLOAT, ["n"])])
