"""The two sets of weights: where the engines of each lie, what a server says of them, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest

from sluice import contracts
from sluice.process import weights
from sluice.server import layout, release, root
from sluice.server.layout import StartError
from sluice.versions import Served
from tests.made import tiny_repository


def graph(folder: Path, **record: str) -> Path:
    """Write a model's folder with a graph that has this metadata, dots written as underscores."""
    made = onnx.helper.make_model(onnx.helper.make_graph([], folder.name, [], []))
    onnx.helper.set_model_props(made, {f"sluice.{name}": text for name, text in record.items()})
    (folder / "1").mkdir(parents=True)
    onnx.save(made, folder / "1" / "model.onnx")
    return folder


def model(folder: Path) -> layout.Model:
    return layout.Model(
        folder.name, folder, "onnxruntime", (), (), ("model.onnx",), (folder / "1",), glued=False, bf16=False
    )


def test_each_set_has_its_place_and_its_shelf_and_a_place_tells_its_set(tmp_path):
    assert weights.place(tmp_path, "research") == tmp_path
    free = weights.place(tmp_path, "free")
    assert free == tmp_path / "roots/free"
    assert weights.parts(free) == (tmp_path, "free") and weights.parts(tmp_path) == (tmp_path, "research")
    assert weights.parts(tmp_path / "free") == (tmp_path / "free", "research")
    assert weights.shelf(free) == tmp_path / "weights/free" and weights.shelf(tmp_path) == tmp_path / "weights"


def test_the_set_comes_from_the_command_then_from_the_environment(monkeypatch):
    assert weights.chosen() == "research"
    monkeypatch.setenv("SLUICE_WEIGHTS", "free")
    assert weights.chosen() == "free" and weights.chosen("research") == "research"
    assert root.default() == contracts.ROOT / "roots/free" and root.default("research") == contracts.ROOT
    assert root.command(contracts.ROOT) == "sluice export --weights research"
    assert root.command(contracts.ROOT / "roots/free") == "sluice export"
    monkeypatch.setenv("SLUICE_WEIGHTS", "libre")
    for asked in (root.default, root.find, root.prepare):
        with pytest.raises(
            root.RootError, match="no weights 'libre'; choose research or free with --weights or SLUICE_WEIGHTS"
        ):
            asked()


def test_the_engines_of_the_two_sets_lie_apart_in_one_root(tmp_path):
    (free, _), (research, _) = root.prepare(tmp_path, "free"), root.prepare(tmp_path)
    assert free == tmp_path / "roots/free" and research == tmp_path
    assert (free / "model_repository/digits_score/config.pbtxt").is_file()
    assert root.find(tmp_path, "free")[0] == free and root.find(tmp_path)[0] == tmp_path
    assert root.command(free, "serve") == f"sluice serve --root {tmp_path} --weights free"
    assert root.backends(free) == contracts.ROOT / "backends"


def test_a_set_that_was_never_exported_is_answered_with_the_command_that_does_it(tmp_path):
    with pytest.raises(root.RootError, match=rf"run: sluice export --root {tmp_path} --weights free$"):
        root.find(tmp_path, "free")


def test_a_graph_tells_its_set_and_a_foreign_one_is_the_users_own(tmp_path):
    folders = [
        graph(tmp_path / "a", network="a", weights_set="free"),
        graph(tmp_path / "b", network="b"),
        graph(tmp_path / "c"),
        graph(tmp_path / "d", network="d", weights_set="own"),
        tmp_path / "e",
    ]
    found = weights.named(folders)
    assert found == {"a": "free", "b": "research", "c": "own", "d": "own", "e": "own"}
    assert weights.told({"a": "free", "b": "free"}) == "free"
    assert weights.told({"a": "free", "b": "free", "c": "own"}) == "free; own: c"
    assert weights.told({"a": "research", "b": "free", "c": "research"}) == "research; free: b"
    assert weights.told({}) == ""


def test_a_network_of_research_is_not_served_among_the_free_ones(tmp_path):
    repository = tmp_path / "roots/free/model_repository"
    good = model(graph(repository / "a", network="a", weights_set="free"))
    own = model(graph(repository / "b"))
    assert layout.weights_of([good, own], tmp_path / "roots/free") == "free; own: b"
    stray = model(graph(repository / "c", network="c"))
    with pytest.raises(StartError, match=r"c in .*roots/free has the weights research, and free are to be served; run: "
                       r"sluice export --root .* --weights free c --force"):  # fmt: skip
        layout.weights_of([good, stray], tmp_path / "roots/free")
    assert layout.weights_of([good, stray], tmp_path) == "free; research: c"  # nobody asked for a set's own place


def test_the_set_is_handed_on_to_the_servers_processes():
    served = dataclasses.replace(Served("cpu", "why", {"a": "fp32"}), weights="free")
    assert served.as_json()["weights"] == "free" and str(served) == str(Served("cpu", "why", {"a": "fp32"}))


def test_a_release_is_made_of_the_set_that_was_asked_for(tmp_path, capsys):
    tiny_repository.make(tmp_path / "roots/free")
    assert release.main(["--root", str(tmp_path), "--weights", "free"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/roots/free/dist/repository: adder\n"
    assert release.main(["--root", str(tmp_path)]) == 2
