"""Tests the benchmark of the networks: the bootstrap and the operations by hand, and short runs of it."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch")

from bench import report
from bench.intervals import paired
from bench.networks import __main__ as networks
from bench.networks import speed
from bench.networks.task import Task, average
from bench.networks.tasks import table
from export.precision.record import Cost
from export.registry import NETWORKS, together, usual

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_constant_difference_has_an_interval_of_no_width():
    before = list(np.random.default_rng(0).uniform(size=20))
    assert paired(average, before, [value + 2 for value in before], 50) == pytest.approx((2, 2, 2))
    difference, low, high = paired(average, [0.0] * 100, [0.0, 1.0] * 50, 400)
    assert difference == 0.5 and 0.35 < low < 0.45 and 0.55 < high < 0.65
    with pytest.raises(ValueError, match="the same inputs on both sides"):
        paired(average, [1.0], [])


def test_loss_is_a_share_whichever_way_the_metric_runs():
    more, less = (Task("any", lambda data, count: None, better=better) for better in (1, -1))
    assert more.loss(0.5, 0.45) == pytest.approx(0.1) and less.loss(0.5, 0.45) == pytest.approx(-0.1)


@pytest.mark.parametrize("kernel", ["initializer", "node"])
def test_operations_are_two_per_multiply_add(kernel):
    weight = numpy_helper.from_array(np.ones((3, 2, 3, 3), np.float32), "w")
    nodes = [helper.make_node("Constant", [], ["w"], name="kernel", value=weight)] if kernel == "node" else []
    nodes += [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["a"], ["b"], name="flat", axis=2),
        helper.make_node("MatMul", ["b", "m"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 7])],
        [numpy_helper.from_array(np.ones((20, 7), np.float32), "m"), *([weight] if kernel == "initializer" else [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    given = {"x": np.ones((1, 2, 4, 5), np.float32)}
    assert speed.operations(model, given) == 2 * (3 * 20 * 2 * 9 + 3 * 20 * 7)


def test_every_served_graph_has_a_task():
    served = {network.name for name in usual() for network in together(name)}
    assert set(table()) == {name for name in served if name in NETWORKS}


def test_a_short_run_prints_each_precision(capsys):
    assert (
        networks.main(["--quick", "--generated", "--json", "--parts", "quality", "--only", "frame_upscaler_clean"]) == 0
    )
    report.as_json(False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {row["precision"]: row for row in rows if "precision" in row}
    assert {"fp16", "int8"} <= set(found)
    assert abs(found["fp16"]["difference"]) < 0.05 < abs(found["int8"]["difference"]) < 3
    assert [row["holds"] for row in rows if "claim" in row] == [True]


def test_a_loss_of_a_metric_that_is_0_is_no_small_loss(capsys):
    known = {"sha256": "", "metric": "mAP", "data": "", "low": 0.0, "high": 0.0, "size": 1, "processor": ""}
    costs = {
        name: {
            "fp16": Cost(**known, whole=whole, value=whole, difference=0.0, loss=Task("mAP", None).loss(whole, whole))
        }
        for name, whole in (("first", 0.5), ("second", 0.0))
    }
    report.as_json(True)
    for given, value, holds in ((costs, None, False), ({"first": costs["first"]}, 0.0, True)):
        networks.show(given, [])
        claim = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (claim["value"], claim["holds"]) == (value, holds)
    report.as_json(False)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(table()))
def test_a_short_run_of_each_graph(name, capsys):
    assert networks.main(["--quick", "--generated", "--json", "--only", name]) == 0
    report.as_json(False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(row.get("ms", 0) > 0 for row in rows)


def test_wrong_words_are_refused(capsys):
    for words, said in (
        (["--only", "nobody"], "--only: unknown nobody"),
        (["--record", "--quick"], "--record keeps figures of the part quality at full length"),
    ):
        with pytest.raises(SystemExit):
            networks.main(words)
        assert said in capsys.readouterr().err
