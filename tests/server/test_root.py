"""The root of repositories and engines: the clone, or a user's folder that is kept up to date with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluice import contracts
from sluice.server import root


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Build an installed package: two models in `shipped`, one of them with a compiled file beside it."""
    shipped = tmp_path / "site" / "sluice" / "shipped"
    for name, text in {
        "model_repository/net/config.pbtxt": "a config",
        "model_repository/net/labels.txt": "Car",
        "model_repository/net/1/.gitkeep": "",
        "ensembles/verb/config.pbtxt": "wiring",
        "ensembles/verb/1/model.py": "glue",
        "ensembles/verb/1/__pycache__/model.pyc": "built by pip",
        "backends/onnxruntime/model.py": "stand-in",
    }.items():
        (shipped / name).parent.mkdir(parents=True, exist_ok=True)
        (shipped / name).write_text(text)
    monkeypatch.setattr(root, "SHIPPED", shipped)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return shipped


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != root.RECORD
    }


def test_a_clone_is_its_own_root():
    assert root.origin() == root.default() == contracts.ROOT
    assert root.find() == (contracts.ROOT, []) and root.prepare() == (contracts.ROOT, [])
    assert root.command(contracts.ROOT) == "sluice export"
    assert root.backends(contracts.ROOT) == contracts.ROOT / "backends"


def test_an_installed_package_has_its_root_in_the_users_data_folder(package, tmp_path, monkeypatch):
    assert root.default() == tmp_path / "data" / "sluice"
    for given in ("", "relative/path"):  # the specification has such a path ignored
        monkeypatch.setenv("XDG_DATA_HOME", given)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert root.default() == tmp_path / "home/.local/share/sluice"


def test_a_root_that_is_not_there_is_answered_with_the_command_that_makes_it(package, tmp_path):
    with pytest.raises(root.RootError, match=r"no model_repository and no ensembles in .*; run: sluice export$"):
        root.find()
    with pytest.raises(root.RootError, match=r"run: sluice export --root '.*/my models'$"):
        root.find(tmp_path / "my models")
    assert not (tmp_path / "data").exists(), "serving makes no folders"


def test_a_root_is_laid_out_once_and_then_found(package, tmp_path):
    place, notes = root.prepare()
    assert (place, notes) == (tmp_path / "data/sluice", [])
    assert contents(place) == {
        name: text for name, text in contents(package).items() if "__pycache__" not in name and "backends" not in name
    }
    assert root.find() == (place, []) and root.backends(place) == package / "backends"
    assert root.command(place, "serve") == "sluice serve"


def test_a_newer_package_replaces_what_nobody_touched_and_leaves_engines(package):
    place, _ = root.prepare()
    engine = place / "model_repository/net/1/model.onnx"
    engine.write_text("built")
    (package / "ensembles/verb/1/model.py").write_text("newer glue")
    (package / "model_repository/net/1/notes").write_text("new")
    (package / "model_repository/net/labels.txt").unlink()
    assert root.find() == (place, [])
    assert (place / "ensembles/verb/1/model.py").read_text() == "newer glue"
    assert (place / "model_repository/net/1/notes").exists() and engine.read_text() == "built"
    assert not (place / "model_repository/net/labels.txt").exists()


def test_what_somebody_changed_is_kept_and_told_once_when_the_package_changes_it_too(package):
    place, _ = root.prepare()
    config = place / "model_repository/net/config.pbtxt"
    config.write_text("mine")
    assert root.find() == (place, []) and config.read_text() == "mine"
    (package / "model_repository/net/config.pbtxt").write_text("newer config")
    _, notes = root.find()
    assert len(notes) == 1 and f"{config} was changed here and is kept" in notes[0] and str(package) in notes[0]
    assert config.read_text() == "mine" and root.find() == (place, [])


def test_a_model_that_the_package_has_no_longer_goes_with_its_engine_unless_it_was_changed(package):
    place, _ = root.prepare()
    (place / "model_repository/net/1/model.onnx").write_text("built")
    for path in sorted((package / "model_repository/net").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (place / "model_repository/net/labels.txt").write_text("Bus")
    _, notes = root.find()
    assert len(notes) == 1 and "labels.txt was changed here and is kept" in notes[0]
    assert (place / "model_repository/net/1/model.onnx").exists()


def test_a_model_that_nobody_touched_goes_whole(package):
    place, _ = root.prepare()
    (place / "ensembles/verb/1/__pycache__").mkdir()
    (package / "ensembles/verb/config.pbtxt").unlink()
    (package / "ensembles/verb/1/model.py").unlink()
    assert root.find() == (place, []) and not (place / "ensembles/verb").exists()


@pytest.mark.parametrize("damage", ["", "[]", '{"files": 7', "null", '{"files": ["a"]}', '{"files": {"a": 1}}'])
def test_a_damaged_record_loses_nothing_that_was_changed(package, damage):
    place, _ = root.prepare()
    (place / "model_repository/net/config.pbtxt").write_text("mine")
    (place / root.RECORD).write_text(damage)
    _, notes = root.find()
    assert "config.pbtxt was changed here" in notes[0]
    assert (place / "model_repository/net/config.pbtxt").read_text() == "mine" and root.find() == (place, [])


def test_a_record_leads_nowhere_outside_its_root(package, tmp_path):
    place, _ = root.prepare()
    victim = tmp_path / "data" / "victim"
    victim.write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    away = ["../victim", str(victim), "model_repository/../../victim", "model_repository//../victim"]
    (place / root.RECORD).write_text(json.dumps({"files": dict.fromkeys(away, empty)}))
    root.find()
    assert victim.exists()


def test_a_folder_of_the_users_own_repositories_is_left_as_it_is(package, tmp_path):
    for name in contracts.REPOSITORIES:
        (tmp_path / "own" / name / "theirs").mkdir(parents=True)
    assert root.prepare(tmp_path / "own") == root.find(tmp_path / "own") == (tmp_path / "own", [])
    assert contents(tmp_path / "own") == {}


def test_a_root_that_cannot_be_written_is_told_with_its_file_and_the_way_out(package, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(root.RootError, match=r"cannot write .*file.*; change its permissions, or name .* --root"):
        root.prepare(tmp_path / "file")


def test_a_root_that_is_up_to_date_is_served_without_a_write(package, monkeypatch):
    place, _ = root.prepare()
    monkeypatch.setattr(root, "_replace", None)  # as if it were read-only
    assert root.find() == (place, [])
