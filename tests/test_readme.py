"""The README is true: what it names is there."""

import re
import subprocess
import sys

import pytest

from sluice import contracts

ROOT = contracts.ROOT
README = (ROOT / "README.md").read_text()


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(re.findall(r"`[^`]*`|```.*?```", README, re.S))))
    assert {"demo", "test"} <= named <= targets


def test_every_benchmark_exists():
    from bench.__main__ import benchmarks

    named = set(re.findall(r"python -m bench (\w+)", README))
    assert named == set(benchmarks())


def test_every_command_is_documented():
    usage = subprocess.run([sys.executable, "-m", "sluice_client.cli", "--help"], capture_output=True, text=True).stdout
    commands = set(re.findall(r"^    ([a-z]+)(?: +\S|$)", usage, re.M))
    named = set(re.findall(r"`sluice ([a-z]+)", README))
    assert commands and commands == named


def test_every_verb_is_in_the_table():
    verbs = {path.parent.name for path in (ROOT / "ensembles").glob("*/config.pbtxt")}
    assert verbs == set(re.findall(r"^\| `(\w+)` \|", README, re.M))


@pytest.mark.parametrize("module", ["bench", "demo", "scenes", "export", "sluice.gallery", "sluice.server"])
def test_every_program_says_what_it_does(module):
    shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert shown.returncode == 0 and len(shown.stdout) > 100, shown.stderr
