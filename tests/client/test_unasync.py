"""The synchronous client is made from the asyncio client: to the byte, by rules that are all needed."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from clients import unasync

SOURCES = {name: (unasync.PACKAGE / "aio" / f"{name}.py").read_text() for name in unasync.NAMES}
ROOT = unasync.PACKAGE.parents[1]


@pytest.mark.parametrize("name", unasync.NAMES)
def test_the_synchronous_module_is_what_the_command_makes(name):
    written = (unasync.PACKAGE / f"{name}.py").read_bytes()
    assert written == unasync.made(SOURCES[name], name).encode(), f"run: {unasync.COMMAND}"
    assert written.startswith(f"# Generated from aio/{name}.py by `{unasync.COMMAND}`.".encode())


def test_each_module_of_the_asyncio_client_is_made_and_every_rule_is_needed():
    assert {path.stem for path in (unasync.PACKAGE / "aio").glob("*.py")} == {"__init__", *unasync.NAMES}
    assert unasync.unused(list(SOURCES.values())) == []
    assert unasync.unused(["pass\n"]) == [pattern for pattern, _ in unasync.RULES]


@pytest.mark.parametrize(
    "line", ["import asyncio\n\nasyncio.sleep(1)", "f = lambda: asyncio.Event()", "x = 1  # the event loop"]
)
def test_a_construct_that_no_rule_covers_is_refused_with_its_line(line):
    with pytest.raises(ValueError, match=r"^aio/delivery\.py: no rule of clients/unasync\.py .*(asyncio|event loop)"):
        unasync.made(f"{line}\n", "delivery")


def test_what_is_no_python_is_refused():
    with pytest.raises(subprocess.CalledProcessError):
        unasync.made("async def f(:\n", "delivery")


def test_check_shows_what_would_change_and_the_command_writes_it(tmp_path):
    clients = tmp_path / "clients"
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(unasync.PACKAGE / "aio", clients / "sluice_client" / "aio")
    shutil.copy(ROOT / "clients" / "unasync.py", clients)
    for name in unasync.NAMES:
        shutil.copy(unasync.PACKAGE / f"{name}.py", clients / "sluice_client")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, clients / "unasync.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (run("--check").returncode, run("--check").stdout) == (0, "")
    source, made = clients / "sluice_client" / "aio" / "client.py", clients / "sluice_client" / "client.py"
    before = made.read_text()
    old, new = "return await self._ask(embed.request(image)", "return await self._ask(embed.request(bytes(image))"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    check = run("--check")
    assert check.returncode == 1 and "+        return self._ask(embed.request(bytes(image))" in check.stdout
    assert made.read_text() == before
    assert run().returncode == 0 and "return self._ask(embed.request(bytes(image))" in made.read_text()
    assert run("--check").returncode == 0
