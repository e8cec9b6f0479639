"""Sizes of a network written into its configs."""

from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from export import fit
from export.entry import ExportError

CONFIG = """# a comment
name: "net"
input [ {{ name: "X" data_type: TYPE_FP32 dims: [ -1, 3 ] }} ]
output [
  # G x E
  {{ name: "GROUPS" data_type: TYPE_FP32 dims: [ {groups} ] }},
  {{ name: "MAP" data_type: TYPE_FP32 dims: [ -1, -1 ] }}
]
"""


@pytest.fixture
def network(tmp_path):
    """Write a network with two outputs: GROUPS [B, 8, 4], fixed; MAP [B, h, w], free."""
    (tmp_path / "1").mkdir()
    (tmp_path / "configs").mkdir()
    path = tmp_path / "1" / "model.onnx"
    graph = helper.make_graph(
        [helper.make_node("Identity", ["A"], ["GROUPS"]), helper.make_node("Identity", ["B"], ["MAP"])],
        "net",
        [
            helper.make_tensor_value_info("A", TensorProto.FLOAT, ["batch", 8, 4]),
            helper.make_tensor_value_info("B", TensorProto.FLOAT, ["batch", "h", "w"]),
        ],
        [
            helper.make_tensor_value_info("GROUPS", TensorProto.FLOAT, ["batch", "groups", "features"]),
            helper.make_tensor_value_info("MAP", TensorProto.FLOAT, ["batch", "h", "w"]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return SimpleNamespace(name="net", onnx=Path(path))


def test_the_numbers_change_and_nothing_else(network, tmp_path):
    for path in (tmp_path / "config.pbtxt", tmp_path / "configs" / "tensorrt.pbtxt"):
        path.write_text(CONFIG.format(groups="16, 128"))
    told = fit.fit(network)
    assert len(told) == 2 and "configs/tensorrt.pbtxt" in told[1]
    assert (tmp_path / "config.pbtxt").read_text() == CONFIG.format(groups="8, 4")
    assert fit.fit(network) == []


def test_another_number_of_dimensions_is_refused(network, tmp_path):
    (tmp_path / "config.pbtxt").write_text(CONFIG.format(groups="16"))
    with pytest.raises(ExportError, match=r"says \[16\] of GROUPS; the graph gives \[8, 4\]"):
        fit.fit(network)


def test_an_output_that_the_config_lacks_is_named(network, tmp_path):
    (tmp_path / "config.pbtxt").write_text(CONFIG.format(groups="8, 4").replace("MAP", "OTHER"))
    with pytest.raises(ExportError, match="has no output MAP"):
        fit.fit(network)
