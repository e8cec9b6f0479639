"""An exported graph equals torch at sizes that tracing did not see, is the same every time, and says what it is."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import types

import numpy as np
import onnx
import pytest

from export import card, check, graph, registry
from export.__main__ import main
from export.entry import ROOT, ExportError, Network, Tensor
from export.files import digest, replace
from export.precision import record as precision
from export.registry import COMMANDS, NETWORKS, at, entry_modules, families, find, together, usual, weights_of
from sluice import contracts

torch = pytest.importorskip("torch")

# -- a network of three layers with everything that can go wrong: uint8 in, BatchNorm, float16 out, free sizes ---------


class Tiny(torch.nn.Module):
    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
        )
        self.body[1].running_mean.uniform_(-1, 1)
        self.body[1].running_var.uniform_(0.5, 2)

    def forward(self, image):
        x = self.body(image.permute(0, 3, 1, 2).float() / 64 - 2) + 0.1
        return (x / x.norm(dim=1, keepdim=True)).permute(0, 2, 3, 1).half()


def load(path):
    module = Tiny(0)
    module.load_state_dict(torch.load(path, weights_only=True))
    return module  # left in training mode on purpose: the exporter must not rely on the loader


def noise(shapes, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}


@pytest.fixture
def tiny(tmp_path) -> Network:
    network = Network(
        name="tiny",
        title="A network for tests",
        load=load,
        train="python -m train tiny",
        inputs=(Tensor("IMAGE", ("batch", "height", "width", 3)),),
        outputs=(Tensor("FEATURES", ("batch", "rows", "columns", 8)),),
        example={"IMAGE": (2, 16, 24, 3)},
        check=({"IMAGE": (1, 32, 32, 3)}, {"IMAGE": (3, 8, 40, 3)}),
        make=noise,
        tolerance=2e-3,
        profile={"IMAGE": ((1, 8, 8, 3), (2, 32, 32, 3), (4, 64, 64, 3))},
        unit=("FEATURES",),
        data="noise",
        licence="none",
        root=tmp_path,
    )
    network.weights.parent.mkdir()
    torch.save(Tiny(1).state_dict(), network.weights)
    return network


@pytest.fixture
def registered(tiny, monkeypatch) -> Network:
    monkeypatch.setitem(NETWORKS, "tiny", tiny)
    return tiny


def dims(value):
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]


# -- the graph ---------------------------------------------------------------------------------------------------------


def test_the_graph_equals_torch_at_sizes_that_tracing_did_not_see(tiny):
    graph.write(tiny, graph.export(tiny, tiny.weights))
    report = check.compare(tiny, tiny.weights, tiny.onnx)
    assert [row.shapes for row in report.rows] == list(tiny.check)
    assert report.greatest <= tiny.tolerance


def test_the_same_weights_give_the_same_bytes_and_others_do_not(tiny):
    first = graph.export(tiny, tiny.weights)
    assert graph.export(tiny, tiny.weights) == first
    torch.save(Tiny(2).state_dict(), tiny.weights)
    assert graph.export(tiny, tiny.weights) != first


def test_names_types_and_sizes_of_the_graph_are_those_of_the_table(tiny):
    model = onnx.load_model_from_string(graph.export(tiny, tiny.weights))
    assert [(v.name, dims(v)) for v in model.graph.input] == [("IMAGE", ["batch", "height", "width", 3])]
    assert [(v.name, dims(v)) for v in model.graph.output] == [("FEATURES", ["batch", "rows", "columns", 8])]
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


def test_normalisation_is_folded_into_the_convolution(tiny):
    model = onnx.load_model_from_string(graph.export(tiny, tiny.weights))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_no_path_of_this_machine_is_in_the_file(tiny):
    content = graph.export(tiny, tiny.weights)
    assert b"site-packages" not in content and os.getcwd().encode() not in content


def test_a_size_that_tracing_baked_in_is_noticed(tiny):
    class Baked(Tiny):
        def forward(self, image):
            n = int(image.shape[0])
            return super().forward(image).reshape(n, 8, 12, 8)

    baked = dataclasses.replace(tiny, load=lambda path: Baked(1))
    graph.write(baked, graph.export(baked, baked.weights))
    with pytest.raises(Exception, match=r"(?i)reshape|shape"):
        check.compare(baked, baked.weights, baked.onnx)


def test_another_number_of_channels_than_the_table_says_is_refused(tiny):
    wrong = dataclasses.replace(tiny, outputs=(Tensor("FEATURES", ("batch", "rows", "columns", 9)),))
    with pytest.raises(ExportError, match=r"FEATURES .* table says"):
        graph.export(wrong, wrong.weights)


# -- the check ---------------------------------------------------------------------------------------------------------


def test_a_graph_of_other_weights_fails_the_check_loudly(tiny):
    graph.write(tiny, graph.export(tiny, tiny.weights))
    torch.save(Tiny(3).state_dict(), tiny.weights)
    with pytest.raises(ExportError, match=r"differs between torch and ONNX Runtime by .* at IMAGE 1x32x32x3"):
        check.compare(tiny, tiny.weights, tiny.onnx)


def test_cells_that_are_not_of_length_one_fail_the_check(tiny):
    class Long(Tiny):
        def forward(self, image):
            return super().forward(image) * 2

    long = dataclasses.replace(tiny, load=lambda path: Long(1))
    graph.write(long, graph.export(long, long.weights))
    with pytest.raises(ExportError, match="length 1"):
        check.compare(long, long.weights, long.onnx)


def test_the_report_says_what_bf16_costs_or_why_it_was_not_measured(tiny, monkeypatch):
    graph.write(tiny, graph.export(tiny, tiny.weights))
    report = check.compare(tiny, tiny.weights, tiny.onnx)
    if report.bf16 is None:
        assert report.not_measured.startswith("not measured: ")
    else:
        assert 0 <= report.bf16.mean <= report.bf16.worst < 1e-2
    monkeypatch.setattr(check.util, "find_spec", lambda name: None)
    without = check.compare(tiny, tiny.weights, tiny.onnx)
    assert without.bf16 is None and "not measured: openvino is not installed" in without.not_measured


# -- the card ----------------------------------------------------------------------------------------------------------


def test_the_card_has_what_a_reader_needs(tiny):
    graph.write(tiny, graph.export(tiny, tiny.weights))
    reach = [{"area %": 1, "recall@10": 0.61}, {"area %": 0.3, "recall@10": 0.3}]
    record = {
        "recipe": {"steps": 400, "rate": 0.002},
        "reach": reach,
        "licence": "CC BY-NC 4.0",
        "seed": 7,
        "parameters": 1234,
    }
    tiny.weights.with_suffix(".json").write_text(json.dumps(record))
    card.write(tiny.weights, [check.compare(tiny, tiny.weights, tiny.onnx)])
    text = tiny.card.read_text()
    for words in (
        digest(tiny.weights), digest(tiny.onnx), "| opset, IR, producer | 17,", "IMAGE 3x8x40x3",
        "Greatest absolute difference", "Licence: CC BY-NC 4.0.", "Data: noise.", "| steps | 400 |",
        "| area % | recall@10 |", "| 0.3 | 0.3 |", "| seed | 7 |", "1,234 trained",
        "bf16", "python -m train tiny",
    ):  # fmt: skip
        assert words in text, words
    assert card.current([tiny], tiny.weights)
    tiny.weights.with_suffix(".json").write_text(json.dumps(record | {"seed": 8}))
    assert not card.current([tiny], tiny.weights)


def test_a_card_without_a_record_says_so(tiny):
    graph.write(tiny, graph.export(tiny, tiny.weights))
    report = check.Report(tiny, (check.Row(tiny.check[0], 0.0),), "test", None, "not measured: test")
    text = card.text(tiny.weights, [report])
    assert text.count("not recorded") == 3 and "Not measured: test." in text


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_exports_checks_and_then_has_nothing_to_do(registered, capsys):
    assert main(["tiny", "--check"]) == 0
    assert registered.onnx.exists() and registered.card.exists()
    made = registered.onnx.stat().st_mtime_ns, registered.card.stat().st_mtime_ns
    assert "wrote model.onnx" in capsys.readouterr().err
    assert main(["tiny", "--check"]) == 0
    assert "up to date" in capsys.readouterr().err
    assert made == (registered.onnx.stat().st_mtime_ns, registered.card.stat().st_mtime_ns)


def test_new_weights_or_force_export_again(registered, capsys):
    main(["tiny"])
    first = registered.onnx.read_bytes()
    assert main(["tiny", "--force"]) == 0 and "wrote model.onnx" in capsys.readouterr().err
    assert registered.onnx.read_bytes() == first
    torch.save(Tiny(5).state_dict(), registered.weights)
    assert main(["tiny"]) == 0 and registered.onnx.read_bytes() != first


def test_a_file_that_was_made_by_something_else_is_not_taken_for_ours(registered):
    registered.onnx.parent.mkdir(parents=True)
    for content in (b"", b"not an ONNX file", onnx.ModelProto().SerializeToString()):
        registered.onnx.write_bytes(content)
        assert not graph.current(registered, registered.weights)


def test_a_graph_that_fails_its_check_is_not_left_to_be_served(registered, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, "tiny", dataclasses.replace(registered, tolerance=-1.0))
    assert main(["tiny", "--check"]) == 1
    assert "differs between torch and ONNX Runtime" in capsys.readouterr().err
    assert not registered.onnx.exists() and not registered.card.exists()


def test_missing_weights_are_answered_with_the_command_that_makes_them(registered, tmp_path, capsys):
    registered.weights.unlink()
    assert main(["tiny"]) == 1
    error = capsys.readouterr().err
    assert "are missing; train them with: python -m train tiny" in error and error.count("\n") == 1
    with pytest.raises(ExportError, match="missing"):
        weights_of(registered, tmp_path / "other.pt")


def test_a_file_that_holds_no_weights_is_named(registered, capsys):
    registered.weights.write_bytes(b"something else")
    assert main(["tiny"]) == 1
    error = capsys.readouterr().err
    assert "does not hold weights of tiny" in error and "Traceback" not in error


def test_an_unknown_network_is_answered_with_the_known_ones(capsys):
    assert main(["nothing"]) == 1
    said = capsys.readouterr().err
    assert "there are: artifact_remover_strong, " in said and ", digits, feature_extractor" in said
    for words in (["digits", "--all"], ["--weights", "own.pt"]):
        with pytest.raises(SystemExit):
            main(words)


def test_the_list_says_what_is_up_to_date(registered, capsys):
    assert main(["--list"]) == 0
    assert "to be exported: sluice export tiny" in capsys.readouterr().out
    main(["tiny"])
    main(["--list"])
    assert [line.split() for line in capsys.readouterr().out.splitlines()][-1] == ["tiny", "up", "to", "date"]


def test_without_a_name_it_is_every_network_that_the_repositories_serve():
    made = [network.name for name in usual() for network in together(name)]
    served = [name for name, config in contracts.models().items() if config.backend == "onnxruntime"]
    assert sorted([*made, "frame_networks"]) == sorted(served)  # the last is joined of three of the others


def test_another_root_is_laid_out_and_gets_the_engine(tmp_path, capsys):
    network, place = find("frame_upscaler_clean"), tmp_path / "new" / "root"
    assert main([network.name, "--root", str(place)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"laid out both repositories in {place}"
    assert said[-1] == f"the engines are in {place}; serve them with: sluice serve --root {place}"
    made = place / "model_repository" / network.name / "1/model.onnx"
    assert graph.record(made)["sluice.weights_sha256"] == digest(network.weights)
    assert (place / "ensembles/detect/config.pbtxt").is_file() and not (place / "weights").exists()
    assert main([network.name, "--root", str(place)]) == 0 and "is up to date" in capsys.readouterr().err
    assert main(["--list", "--root", str(place)]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed[network.name] == "up to date"
    assert listed["frame_upscaler_lossy"] == f"to be exported: sluice export --root {place} frame_upscaler_lossy"


def test_weights_in_a_root_go_before_those_that_came_with_the_code(tmp_path):
    (network,) = at([find("digits_score")], tmp_path)
    assert weights_of(network, None) == find("digits_score").weights
    network.weights.parent.mkdir()
    network.weights.touch()
    assert weights_of(network, None) == network.weights == tmp_path / "weights" / "digits.pt"


def test_what_is_not_installed_is_named_with_its_extra_and_nothing_is_laid_out(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    away = ("torch", "diffusers")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in away else found(name))
    assert main(["digits", "--root", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().err
    assert "not installed here: torch, diffusers;" in said and "pip install 'sluice-perception[export]'" in said
    assert not (tmp_path / "new").exists()


def test_one_network_that_fails_does_not_stop_the_others(tiny, monkeypatch, capsys):
    for name in list(NETWORKS):
        monkeypatch.delitem(NETWORKS, name)
    broken = dataclasses.replace(tiny, name="broken")
    monkeypatch.setitem(NETWORKS, "broken", broken)
    monkeypatch.setitem(NETWORKS, "tiny", tiny)
    broken.weights.write_bytes(b"something else")
    assert main([]) == main(["--all"]) == 1
    assert tiny.onnx.exists() and "not exported: broken\n" in capsys.readouterr().err


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    replace(target, b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        replace(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


# -- the table and its networks ----------------------------------------------------------------------------------------


def test_the_table_holds_what_the_entries_list_and_a_command_takes_no_networks_name():
    listed = {module.__name__.split(".")[1]: module for module in entry_modules()}
    folders = sorted(path.parent.name for path in (ROOT / "export").glob("*/entry.py"))
    assert list(listed) == folders and len(folders) >= 5
    names = [network.name for module in listed.values() for network in module.ENTRIES]
    assert names == list(registry.gathered()) and set(names) == set(NETWORKS)
    assert COMMANDS and not set(COMMANDS) & {*NETWORKS, *families()}


def test_the_table_is_read_without_torch():
    program = "import sys, export.registry; print(*sorted({'torch', 'numpy', 'onnx', 'PIL'} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == ""


def test_one_name_for_two_networks_is_refused(monkeypatch):
    twice = types.ModuleType("export.twice.entry")
    twice.ENTRIES = (find("image_grouper"),)
    monkeypatch.setattr(registry, "entry_modules", lambda: iter([*entry_modules(), twice]))
    with pytest.raises(ValueError, match=r"export\.twice\.entry lists image_grouper, which another entry lists"):
        registry.gathered()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_entry_of_the_table_can_tell_a_baked_size(name):
    network = find(name)
    for tensor in network.inputs:
        traced = network.example[tensor.name]
        for axis in tensor.free:
            assert all(shapes[tensor.name][axis] != traced[axis] for shapes in network.check)


def test_the_feature_extractor_equals_torch_at_two_sizes_not_seen_at_tracing(tmp_path):
    network = find("feature_extractor")
    if not network.weights.exists():
        pytest.skip("weights/feature_extractor.pt is missing")
    small = dataclasses.replace(network, check=({"IMAGE": (1, 64, 128, 3)}, {"IMAGE": (3, 128, 64, 3)}), root=tmp_path)
    graph.write(small, graph.export(small, network.weights))
    assert check.compare(small, network.weights, small.onnx).greatest <= network.tolerance


@pytest.mark.parametrize("name", NETWORKS)
def test_the_card_in_the_repository_speaks_of_the_weights_and_the_training_record_in_it(name):
    network = find(name)
    if not (network.card.exists() and network.weights.exists()):
        pytest.skip(f"weights/{network.card.name} is not written yet")
    text = network.card.read_text(encoding="utf-8")
    remedy = f"weights/{network.card.name} is of another {{}}; run: python -m export {name} --check"
    assert f"| sha256 of the weights | `{digest(network.weights)}` |" in text, remedy.format("file of weights")
    record = digest(network.weights.with_suffix(".json"))
    assert f"| sha256 of the training record | `{record}` |" in text, remedy.format("training record")


def test_the_cards_in_the_repository_say_that_no_engine_was_executed():
    cards = {network.card for network in NETWORKS.values() if network.weights.exists()}
    assert cards
    for path in sorted(cards):
        assert path.read_text(encoding="utf-8").count(precision.UNEXECUTED) == 1, f"{path.name}: use card.refresh"
    page = " ".join((ROOT / "docs" / "tensorrt.md").read_text(encoding="utf-8").split())
    said = "either kind of engine can be executed where Sluice is developed"
    assert f"N{said}" in page and f"n{said}" in precision.UNEXECUTED  # the day that one changes, so must the other
