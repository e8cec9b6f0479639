"""Completion of the command line, asked of the shells themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from sluice_client import cli
from sluice_client.commands import COMMANDS, completion
from sluice_client.verbs.sample import SOLVERS

BASH = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
complete -p sluice | grep -q -- '-F _shtab_sluice sluice' || exit 9
_shtab_sluice sluice "${@: -1}" "${@: -2:1}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the completion scripts as the command prints them, beside files to complete."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in completion.SHELLS:
        made = subprocess.run(
            [sys.executable, "-m", "sluice_client.cli", "completion", shell], capture_output=True, text=True, timeout=60
        )
        assert made.returncode == 0 and made.stderr == ""
        (folder / shell).write_text(made.stdout)
    (folder / "frames.jsonl").touch()
    (folder / "frames").mkdir()
    return folder


def bash(folder, *words: str) -> set[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", str(folder / "bash"), *words],
        capture_output=True, text=True, timeout=30, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done
    return set(done.stdout.split())


CASES = [
    (("sluice", ""), {*COMMANDS, "serve", "export"}),
    (("sluice", "retri"), {"retrieve"}),
    (("sluice", "retrieve", "--comb"), {"--combine"}),
    (("sluice", "retrieve", "--combine", ""), {"max", "mean", "query"}),
    (("sluice", "retrieve", "a.jpg", "--roi", "1,2,3,4", "--per"), {"--per-drive"}),
    (("sluice", "sample", "--solver", ""), set(SOLVERS)),
    (("sluice", "sample", "--solver", "genie", "--guidance-"), {"--guidance-rule"}),
    (("sluice", "completion", ""), set(completion.SHELLS)),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes_commands_options_and_values(words, expected, folder):
    assert bash(folder, *words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sluice", "add", "--frames", "fr"), {"frames", "frames.jsonl"}),
        (("sluice", "add", "fr"), {"frames", "frames.jsonl"}),
        (("sluice", "retrieve", "--heatmaps", "fr"), {"frames"}),
    ],
)
def test_bash_completes_files_and_folders_where_they_are_wanted(words, expected, folder):
    assert bash(folder, *words) == expected


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_bash_knows_every_option_of_every_command(name, folder):
    known = {text for text in cli.parsers()[1][name].options() if text.startswith("--")}
    assert bash(folder, "sluice", name, "--") == known


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish is installed (apt-get install fish)")
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish_completes_the_same(words, expected, folder):
    line = " ".join(words)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {folder / 'fish'}; complete -C '{line}'"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert expected <= {row.split("\t")[0] for row in done.stdout.splitlines()}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh is installed (apt-get install zsh)")
def test_zsh_takes_the_script(folder):
    subprocess.run(["zsh", "-n", str(folder / "zsh")], check=True, timeout=60)
    assert (folder / "zsh").read_text().startswith("#compdef sluice")


def test_json_holds_the_script(capsys):
    assert cli.main(["completion", "bash", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shell"] == "bash" and "_shtab_sluice" in told["script"]


def test_without_shtab_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert "pip install shtab" in capsys.readouterr().err
