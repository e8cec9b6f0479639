"""`make release`: one folder with the models of both repositories."""

from __future__ import annotations

from sluice.server import layout, release
from tests.made import tiny_repository


def make(root):
    tiny_repository.make(root)
    verb = root / "ensembles/add"
    (verb / "1").mkdir(parents=True)
    (verb / "1/.gitkeep").touch()
    (verb / "config.pbtxt").write_text(tiny_repository.ENSEMBLE)
    assert list(root.glob("model_repository/adder/1/__pycache__/*"))


def test_nouns_and_verbs_lie_side_by_side_without_caches(tmp_path, capsys):
    make(tmp_path)
    assert release.main(["--root", str(tmp_path)]) == 0
    target = tmp_path / "dist/repository"
    assert "add, adder" in capsys.readouterr().out
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {"add/1/.gitkeep", "add/config.pbtxt", "adder/1/model.py", "adder/config.pbtxt"}
    assert set(layout.find_models([target], None, False)) == {"add", "adder"}


def test_a_second_release_replaces_the_first(tmp_path):
    make(tmp_path)
    target = tmp_path / "out"
    assert release.release(tmp_path, target) == ["add", "adder"]
    (target / "old").mkdir()
    release.release(tmp_path, target)
    assert not (target / "old").exists()


def test_a_name_in_both_repositories_is_refused_and_the_last_release_stays(tmp_path, capsys):
    make(tmp_path)
    assert release.main(["--root", str(tmp_path)]) == 0
    (tmp_path / "ensembles/add").rename(tmp_path / "ensembles/adder")
    assert release.main(["--root", str(tmp_path)]) == 2
    assert "adder stands twice" in capsys.readouterr().err
    assert (tmp_path / "dist/repository/add").exists()
