"""The commands that export a user's own network fail alike: one line, an exit status, and no change to a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from export import own
from export.entry import ROOT, ExportError
from export.registry import COMMANDS

FROM = {"genie": "--weights"}  # the option that names the network, --from where it is not listed


@pytest.fixture
def mapping(tmp_path, monkeypatch):
    """Run in an empty folder with a mapping for the command `detector`, which only proposes one without it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mapping.toml").write_text(
        'kind = "boxes"\nlabels = ["Car"]\ncanvases = "64x64"\nboxes = ["b"]\nscores = ["s"]\n'
    )
    return {"detector": ["--mapping", "mapping.toml"]}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"frame_networks"}))  # which takes no file
def test_each_command_tells_in_one_line_that_a_file_is_missing(name, mapping, tmp_path, capsys):
    words = [FROM.get(name, "--from"), "nowhere.onnx", "--root", str(tmp_path / "root"), *mapping.get(name, [])]
    assert COMMANDS[name].run(words) == 1
    assert not (tmp_path / "root").exists()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(f"sluice export {name}: ") and "nowhere" in told[0]
    assert "Errno" not in told[0] and re.search("not there|not found|is missing", told[0])


def test_a_mapping_that_is_missing_is_not_called_damaged(tmp_path, capsys):
    words = ["--from", "net.onnx", "--root", str(tmp_path / "root"), "--mapping", str(tmp_path / "absent.toml")]
    assert COMMANDS["detector"].run(words) == 1
    assert re.search(r"no file \S+absent\.toml; leave out --mapping", capsys.readouterr().err)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_tells_its_root_and_its_exit_statuses(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        COMMANDS[name].run(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--root DIR" in told and "2 wrong usage, 130 stopped with Ctrl-C." in told


@pytest.mark.parametrize("name", ["detector", "features", "texts"])
def test_a_network_in_the_place_of_ours_is_not_written_into_a_clone(name, mapping, capsys):
    assert COMMANDS[name].run(["--from", "nowhere.onnx", "--root", str(ROOT), *mapping.get(name, [])]) == 1
    assert "the files of a clone stay as they are; name another folder with --root DIR" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["detector", "features", "genie", "texts"])
def test_a_root_that_is_a_file_is_named_before_anything_is_read(name, mapping, tmp_path, capsys):
    (tmp_path / "root").write_text("of another program")
    words = [FROM.get(name, "--from"), "nowhere.onnx", "--root", str(tmp_path / "root"), *mapping.get(name, [])]
    assert COMMANDS[name].run(words) == 1
    assert (
        capsys.readouterr().err
        == f"sluice export {name}: --root {tmp_path}/root is a file; name a folder, which may be a new one\n"
    )


def test_failures_of_a_command_have_an_exit_status_and_one_line(tmp_path, capsys):
    def refused():
        raise ExportError("no map; name one")

    for work, status, told in (
        (lambda: None, 0, ""),
        (refused, 1, "sluice export any: no map; name one\n"),
        ((tmp_path / "absent").read_bytes, 1, f"sluice export any: {tmp_path}/absent: No such file or directory\n"),
    ):
        assert own.run("sluice export any", work) == status
        assert capsys.readouterr().err == told


def test_ctrl_c_ends_a_command_with_one_line_and_130():
    work = "signal.raise_signal(signal.SIGINT)"
    program = f"import signal, sys; from export import own; sys.exit(own.run('sluice export any', lambda: {work}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "sluice export any: stopped; the same command begins again\n")


def test_ctrl_c_while_the_program_is_imported_ends_it_with_one_line_and_130(tmp_path):
    """Every import of the program stops at a module that raises the signal in place of `export.card`."""
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'export.card':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "export", "features", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "sluice export: stopped\n")
