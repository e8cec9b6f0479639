"""Exports of a set of weights: its place, what its graphs say, and weights whose card is another's."""

from __future__ import annotations

import json
import shutil

import onnx
import pytest

from export import card, graph
from export.__main__ import main
from export.entry import ROOT, ExportError
from export.files import digest
from export.frame import joined
from export.registry import at, find, together, usual
from sluice.process import weights as sets
from sluice.versions import network_version

FREE = ROOT / "weights" / "free"
NAME = "frame_upscaler_clean"  # the smallest network


def test_a_network_of_the_free_set_gets_a_place_a_name_and_a_version_of_its_own(tmp_path, capsys):
    assert main([NAME, "--root", str(tmp_path), "--weights", "free"]) == 0
    said = capsys.readouterr().err
    assert f"serve them with: sluice serve --root {tmp_path} --weights free" in said
    free = tmp_path / "roots/free/model_repository"
    for network in together(NAME):
        record = graph.record(free / network.name / "1/model.onnx")
        assert record[sets.KEY] == "free" and record["sluice.weights_sha256"] == digest(FREE / f"{NAME}.pt")
        assert sets.KEY not in graph.record(network.onnx)
        assert network_version(free, network.name) != network_version(network.onnx.parents[2], network.name)
    assert main(["--list", "--root", str(tmp_path), "--weights", "free"]) == 0
    assert dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())[NAME] == "up to date"


def test_a_file_of_weights_of_the_users_own_is_of_no_set(tmp_path):
    own = tmp_path / "mine.pt"
    shutil.copy(FREE / f"{NAME}.pt", own)
    assert main([NAME, "--root", str(tmp_path), "--weights", str(own)]) == 0
    record = graph.record(tmp_path / f"model_repository/{NAME}/1/model.onnx")
    assert record[sets.KEY] == "own" and record["sluice.weights_sha256"] == digest(own)


def test_the_set_of_the_environment_is_exported_and_an_unknown_one_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLUICE_WEIGHTS", "libre")
    assert main(["digits", "--root", str(tmp_path)]) == 1
    assert "there are no weights 'libre'; choose research or free with --weights" in capsys.readouterr().err
    monkeypatch.setenv("SLUICE_WEIGHTS", "free")
    assert main(["--list", "--root", str(tmp_path)]) == 0
    assert f"sluice export --root {tmp_path} digits" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changed", ["digits.pt", "digits.json"])
def test_weights_and_a_card_that_do_not_belong_together_are_refused(tmp_path, capsys, changed):
    shelf = tmp_path / "weights/free"
    shelf.mkdir(parents=True)
    for suffix in ("pt", "json", "md"):
        shutil.copy(FREE / f"digits.{suffix}", shelf)
    card.belongs(shelf / "digits.pt")
    with open(shelf / changed, "ab") as file:
        file.write(b" ")
    with pytest.raises(ExportError, match=r"digits.pt and its card digits.md do not belong together: the sha256 of the "
                       r"(weights|training record) is .* here and .* in the card; fetch both anew"):  # fmt: skip
        card.belongs(shelf / "digits.pt")
    assert main(["digits", "--root", str(tmp_path), "--weights", "free"]) == 1
    assert "do not belong together" in capsys.readouterr().err
    assert not list(tmp_path.glob("roots/free/model_repository/*/1/model.onnx"))


@pytest.mark.parametrize("shelf", [ROOT / "weights", FREE], ids=sets.SETS)
def test_every_shipped_file_of_weights_has_its_own_card(shelf):
    for path in (path for path in sorted(shelf.glob("*.pt")) if path.name != "trunk.pt"):
        assert path.with_suffix(".md").is_file()
        card.belongs(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in FREE.glob("*.json") if path.stem != "precision"))
def test_a_free_card_names_data_and_a_licence_that_allows_commercial_use(name):
    record = json.loads((FREE / f"{name}.json").read_text())
    text = (FREE / f"{name}.md").read_text()
    assert name in usual()
    assert record["data"] and record["data"].rstrip(".") in text and record["licence"].rstrip(".") in text
    assert "camvid" not in json.dumps(record).lower() and "CC BY" not in text
    assert any(licence in record["licence"] for licence in ("Apache-2.0", "MIT"))


def test_all_shipped_weights_fit_in_the_wheel():
    assert sum(path.stat().st_size for path in (ROOT / "weights").rglob("*.pt")) < 60e6


def test_a_file_is_of_the_set_whose_folder_holds_it(tmp_path):
    (network,) = at([find("feature_extractor")], tmp_path / "roots/free")
    assert network.weights == tmp_path / "weights/free/feature_extractor.pt"
    assert network.label(network.weights) == network.label(FREE / "feature_extractor.pt") == "free"
    assert network.label(ROOT / "weights/feature_extractor.pt") == network.label(tmp_path / "mine.pt") == "own"


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ((None, None, None), {}),
        (("free", "free", "free"), {sets.KEY: "free"}),
        (("free", "own", "free"), {sets.KEY: "own"}),
        (("free", None, "free"), {}),
    ],
)
def test_a_joined_graph_is_of_the_set_of_its_networks(labels, wanted):
    models = [onnx.ModelProto() for _ in labels]
    for model, label in zip(models, labels, strict=True):
        onnx.helper.set_model_props(model, {sets.KEY: label} if label else {})
    assert joined._label(models) == wanted
