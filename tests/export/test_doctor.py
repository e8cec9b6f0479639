"""Tests that `sluice export doctor` tells fresh, old, missing and unfit engines apart and names what mends them."""

from __future__ import annotations

import dataclasses
import json

import onnx
import pytest
from onnx import TensorProto, helper

from export import doctor, graph
from export.__main__ import main
from export.doctor import Machine, examine
from export.entry import Network, Tensor
from export.files import digest
from export.precision import graphs
from export.registry import NETWORKS
from sluice.server import sidecar

NOTHING = Machine(gpus=(), no_bf16="this processor has no bf16")
AMPERE = Machine(gpus=("8.6",), no_bf16="")


@pytest.fixture
def network(tmp_path) -> Network:
    """Return a network with weights and a graph made from them, in a root of its own."""
    made = Network(
        name="tiny",
        title="A network for tests",
        load=lambda path: None,
        train="python -m train tiny",
        inputs=(Tensor("X", ("batch", 4)),),
        outputs=(Tensor("Y", ("batch", 4)),),
        example={"X": (2, 4)},
        check=(),
        make=lambda shapes, seed: {},
        tolerance=0.0,
        profile={"X": ((1, 4), (1, 4), (1, 4))},
        root=tmp_path,
    )
    made.weights.parent.mkdir()
    made.weights.write_bytes(b"weights")
    made.onnx.parent.mkdir(parents=True)
    (made.onnx.parents[1] / "config.pbtxt").write_text('name: "tiny"\n')
    write(made, made.onnx, graph._origin(made, made.weights))
    return made


def write(network: Network, path, properties: dict[str, str]) -> None:
    """Write a graph that adds its input to itself, with these properties."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "XY")
    model = helper.make_model(helper.make_graph([helper.make_node("Add", ["X", "X"], ["Y"])], "g", [x], [y]))
    helper.set_model_props(model, properties)
    onnx.save(model, path)


def engine(network: Network, /, **changes) -> None:
    """Write an rtx engine with its sidecar. changes: fields of the sidecar that differ from the truth."""
    network.rtx.write_bytes(b"engine")
    record = sidecar.Sidecar(
        "rtx", "tiny", digest(network.onnx), digest(network.rtx), "fp32", "1.7.1", ("8.0", "8.6"), network.profile
    )
    sidecar.place(network.rtx).write_text(dataclasses.replace(record, **changes).text())


def states(network: Network, machine: Machine) -> dict[str, doctor.Finding]:
    return {found.format: found for found in examine(network, machine)}


def test_what_is_there_is_fresh_and_what_is_not_is_named_with_its_command(network):
    engine(network)
    found = states(network, AMPERE)
    assert {form: each.state for form, each in found.items()} == {
        "onnx": doctor.FRESH,
        "bf16": doctor.NOT_SERVED,
        "int8": doctor.NOT_SERVED,
        "plan": doctor.MISSING,
        "rtx": doctor.FRESH,
    }
    assert found["plan"].command == f"sluice export --root {network.root} tiny --format plan"


def test_other_weights_make_every_format_old(network):
    engine(network)
    write(network, graphs.file(network, "int8"), {graphs.OF: digest(network.onnx)})
    network.weights.write_bytes(b"other weights")
    write(network, network.onnx, {"sluice.network": "tiny", "sluice.weights_sha256": "0" * 64})
    found = states(network, AMPERE)
    assert [found[form].state for form in ("onnx", "int8", "rtx")] == [doctor.OLD] * 3
    assert found["onnx"].command == f"sluice export --root {network.root} tiny"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"capabilities": ("12.0",)}, "is for GPUs of compute capability 12.0, and the GPU here has 8.6"),
        ({"network": "other"}, "is an engine of other"),
        ({"engine_sha256": "0" * 64}, "is not the engine that"),
    ],
)
def test_an_engine_that_does_not_fit_is_old_and_says_why(network, changes, said):
    engine(network, **changes)
    found = states(network, AMPERE)["rtx"]
    assert found.state == doctor.OLD and said in found.note and found.command.endswith("tiny --format rtx")


def test_an_engine_without_a_record_is_not_trusted(network):
    network.rtx.write_bytes(b"engine")
    assert "no record" in states(network, AMPERE)["rtx"].note


def test_without_gpu_and_bf16_nothing_is_asked_for_that_could_not_be_served(network):
    engine(network)
    configs = network.onnx.parents[1] / "configs"
    configs.mkdir()
    (configs / "cpu-fast.pbtxt").write_text('name: "tiny"\n')
    assert states(network, AMPERE)["bf16"].state == doctor.NOT_SERVED  # the config of fp32
    (configs / "cpu-fast.pbtxt").write_text(
        'name: "tiny" optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" '
        'parameters { key: "precision" value: "bf16" } } ] } }\n'
    )
    found = states(network, NOTHING)
    assert [found[form].state for form in ("bf16", "plan", "rtx")] == [doctor.ELSEWHERE] * 3
    assert found["bf16"].note == NOTHING.no_bf16
    assert states(network, AMPERE)["bf16"].state == doctor.FRESH


def test_a_missing_graph_is_all_that_is_said(network):
    network.onnx.unlink()
    found = states(network, AMPERE)
    assert found["onnx"].state == doctor.MISSING and found["onnx"].command
    assert list(found) == ["onnx"]  # bf16 is not said to be left out, since the configs may be missing with the graph


def test_the_command_lists_the_shipped_networks(capsys):
    status = main(["doctor", "--json"])
    rows = json.loads(capsys.readouterr().out)
    fresh = [row for row in rows if row["format"] == "onnx"]
    assert len(fresh) == 12
    assert status == (0 if all(row["state"] == "fresh" for row in fresh) else 1)


def test_int8_is_asked_for_in_words_that_work(network):
    """It is made of one network, not of all of its weights, and not in a clone."""
    asked = [doctor._int8(one).note for one in (network, NETWORKS["image_grouper"])]
    assert asked[0] == f"to try it: sluice export --root {network.root} tiny --precision int8 --frames FOLDER"
    assert asked[1] == "to try it: sluice export image_grouper --precision int8 --root DIR --frames FOLDER"


def test_an_empty_folder_misses_everything_and_an_unknown_network_is_named(capsys, tmp_path):
    assert main(["doctor", "feature_extractor", "--root", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # it only looks
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--root", str(tmp_path / "file")]) == 1
    assert "file is a file; name a folder" in capsys.readouterr().err
    assert main(["doctor", "nothing"]) == 1
    assert "there is no network 'nothing'" in capsys.readouterr().err
