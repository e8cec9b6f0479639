"""The real server for the tests of this folder: one over the repository's own models, others as a test needs them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sluice_client import Sluice

from sluice.server import keeper
from sluice.server import launch as launcher
from tests.made import tiny_repository

HERE = Path(__file__).parent
_SHARED: list[launcher.Server] = []  # the server of the whole session, once it has started
_STARTS: list[Start] = []  # of that server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.serving)


@dataclass(frozen=True)
class Start:
    """The cost of a start, until all models had answered.

    cpu: seconds of a core that the server's processes and this one took. others: cores that all other processes of the
    machine kept busy meanwhile, on average.
    """

    cpu: float
    others: float


def _own_seconds(server: launcher.Server | None) -> float:
    """Return the seconds of a core that this process and those of a server have taken, ended children included."""
    times = [psutil.Process().cpu_times()[:2]]
    if server is not None:
        root = psutil.Process(server.pid)
        times += [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(sum(one[:4]) for one in times)


def _busy_seconds() -> float:
    """Return the seconds of all cores of the machine that were not idle."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)


def _end(server: launcher.Server) -> None:
    """End a server the quick way and see that nothing of it is left."""
    server.kill()
    assert not keeper.regions(server.prefix), "the server left shared memory behind"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launcher.Server]:
    """Start the repository's own models over an empty gallery; every test adds frames under ids of its own."""
    own, busy, begin = _own_seconds(None), _busy_seconds(), time.perf_counter()
    try:
        started = launcher.start(gallery=tmp_path_factory.mktemp("gallery"), http=True, profile="cpu")
    except launcher.StartError as error:
        pytest.fail(str(error), pytrace=False)  # among others: model.onnx is missing; run: make export
    cpu = _own_seconds(started) - own
    _STARTS.append(Start(cpu, (_busy_seconds() - busy - cpu) / (time.perf_counter() - begin)))
    _SHARED.append(started)
    yield started
    _end(started)


@pytest.fixture
def cost(server: launcher.Server) -> Start:
    """Return the cost of the start of `server`."""
    return _STARTS[-1]


@pytest.fixture(scope="module", autouse=True)
def emptied() -> Iterator[None]:
    """Empty the shared server's gallery after each test file, so that the next file knows what the gallery holds."""
    yield
    for server in _SHARED:
        with Sluice(server.grpc, timeout=60) as client:
            ids = [frame.id for frame in client.frames()]
            if ids:
                client.delete(ids)


@pytest.fixture
def start() -> Iterator[Callable[..., launcher.Server]]:
    """Return `sluice.server.start` with the profile cpu, and end the servers that it started when the test ends."""
    started: list[launcher.Server] = []

    def start(**arguments: object) -> launcher.Server:
        started.append(launcher.start(**{"profile": "cpu", **arguments}))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        _end(server)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with the tiny model and return its path."""
    return tiny_repository.make(tmp_path / "root")


@pytest.fixture
def serve(tmp_path: Path, repository: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start `python -m sluice.server` over the tiny repository; kill what still runs at the end of the test."""
    started = []

    def serve(*flags: str) -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "sluice.server",
            "--root",
            str(repository.parent),
            "--gallery",
            str(tmp_path / "gallery"),
            "--watch",
            "0",
            "--profile",
            "cpu",
            *flags,
        ]
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": str(tmp_path)},
            )
        )
        return started[-1]

    yield serve
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
