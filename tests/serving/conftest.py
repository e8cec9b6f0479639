"""The real server for the tests of this folder: one over the repository's own models, others as a test needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sluice_client import Sluice

from sluice.server import keeper
from sluice.server import launch as launcher

HERE = Path(__file__).parent
_SHARED: list[launcher.Server] = []  # the server of the whole session, once it has started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.serving)


def _end(server: launcher.Server) -> None:
    """End a server the quick way and see that nothing of it is left."""
    server.kill()
    assert not keeper.regions(server.prefix), "the server left shared memory behind"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launcher.Server]:
    """The repository's own models over a gallery that begins empty; every test adds frames under ids of its own."""
    try:
        started = launcher.start(gallery=tmp_path_factory.mktemp("gallery"), http=True)
    except launcher.StartError as error:
        pytest.fail(str(error), pytrace=False)  # among others: model.onnx is missing; run: make export
    _SHARED.append(started)
    yield started
    _end(started)


@pytest.fixture(scope="module", autouse=True)
def emptied() -> Iterator[None]:
    """Each file of tests leaves the shared server's gallery empty, so that the next one knows what is in it."""
    yield
    for server in _SHARED:
        with Sluice(server.grpc, timeout=60) as client:
            ids = [frame.id for frame in client.frames()]
            if ids:
                client.delete(ids)


@pytest.fixture
def start() -> Iterator[Callable[..., launcher.Server]]:
    """`sluice.server.start`, whose servers end with the test."""
    started: list[launcher.Server] = []

    def start(**arguments: object) -> launcher.Server:
        started.append(launcher.start(**arguments))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        _end(server)
