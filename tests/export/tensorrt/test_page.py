"""docs/tensorrt.md is true: its commands run here, and its table has the networks that there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export.registry import find, usual
from export.tensorrt import rtx
from sluice import contracts
from tests.export.tensorrt.test_rtx import NVIDIA, OURS

PAGE = (contracts.ROOT / "docs" / "tensorrt.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M)]


def test_the_page_installs_what_the_error_names_and_tables_every_network():
    assert BLOCKS[0] == [rtx.INSTALL]
    assert {name for name in OURS if f"| {name} |" in PAGE} == {name for name in OURS if not find(name).model}
    assert usual() and all(kind in PAGE for kind in rtx.CAPABILITIES)


@NVIDIA
@pytest.mark.long
def test_the_commands_of_the_page_compile_an_engine(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in BLOCKS[1]:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["capabilities"], record["precision"]) == (["8.6", "8.9"], "fp16")
