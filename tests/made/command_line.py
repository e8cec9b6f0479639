"""Commands of `sluice` run in this process, and the JSON lines that they print."""

from __future__ import annotations

import json

from sluice_client import cli

ROI = "8,8,24,24"  # a region of the fake server's pictures


def run(capsys, *words: str) -> tuple[int, list[dict], str]:
    """Run `sluice WORDS --json` and return its exit status, the JSON lines of its stdout, and its stderr."""
    code = cli.main([*words, "--json"])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def lines(capsys) -> list[dict]:
    """Return the JSON lines that were printed to stdout since the last call."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
