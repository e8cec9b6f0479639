"""The README is true: what it names is there; and docs/cli.md says what the commands' parsers say."""

import re
import subprocess
import sys

import pytest

from sluice import contracts

ROOT = contracts.ROOT
README = (ROOT / "README.md").read_text()


def code(text: str) -> str:
    return "\n".join(re.findall(r"`[^`]*`|```.*?```", text, re.S))


def test_a_newcomer_reads_it_to_the_end():
    assert len(README.splitlines()) <= 160


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)\b", code(README)))
    assert {"demo", "test"} <= named <= targets


def test_every_benchmark_is_reported_and_exists():
    from bench.__main__ import benchmarks

    named = set(re.findall(r"python -m bench (\w+)", (ROOT / "docs" / "benchmarks.md").read_text()))
    assert named - {"NAME"} == set(benchmarks())


def test_every_command_that_is_named_exists():
    usage = subprocess.run([sys.executable, "-m", "sluice_client.cli", "--help"], capture_output=True, text=True).stdout
    commands = set(re.findall(r"^    ([a-z]+)(?: +\S|$)", usage, re.M))
    for name in ("README.md", "docs/tutorial.md", "docs/settings.md"):
        named = set(re.findall(r"(?:`|^\$ |\| )sluice ([a-z]+)", (ROOT / name).read_text(), re.M))
        assert named and named - {"retreive"} <= commands, name  # the tutorial shows what a misspelt command says
    assert commands == set(re.findall(r"^## sluice ([a-z]+)$", (ROOT / "docs" / "cli.md").read_text(), re.M))


def test_the_page_of_the_commands_says_what_help_says():
    """Write the page anew in a process of its own, where the terminal and the home directory are others."""
    program = "import make_cli; print(make_cli.page(), end='')"
    environment = {"COLUMNS": "40", "HOME": "/nowhere", "PATH": "", "PYTHONPATH": str(ROOT / "docs")}
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert made.returncode == 0, made.stderr
    remedy = "docs/cli.md is older than the help texts; run: .venv/bin/python docs/make_cli.py"
    assert made.stdout == (ROOT / "docs" / "cli.md").read_text(), remedy


def test_every_verb_is_in_the_table():
    verbs = {path.parent.name for path in (ROOT / "ensembles").glob("*/config.pbtxt")}
    assert verbs == set(re.findall(r"^\| `(\w+)` \|", README, re.M))


@pytest.mark.parametrize("module", ["bench", "demo", "scenes", "export", "sluice.gallery", "sluice.server"])
def test_every_program_says_what_it_does(module):
    shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert shown.returncode == 0 and len(shown.stdout) > 100, shown.stderr
