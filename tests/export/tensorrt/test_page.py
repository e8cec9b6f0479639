"""docs/tensorrt.md is true: its commands run here, and its table has the networks that there are."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export.registry import NETWORKS
from export.tensorrt import rtx
from sluice import contracts

PAGE = (contracts.ROOT / "docs" / "tensorrt.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M)]


def test_the_page_installs_what_the_error_names_and_tables_every_network():
    assert BLOCKS[0] == [rtx.INSTALL]
    assert all(f"| {name} |" in PAGE for name, network in NETWORKS.items() if not network.model)
    assert all(kind in PAGE for kind in rtx.CAPABILITIES)


@pytest.mark.skipif(not importlib.util.find_spec("tensorrt_rtx_bindings"), reason=f"not installed; {rtx.INSTALL}")
@pytest.mark.long
def test_the_commands_of_the_page_compile_an_engine(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(line):
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )

    for line in BLOCKS[1]:
        done = run(line)
        assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["capabilities"], record["precision"]) == (["8.6", "8.9"], "fp16")
    assert "is missing; run: sluice export" in run("sluice serve --root gpu --profile rtx").stderr
    for line in BLOCKS[2]:
        done = run(line)
        assert done.returncode == 0, done.stderr
    refused = run("sluice serve --root gpu --profile rtx")  # no driver, or no plug-in: all engines are there
    assert refused.returncode == 2 and "is missing; run: sluice export" not in refused.stderr, refused.stderr
